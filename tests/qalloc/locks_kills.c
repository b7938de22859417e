/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks whose holders are killed at random. */
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/qalloc/locks.h"

/* When a holder dies, the next holder gets EOWNERDEAD, once. deaths counts these; there are never more than kills. */
static G_GNUC_NORETURN int change_for_ever(void *arg)
{
	struct child *c = arg;
	void *map = support_load(c->path);
	struct guarded *g = make_guarded(map);

	for (;;) {
		int error = qalloc_lock(map, &g->lock);

		g_assert_true(error == 0 || error == EOWNERDEAD);
		if (error) {
			atomic_fetch_add(&g->deaths, 1);
			g_assert_cmpuint(g->before - g->after, <=, 1);
			g->after = g->before;
		}
		g_assert_cmpuint(g->before, ==, g->after);
		g->before++;
		atomic_signal_fence(memory_order_seq_cst);
		g->after++;
		g_assert_cmpint(qalloc_unlock(map, &g->lock), ==, 0);
	}
}

static void random_kills(void)
{
	struct child *c = start_child("kills");
	void *map = support_dyn(c->path, MIB, 1);
	struct guarded *g = make_guarded(map);
	size_t kills = support_scale(150);

	support_kill_at_random(change_for_ever, c, THREADS, kills);
	change(map, g);
	g_assert_cmpuint(atomic_load(&g->deaths), <=, kills + THREADS);
	g_test_message("%u of %zu kills met a holder, %lu changes", atomic_load(&g->deaths), kills,
		       (unsigned long)g->before);
	support_finish(map, c->path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/locks/random-kills", random_kills);
	return support_run();
}
