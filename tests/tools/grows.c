/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands that read a map while a program makes it longer. The command is stopped at each call of the kernel, and the map grows there. A
 * map that grows is consistent at each moment, so each command ends with status 0.
 */
#include <errno.h>
#include <mmalloc.h>
#include <qalloc.h>
#include <shmbuddy.h>
#include <sys/ptrace.h>

#include "tests/tools/heaps.h"
#include "tests/tools/victim.h"

#define STEP   (64 * KIB)
#define PLACES 80 /* Calls of the kernel at which the map grows: those that open it, and some more. */

/* Makes the file longer. False: it has grown to the end of its range. */
static bool grow(const struct heap *heap, void *map, const char *path)
{
	uint64_t size = (uint64_t)support_file_size(path);
	int grown = 0;

	if (g_str_equal(heap->kind, "mmalloc"))
		while ((uint64_t)support_file_size(path) == size && mmalloc(map, 64 * KIB))
			;
	else if (g_str_equal(heap->kind, "shmbuddy"))
		grown = shmbuddy_grow(map, size + STEP);
	else
		grown = qalloc_grow(map, size + STEP);
	g_assert_true(grown == 0 || errno == ENOMEM);
	return (uint64_t)support_file_size(path) > size;
}

/* False: the command ended before its k-th stop, or the map cannot grow any more. */
static bool grow_at(const struct heap *heap, void *map, const char *const *line, size_t k)
{
	pid_t pid = victim_start(line);
	struct __ptrace_syscall_info call;
	bool runs = true, grows;
	int status;

	for (size_t stops = 0; runs && stops < k; stops++)
		runs = victim_next_call(pid, &call);
	grows = grow(heap, map, line[1]);
	status = victim_end(pid);
	if (status != 0) {
		char *said = support_file_read(victim_output(), &(size_t){ 0 });

		g_error("%s of %s that grew at call %zu: status %d\n%s", line[0], heap->kind, k, status, said);
	}
	return runs && grows;
}

static void each_command(const struct heap *heap)
{
	static const char *const commands[] = { "check", "info", "stat", "list" };

	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
		const char *path = support_path(heap->kind);
		void *map = heap->open(path);
		size_t k = 1;

		g_assert_nonnull(map);
		g_assert_cmpuint(heap->malloc(map, 64), !=, 0);
		while (k <= support_scale(PLACES) && grow_at(heap, map, (victim_line){ commands[i], path, NULL }, k))
			k++;
		g_assert_cmpuint(k, >, 20); /* The header was read long before. */
		g_assert_cmpint(heap->close(map), ==, 0);
		unlink(path);
	}
}

static void reads_while_it_grows(void)
{
	if (!victim_begin())
		return;
	for (size_t i = 0; i < HEAPS; i++)
		each_command(&heaps[i]);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/grows/each-command", reads_while_it_grows);
	return support_run();
}
