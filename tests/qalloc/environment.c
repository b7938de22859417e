/* SPDX-License-Identifier: BSD-3-Clause */
/* The environment is read when the library is loaded. Afterwards another thread may change it at any moment. */
#include <qalloc.h>
#include <stdlib.h>

#include "tests/support/support_qalloc.h"

#define ROUNDS  10
#define NAMES   300
#define TOO_BIG ((size_t)1 << 30)

static const char *said_by_failure(void *map)
{
	static char text[4096];
	char *said;

	support_capture_begin();
	g_assert_null(qalloc_malloc(map, TOO_BIG));
	said = support_capture_end();
	g_strlcpy(text, said, sizeof(text));
	g_free(said);
	return text;
}

static void *new_map(void)
{
	void *map = qalloc_makedynmap(MIB, NULL, support_path("map"), 1);

	g_assert_nonnull(map);
	return map;
}

static void set_later(void)
{
	void *map;

	if (!support_in_process_with("QALLOC_DEBUG", NULL))
		return;
	map = new_map();
	g_assert_cmpstr(said_by_failure(map), ==, "");
	setenv("QALLOC_DEBUG", "1", 1);
	g_assert_cmpstr(said_by_failure(map), ==, "");
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

static void unset_later(void)
{
	void *map;

	if (!support_in_process_with("QALLOC_DEBUG", "1"))
		return;
	clearenv();
	map = new_map();
	g_assert_nonnull(strstr(said_by_failure(map), "(ENOMEM)"));
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

/* What the kernel put there is overwritten, as by setproctitle(). */
static void overwritten(void)
{
	void *map;

	if (!support_in_process_with("QALLOC_DEBUG", "1"))
		return;
	memset(getenv("QALLOC_DEBUG") - strlen("QALLOC_DEBUG="), 'x', strlen("QALLOC_DEBUG=1"));
	map = new_map();
	g_assert_nonnull(strstr(said_by_failure(map), "(ENOMEM)"));
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

struct failing {
	void *map;
	_Atomic bool stop;
	_Atomic uint64_t failures;
};

static void fail_on(struct support_thread *self)
{
	struct failing *f = self->arg;

	if (self->index > 0) {
		while (!f->stop) {
			g_assert_null(qalloc_malloc(f->map, TOO_BIG));
			f->failures++;
		}
		return;
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < NAMES; i++) {
			char name[32];

			g_snprintf(name, sizeof(name), "V%u_%u", round, i);
			setenv(name, "x", 1);
		}
		clearenv();
	}
	while (f->failures == 0)
		sched_yield();
	f->stop = true;
}

static void changed_by_another_thread(void)
{
	struct failing f = { 0 };

	if (!support_in_process_with("QALLOC_DEBUG", NULL))
		return;
	f.map = new_map();
	support_threads(2, fail_on, &f);
	g_assert_cmpint(qalloc_close(f.map), ==, 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/environment/set-later", set_later);
	support_add("/qalloc/environment/unset-later", unset_later);
	support_add("/qalloc/environment/overwritten", overwritten);
	support_add("/qalloc/environment/threads", changed_by_another_thread);
	return support_run();
}
