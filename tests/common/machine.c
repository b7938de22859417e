/* SPDX-License-Identifier: BSD-3-Clause */
/* Maps on machines with other pages and shorter addresses (support_machine.h). Each case runs in a child. */
#include <fcntl.h>

#include "common/page.h"
#include "tests/support/support_fault.h"
#include "tests/support/support_machine.h"
#include "tests/support/support_qalloc.h"

/* Made, used, grown, copied, closed, opened in each way. */
static void use_map(void *map, const char *path)
{
	const char *copy = support_path("copy");
	struct support_block block;

	for (size_t i = 0; i < 200; i++)
		g_assert_true(support_take(map, &block, 1 + i * 37 % 64, i));
	check_map(map);
	g_assert_cmpint(qalloc_sync(map), ==, 0);
	g_assert_cmpint(qalloc_snapshot(map, copy), ==, 0);
	support_close(map);
	for (int way = 0; way < 3; way++) {
		map = qalloc_open(way == 2 ? copy : path, way == 1 ? QALLOC_RDONLY : way == 2 ? QALLOC_PRIVATE : 0);
		g_assert_nonnull(map);
		check_map(map);
		if (way == 2)
			g_assert_true(support_take(map, &block, 64, 200));
		support_close(map);
	}
	unlink(copy);
}

static uint8_t page_shift_in(const char *path)
{
	uint8_t shift = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	g_assert_cmpint(pread(fd, &shift, 1, 45), ==, 1);
	close(fd);
	return shift;
}

/* In a process of its own: the page size is asked for once. */
static int make_with_usual_pages(void *arg)
{
	support_close(support_dyn(arg, MIB, 1));
	return 0;
}

static uintptr_t wanted;

static int on_large_pages(void *arg)
{
	const char *dyn = support_path("dyn"), *stat = support_path("stat"), *other = support_path("other");
	void *map;

	(void)arg;
	support_run_child(make_with_usual_pages, (void *)other);
	page = wanted;
	g_assert_cmpuint(ma_page(), ==, page);
	map = support_dyn(dyn, MIB, 2);
	g_assert_cmpint(qalloc_grow(map, 9 * MIB), ==, 0);
	use_map(map, dyn);
	use_map(support_stat(stat, MIB, 64, 2), stat);
	g_assert_cmpuint((uintptr_t)1 << page_shift_in(dyn), ==, page);
	assert_null(qalloc_loadmap(other), ENOEXEC);
	unlink(dyn);
	unlink(stat);
	unlink(other);
	return 0;
}

static void large_pages(void)
{
	static const uintptr_t pages[] = { 16384, 65536 };

	for (size_t i = 0; i < G_N_ELEMENTS(pages); i++) {
		wanted = pages[i];
		support_run_or_skip(on_large_pages, "");
	}
}

static unsigned bits;

static int in_short_addresses(void *arg)
{
	const char *path = support_path("map");
	void *map;

	(void)arg;
	address_end = (uint64_t)1 << bits;
	for (int i = 0; i < 20; i++) {
		map = support_dyn(path, MIB, 1);
		g_assert_cmpuint((uint64_t)(uintptr_t)support_base(map), <, address_end);
		use_map(map, path);
		unlink(path);
	}
	return 0;
}

static void short_addresses(void)
{
	static const unsigned all[] = { 38, 39, 47, 48 };

	if (support_asan() || support_tsan() || support_valgrind()) {
		g_test_skip("the tool's own memory lies in the way");
		return;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
		bits = all[i];
		support_run_or_skip(in_short_addresses, "");
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/common/machine/pages", large_pages);
	support_add("/common/machine/addresses", short_addresses);
	return support_run();
}
