/* SPDX-License-Identifier: BSD-3-Clause */
/* Maps that an earlier build made must open for ever; damaged ones must be refused, each for its own reason. */
#include <stdio.h>

#include <qalloc.h>
#include "tests/support/support_golden.h"

static const struct support_damaged damaged[] = {
	{ "bad-magic.map", EMEDIUMTYPE, "no magic number" },
	{ "bad-half.map", EMEDIUMTYPE, "never finished" },
	{ "bad-tiny.map", ENODATA, "truncated" },
	{ "bad-kind.map", EPROTOTYPE, "cannot open it here: it is a" },
	{ "bad-kind-mmalloc.map", EPROTOTYPE, "cannot open it here: it is a" },
	{ "mmalloc-1.map", EPROTOTYPE, "cannot open it here: it is a" },
	{ "bad-format.map", EPROTONOSUPPORT, "format version" },
	{ "bad-incompat.map", EOPNOTSUPP, "needs features" },
	{ "bad-rocompat.map", EOPNOTSUPP, "only read" },
	{ "bad-order.map", ENOEXEC, "byte order" },
	{ "bad-word.map", ENOEXEC, "word size" },
	{ "bad-page.map", ENOEXEC, "page size" },
	{ "bad-crc.map", EBADMSG, "checksum" },
	{ "bad-base.map", EBADMSG, "base" },
	{ "bad-length.map", EBADMSG, "contradict" },
	{ "bad-short.map", ENODATA, "truncated" },
	{ "bad-streams.map", EUCLEAN, "damaged body" },
	{ "bad-item.map", EUCLEAN, "damaged body" },
	{ "bad-truth.map", EUCLEAN, "allocation byte 7" },
	{ "bad-run.map", EUCLEAN, "makes no sense" },
	{ "bad-table.map", EUCLEAN, "cannot be reached" },
};

/* Most of them are in tables below the fixed one. */
static void check_names(void *map, char *item, int count)
{
	for (int i = 0; i < count; i++) {
		char name[20];

		snprintf(name, sizeof(name), "root %d", i);
		g_assert_true(qalloc_getroot(map, name) == item + i % 24);
	}
}

static void opens_static(void)
{
	void *map;
	char *item;

	if (support_no_place_for_golden())
		return;
	map = qalloc_loadmap(support_golden_copy("static-1.map"));
	g_assert_nonnull(map);
	item = qalloc_getroot(map, "item");
	g_assert_cmpstr(item, ==, "golden item");
	g_assert_cmpuint(qalloc_usable_size(map, item), ==, 24);
	check_names(map, item, 80);
	g_assert_nonnull(qalloc_malloc(map, 0));
	g_assert_cmpint(qalloc_check(map, NULL, NULL), ==, 0);
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

static void opens_dynamic(void)
{
	void *map;
	char **large;

	if (support_no_place_for_golden())
		return;
	map = qalloc_loadmap(support_golden_copy("dynamic-1.map"));
	g_assert_nonnull(map);
	large = qalloc_getroot(map, "large");
	g_assert_nonnull(large);
	g_assert_cmpstr(large[0], ==, "golden block");
	g_assert_cmpuint(qalloc_usable_size(map, large[0]), ==, 48);
	g_assert_cmpuint(qalloc_usable_size(map, large), >=, 100000);
	check_names(map, large[0], 100);
	qalloc_free(large, map);
	g_assert_nonnull(qalloc_malloc(map, 150000));
	g_assert_cmpint(qalloc_check(map, NULL, NULL), ==, 0);
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

static void opens_grown(void)
{
	void *map;
	char **blocks;

	if (support_no_place_for_golden())
		return;
	map = qalloc_loadmap(support_golden_copy("dynamic-grown-1.map"));
	g_assert_nonnull(map);
	blocks = qalloc_getroot(map, "blocks");
	for (int i = 0; i < 3; i++) {
		char text[20];

		g_snprintf(text, sizeof(text), "golden block %d", i);
		g_assert_cmpstr(blocks[i], ==, text);
	}
	g_assert_cmpint(qalloc_grow(map, 12 << 20), ==, 0);
	g_assert_nonnull(qalloc_malloc(map, 9 << 20));
	g_assert_cmpint(qalloc_check(map, NULL, NULL), ==, 0);
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

/* A private view is as particular; but it sees what may only be read, and drops a table that nothing leads to. */
static void refuses_private(const struct support_damaged *d, const char *copy)
{
	bool may_open = d->error == EOPNOTSUPP || strcmp(d->text, "cannot be reached") == 0;
	void *map;

	errno = 0;
	map = qalloc_open(copy, QALLOC_PRIVATE);
	g_assert_true(map ? may_open : errno == d->error);
	if (map)
		g_assert_cmpint(qalloc_close(map), ==, 0);
}

static void refuses(gconstpointer data)
{
	const struct support_damaged *d = data;

	if ((d->error == EUCLEAN && support_no_place_for_golden()) || !support_in_process_with("QALLOC_DEBUG", "1"))
		return;
	refuses_private(d, support_refuses(d, qalloc_loadmap));
}

static void reads_rocompat(void)
{
	void *map;

	if (support_no_place_for_golden())
		return;
	map = qalloc_open(support_golden_copy("bad-rocompat.map"), QALLOC_RDONLY);
	g_assert_nonnull(map);
	g_assert_cmpstr(qalloc_getroot(map, "item"), ==, "golden item");
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/golden/opens-static", opens_static);
	support_add("/golden/opens-dynamic", opens_dynamic);
	support_add("/golden/opens-grown", opens_grown);
	support_add("/golden/reads-rocompat", reads_rocompat);
	for (size_t i = 0; i < G_N_ELEMENTS(damaged); i++) {
		char *path = g_strdup_printf("/golden/refuses/%s", damaged[i].name);

		g_test_add_data_func(path, &damaged[i], refuses);
		g_free(path);
	}
	return support_run();
}
