/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many maps at once: checkpoint and cleanup take all of them, closing one leaves the others.
 */
#include "tests/support/support_qalloc.h"

#define MAPS 60

struct many {
	const char *paths[MAPS];
	void *maps[MAPS];
	struct support_block blocks[MAPS];
};

static void open_many(struct many *m)
{
	for (size_t i = 0; i < MAPS; i++) {
		m->paths[i] = support_path("many");
		m->maps[i] = i % 2 ? (void *)support_stat(m->paths[i], MIB, 200, 2)
				   : (void *)support_dyn(m->paths[i], MIB, 2);
		g_assert_true(support_take(m->maps[i], &m->blocks[i], 200, i));
		g_assert_cmpint(qalloc_setroot(m->maps[i], "block", m->blocks[i].at), ==, 0);
	}
}

static void verify_many(struct many *m)
{
	for (size_t i = 0; i < MAPS; i++) {
		void *map = support_load(m->paths[i]);

		g_assert_true(qalloc_getroot(map, "block") == m->blocks[i].at);
		g_assert_cmpuint(support_used(map), ==, 1);
		support_give(map, &m->blocks[i]);
		support_finish(map, m->paths[i]);
	}
}

static void checkpoint_keeps_all_open(void)
{
	struct many m;

	open_many(&m);
	errno = ERANGE;
	qalloc_checkpoint();
	assert_errno_is(0);
	for (size_t i = 0; i < MAPS; i++) {
		support_verify(&m.blocks[i]);
		g_assert_nonnull(qalloc_malloc(m.maps[i], 100));
		g_assert_cmpint(qalloc_sync(m.maps[i]), ==, 0);
		support_finish(m.maps[i], m.paths[i]);
	}
}

static void cleanup_closes_all(void)
{
	struct many m;

	open_many(&m);
	qalloc_cleanup();
	for (size_t i = 0; i < MAPS; i++) {
		assert_null(qalloc_malloc(m.maps[i], 1), EBADF);
		assert_minus1(qalloc_close(m.maps[i]), EBADF);
	}
	verify_many(&m);
	qalloc_cleanup();
	qalloc_cleanup();
}

static void cleanup_closes_what_was_loaded_often(void)
{
	const char *path = support_path("often");
	void *map = support_dyn(path, MIB, 1);

	for (int i = 0; i < 10; i++)
		g_assert_true(support_load(path) == map);
	qalloc_cleanup();
	assert_minus1(qalloc_close(map), EBADF);
	map = support_load(path);
	support_finish(map, path);
}

static void all_kinds_of_views(void)
{
	const char *paths[3] = { support_path("a"), support_path("b"), support_path("c") };
	void *maps[3];

	for (int i = 0; i < 3; i++)
		support_close(support_dyn(paths[i], MIB, 1));
	maps[0] = support_load(paths[0]);
	maps[1] = support_open(paths[1], QALLOC_RDONLY);
	maps[2] = support_open(paths[2], QALLOC_PRIVATE);
	errno = ERANGE;
	qalloc_checkpoint();
	assert_errno_is(0);
	qalloc_cleanup();
	for (int i = 0; i < 3; i++)
		assert_minus1(qalloc_close(maps[i]), EBADF);
}

static void closing_one_leaves_the_others(void)
{
	struct many m;

	open_many(&m);
	for (size_t i = 0; i < MAPS; i += 3)
		support_close(m.maps[i]);
	for (size_t i = 0; i < MAPS; i++) {
		if (i % 3 == 0) {
			assert_null(qalloc_malloc(m.maps[i], 1), EBADF);
		} else {
			support_verify(&m.blocks[i]);
			check_map(m.maps[i]);
		}
	}
	qalloc_cleanup();
	verify_many(&m);
}

static void every_load_is_closed_once(void)
{
	const char *path = support_path("twice");
	dynmapinfo_t *map = support_dyn(path, MIB, 1);

	g_assert_true(support_load(path) == (void *)map);
	g_assert_true(qalloc_makedynmap((off_t)MIB, NULL, path, 1) == map);
	g_assert_true(qalloc_open(path, 0) == (void *)map);
	for (int i = 0; i < 3; i++) {
		support_close(map);
		g_assert_nonnull(qalloc_dynmalloc(map, 10));
	}
	support_close(map);
	assert_minus1(qalloc_close(map), EBADF);
	unlink(path);
}

/* A thread that changes from map to map keeps them apart. */
static void blocks_stay_in_their_map(void)
{
	struct many m;
	void *blocks[MAPS][20];

	open_many(&m);
	for (size_t n = 0; n < 20; n++)
		for (size_t i = 0; i < MAPS; i++) {
			char *block = blocks[i][n] = qalloc_malloc(m.maps[i], 150);

			g_assert_true(block > support_base(m.maps[i]) && block < support_end(m.maps[i]));
		}
	for (size_t i = 0; i < MAPS; i++) {
		g_assert_cmpuint(support_used(m.maps[i]), ==, 21);
		for (size_t n = 0; n < 20; n++) {
			assert_void(qalloc_free(blocks[i][n], m.maps[(i + 1) % MAPS]), EINVAL);
			assert_void(qalloc_free(blocks[i][n], m.maps[i]), 0);
		}
	}
	qalloc_cleanup();
	verify_many(&m);
}

/* Threads that open, use and close maps of their own beside each other. */
static void open_and_close(struct support_thread *self)
{
	for (size_t round = 0; round < support_scale(100); round++) {
		char *path = g_strdup_printf("%s/own-%u-%zu", support_dir(), self->index, round);
		dynmapinfo_t *map = support_dyn(path, MIB, 1);
		struct support_block block;

		for (size_t i = 0; i < 20; i++) {
			g_assert_true(support_take(map, &block, i * 20, self->index));
			support_give(map, &block);
		}
		support_finish(map, path);
		g_free(path);
	}
}

static void threads_with_maps_of_their_own(void)
{
	support_dir(); /* made before the threads look for it */
	support_threads(4, open_and_close, NULL);
}

/* Threads that load and close the same file: one handle, closed when all have. */
static void load_and_close(struct support_thread *self)
{
	const char *path = self->arg;

	for (size_t round = 0; round < support_scale(300); round++) {
		void *map = support_load(path), *block = qalloc_malloc(map, 64);

		g_assert_nonnull(block);
		assert_void(qalloc_free(block, map), 0);
		support_close(map);
	}
}

static void threads_with_one_map(void)
{
	const char *path = support_path("one");
	void *map;

	support_close(support_dyn(path, MIB, 2));
	support_threads(4, load_and_close, (void *)(uintptr_t)path);
	map = support_load(path);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_finish(map, path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/many/checkpoint", checkpoint_keeps_all_open);
	support_add("/qalloc/many/cleanup", cleanup_closes_all);
	support_add("/qalloc/many/cleanup-often-loaded", cleanup_closes_what_was_loaded_often);
	support_add("/qalloc/many/views", all_kinds_of_views);
	support_add("/qalloc/many/close-some", closing_one_leaves_the_others);
	support_add("/qalloc/many/close-each-load", every_load_is_closed_once);
	support_add("/qalloc/many/apart", blocks_stay_in_their_map);
	support_add("/qalloc/many/threads-own-maps", threads_with_maps_of_their_own);
	support_add("/qalloc/many/threads-one-map", threads_with_one_map);
	return support_run();
}
