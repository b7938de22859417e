/* SPDX-License-Identifier: BSD-3-Clause */
/* A heap that an earlier build made must open for ever, at its base; damaged ones must be refused, each for its own reason. */
#include <stdio.h>

#include "tests/support/support_golden.h"
#include "tests/support/support_mmalloc.h"

static const struct support_damaged damaged[] = {
	{ "bad-mmalloc-short.map", ENODATA, "truncated" },
	{ "bad-mmalloc-length.map", EBADMSG, "contradict" },
	{ "bad-mmalloc-tables.map", EUCLEAN, "damaged body" },
	{ "bad-mmalloc-inside.map", EUCLEAN, "damaged body" },
	{ "bad-mmalloc-reserve.map", EUCLEAN, "damaged body" },
	{ "bad-mmalloc-top.map", EBADMSG, "base" },
	{ "bad-mmalloc-streams.map", EUCLEAN, "damaged body" },
	{ "bad-mmalloc-run.map", EUCLEAN, "makes no sense" },
	{ "bad-mmalloc-truth.map", EUCLEAN, "allocation byte 7" },
	{ "bad-mmalloc-spot.map", EUCLEAN, "allocation bytes" },
	{ "bad-mmalloc-table.map", EUCLEAN, "cannot be reached" },
	{ "dynamic-1.map", EPROTOTYPE, "cannot open it here: it is a" },
	{ "static-1.map", EPROTOTYPE, "cannot open it here: it is a" },
	{ "bad-tiny.map", ENODATA, "truncated" },
};

static void *attach_file(const char *path)
{
	int fd = heap_file(path);
	void *md = mmalloc_attach(fd, NULL);
	int error = errno;

	close(fd);
	errno = error;
	return md;
}

static void check_content(void *md)
{
	char *block = mmalloc_getkey(md, 0), **large = mmalloc_getkey(md, MMALLOC_KEYS - 1);

	g_assert_cmpstr(block, ==, "golden block");
	g_assert_cmpuint(mmalloc_usable_size(md, block), ==, 48);
	g_assert_true(large[0] == block);
	g_assert_cmpuint(mmalloc_usable_size(md, large), >=, 100000);
	g_assert_true(mmalloc_getkey(md, 5) == (void *)0x200000000000);
	g_assert_null(mmalloc_getkey(md, 1));
	for (int i = 0; i < 100; i++) { /* Most of them are in tables below the fixed one. */
		char name[20];

		snprintf(name, sizeof(name), "root %d", i);
		g_assert_true(mmalloc_getroot(md, name) == block + i % 24);
	}
}

static void opens(void)
{
	struct mmalloc_stats stats;
	void *md, *whole;

	if (support_no_place_for_golden())
		return;
	md = heap_attach(support_golden_copy("mmalloc-1.map"));
	g_assert_cmpint(mmalloc_stats(md, &stats), ==, 0);
	g_assert_true(stats.base == (void *)0x200000000000);
	g_assert_cmpuint(stats.used_blocks, ==, 2);
	check_content(md);
	heap_check(md);
	/* It grows, to the end of the range that it was made with. */
	whole = mmalloc(md, 300 * KIB);
	g_assert_nonnull(whole);
	memset(whole, 1, 300 * KIB);
	while (mmalloc(md, 1000))
		;
	assert_errno_is(ENOMEM);
	check_content(md);
	heap_detach(md);
}

static void opens_otherwise(unsigned flags)
{
	struct mmalloc_options options = { .flags = flags };
	const char *copy;
	void *md;
	int fd;

	if (support_no_place_for_golden())
		return;
	copy = support_golden_copy("mmalloc-1.map");
	fd = heap_file(copy);
	md = mmalloc_attach_opt(fd, NULL, &options);
	close(fd);
	g_assert_nonnull(md);
	check_content(md);
	heap_detach(md);
}

static void opens_readonly(void)
{
	opens_otherwise(MMALLOC_RDONLY);
}

static void opens_privately(void)
{
	opens_otherwise(MMALLOC_PRIVATE);
}

static int see(void *block, size_t size, void *arg)
{
	(void)block, (void)size, (void)arg;
	return 0;
}

/* Read-only, a heap is not checked: its allocation bytes are said to lie behind the end of the file, and nobody looks there. */
static void looks_at_damaged(void)
{
	struct mmalloc_options options = { .flags = MMALLOC_RDONLY };
	void *md;
	int fd;

	if (support_no_place_for_golden())
		return;
	fd = heap_file(support_golden_copy("bad-mmalloc-spot.map"));
	md = mmalloc_attach_opt(fd, NULL, &options);
	close(fd);
	g_assert_nonnull(md);
	g_assert_cmpint(mmalloc_walk(md, see, NULL), ==, 0);
	g_assert_cmpuint(mmalloc_usable_size(md, mmalloc_getkey(md, 0)), ==, 0);
	g_assert_cmpint(mmalloc_check(md, NULL, NULL), ==, -1);
	g_assert_null(mmalloc_detach(md));
}

static void refuses(gconstpointer data)
{
	const struct support_damaged *d = data;

	if ((d->error == EUCLEAN && support_no_place_for_golden()) || !support_in_process_with("MMALLOC_DEBUG", "1"))
		return;
	support_refuses(d, attach_file);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/golden/opens", opens);
	support_add("/mmalloc/golden/opens-readonly", opens_readonly);
	support_add("/mmalloc/golden/opens-privately", opens_privately);
	support_add("/mmalloc/golden/looks-at-damaged", looks_at_damaged);
	for (size_t i = 0; i < G_N_ELEMENTS(damaged); i++) {
		char *path = g_strdup_printf("/mmalloc/golden/refuses/%s", damaged[i].name);

		g_test_add_data_func(path, &damaged[i], refuses);
		g_free(path);
	}
	return support_run();
}
