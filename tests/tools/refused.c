/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A library that refuses a file leaves each byte of it as it was: golden files, whatever library is asked and in whatever way, and
 * copies of maps of all kinds with damaged tables. So the evidence is still there for mapalloc check.
 */
#include <fcntl.h>
#include <mmalloc.h>
#include <qalloc.h>
#include <shmbuddy.h>

#include "tests/support/support_golden.h"
#include "tests/tools/heaps.h"

#define ROUNDS 12
#define BLOCKS 400
#define WORDS  12 /* Damaged at a time, at most. */

/* ---- ways to open a file; true: it was opened, and is closed again ---- */

static bool by_qalloc(const char *path, unsigned flags)
{
	void *map = qalloc_open(path, flags);

	if (map)
		qalloc_close(map);
	return map != NULL;
}

static bool by_mmalloc(const char *path, unsigned flags)
{
	const struct mmalloc_options options = { .flags = flags };
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *md = mmalloc_attach_opt(fd, NULL, &options);

	close(fd);
	if (md)
		mmalloc_detach(md);
	return md != NULL;
}

static bool by_shmbuddy(const char *path, unsigned flags)
{
	const struct shmbuddy_options options = { .flags = flags };
	shmbuddy_t *region = shmbuddy_open(path, &options);

	if (region)
		shmbuddy_close(region);
	return region != NULL;
}

static const struct {
	bool (*opens)(const char *path, unsigned flags);
	unsigned flags;
} ways[] = {
	{ by_qalloc, 0 },   { by_qalloc, QALLOC_RDONLY },       { by_qalloc, QALLOC_PRIVATE },
	{ by_mmalloc, 0 },  { by_mmalloc, MMALLOC_RDONLY },     { by_mmalloc, MMALLOC_PRIVATE },
	{ by_shmbuddy, 0 }, { by_shmbuddy, SHMBUDDY_EXISTING }, { by_shmbuddy, SHMBUDDY_RDONLY },
};

/* ---- what is left of it ---- */

/* 1 when it was refused, and then it is as it was. */
static unsigned refused(const char *path, size_t way)
{
	size_t size, size_after;
	char *before = support_file_read(path, &size), *after;
	bool opened = ways[way].opens(path, ways[way].flags);
	int error = errno;

	after = support_file_read(path, &size_after);
	if (!opened && (size != size_after || memcmp(before, after, size) != 0))
		g_error("%s: refused in way %zu (%s), and changed", path, way, g_strerror(error));
	g_free(before);
	g_free(after);
	return !opened;
}

/* ---- golden files ---- */

static void golden(void)
{
	char *name = g_build_filename(MA_TEST_SRCDIR, "golden", NULL);
	GDir *directory = g_dir_open(name, 0, NULL);
	unsigned files = 0, refusals = 0;
	const char *file;

	g_assert_nonnull(directory);
	while ((file = g_dir_read_name(directory)) != NULL) {
		if (!g_str_has_suffix(file, ".map"))
			continue;
		files++;
		for (size_t way = 0; way < G_N_ELEMENTS(ways); way++)
			refusals += refused(support_golden_copy(file), way);
	}
	g_dir_close(directory);
	g_free(name);
	g_assert_cmpuint(files, >=, 50);
	/* Every damaged one by its own library in three ways at the least, and by the others. */
	g_assert_cmpuint(refusals, >=, 7 * files);
}

/* ---- made-up damage ---- */

static int first_of(uint64_t offset, size_t size, void *arg)
{
	uint64_t *first = arg;

	(void)size;
	*first = MIN(*first, offset);
	return 0;
}

/* A closed map with blocks; where its first block is: before it there are tables alone. */
static uint64_t make(const struct heap *heap, const char *path)
{
	uint64_t first = UINT64_MAX;
	void *map = heap->open(path);

	g_assert_nonnull(map);
	heap_fill(heap, map, BLOCKS);
	heap->walk(map, first_of, &first);
	g_assert_cmpint(heap->close(map), ==, 0);
	return first;
}

/* Words behind the header that say something say something else. */
static void damage(const char *path, uint64_t end, struct support_rand *r)
{
	size_t size, hits = support_rand_between(r, 1, WORDS);
	char *bytes = support_file_read(path, &size);
	uint64_t *words = (uint64_t *)(void *)bytes;

	for (size_t tries = 0; hits > 0 && tries < 1000000; tries++) {
		size_t at = support_rand_between(r, 4096 / 8, MIN(end, size) / 8 - 1);

		if (words[at] == 0)
			continue;
		words[at] ^= support_rand_next(r);
		hits--;
	}
	support_file_write(path, bytes, size);
	g_free(bytes);
}

static void made_up(gconstpointer arg)
{
	const struct heap *heap = arg;
	const char *path = support_path(heap->kind), *copy = support_path("copy");
	size_t own = g_str_equal(heap->kind, "mmalloc") ? 3 : g_str_equal(heap->kind, "shmbuddy") ? 6 : 0;
	uint64_t end = make(heap, path);
	struct support_rand r;
	unsigned refusals = 0;

	support_rand_seed(&r, end);
	for (size_t round = 0; round < support_scale(ROUNDS); round++)
		for (size_t way = own; way < own + 3; way++) {
			support_file_copy(path, copy);
			damage(copy, end, &r);
			refusals += refused(copy, way);
		}
	g_test_message("%s: %u refusals", heap->kind, refusals);
	if (support_scale(ROUNDS) == ROUNDS) /* In a few rounds there may be none. */
		g_assert_cmpuint(refusals, >, 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/refused/golden", golden);
	for (size_t i = 0; i < HEAPS; i++) {
		char *name = g_strdup_printf("/tools/refused/made-up/%s", heaps[i].kind);

		g_test_add_data_func(name, &heaps[i], made_up);
		g_free(name);
	}
	return support_run();
}
