/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that make and change files: create, snapshot, resize, reap, dump and load, on maps of all kinds; what they refuse. */
#include <fcntl.h>
#include <mmalloc.h>
#include <qalloc.h>
#include <shmbuddy.h>
#include <sys/stat.h>

#include "tests/support/support_fault.h"
#include "tests/tools/heaps.h"

/* ---- create ---- */

static void create(void)
{
	const char *path = support_path("new");

	assert_status(0, "create", "qalloc-static", path, "--size=1M", "--item=40", "--streams=3");
	assert_status(0, "info", "--json", path);
	g_assert_cmpuint(run_number("item_bytes"), ==, 40);
	g_assert_cmpuint(run_number("streams"), ==, 3);
	g_assert_cmpuint(run_number("length"), ==, MIB);
	unlink(path);
	assert_status(0, "create", "qalloc-dynamic", path, "--size", "1.5M", "--base", "0x200000000000");
	assert_status(0, "info", "--json", path);
	g_assert_cmpuint(run_number("base"), ==, 0x200000000000);
	g_assert_cmpuint(run_number("length"), ==, MIB * 3 / 2);
	unlink(path);
	assert_status(0, "create", "mmalloc", path, "--size", "64M");
	assert_status(0, "info", "--json", path);
	g_assert_cmpuint(run_number("range"), ==, 64 * MIB);
	g_assert_cmpuint(run_number("length"), <, 4 * MIB);
	unlink(path);
	assert_status(0, "create", "shmbuddy", path, "--size=4M", "--smallest=64", "--largest=1M");
	assert_status(0, "check", path);
	assert_status(0, "stat", "--json", path);
	g_assert_cmpuint(run_number("largest_free"), ==, MIB);
}

/* Usage is told from what the library refuses; and nothing is left of what could not be made. */
static void create_refused(void)
{
	const char *path = support_path("new");

	assert_status(64, "create", "heap", path, "--size=1M");
	assert_status(64, "create", "qalloc-static", path, "--size=1M");
	assert_status(64, "create", "qalloc-dynamic", path);
	assert_status(64, "create", "qalloc-dynamic", path, "--size=1M", "--item=8");
	assert_status(64, "create", "shmbuddy", path, "--size=1M", "--streams=2");
	assert_status(64, "create", "mmalloc", path, "--size=1M", "--smallest=32");
	assert_status(4, "create", "qalloc-dynamic", path, "--size=8K");
	assert_complained("the smallest map has");
	assert_status(4, "create", "qalloc-dynamic", path, "--size=1E");
	assert_complained("1152921504606846976 bytes: a map has less than");
	assert_status(4, "create", "qalloc-static", path, "--size=1E", "--item=8");
	assert_complained("a map has less than");
	assert_status(4, "create", "qalloc-dynamic", path, "--size=1M", "--streams=2000");
	assert_complained("2000 streams: at most 1024");
	assert_status(4, "create", "mmalloc", path, "--streams=2000");
	assert_complained("2000 streams: at most 1024");
	assert_status(4, "create", "mmalloc", path, "--size=64T");
	assert_complained("must be below 64 TiB");
	assert_status(4, "create", "qalloc-dynamic", path, "--size=1M", "--base=0x1001");
	assert_status(4, "create", "shmbuddy", path, "--size=1M", "--smallest=33");
	g_assert_cmpint(access(path, F_OK), <, 0);
	assert_status(4, "create", "qalloc-dynamic", "/no/such/directory/new", "--size=1M");
	assert_complained("No such file");
	support_file_write(path, "mine", 4);
	assert_status(5, "create", "mmalloc", path);
	assert_complained("File exists");
	g_assert_cmpint(support_file_size(path), ==, 4);
}

/* ---- snapshot ---- */

static void snapshot(void)
{
	const char *copy = support_path("copy");

	for (int i = 0; i < HEAPS; i++) {
		const char *path = support_path(heaps[i].kind);
		void *map = heaps[i].open(path);
		char *before;

		heap_fill(&heaps[i], map, 100);
		assert_status(0, "list", path);
		before = g_strdup(run_out);
		assert_status(0, "snapshot", path, copy);
		assert_status(5, "snapshot", path, copy);
		assert_complained("--force");
		assert_status(5, "snapshot", "--force", path, path);
		assert_status(0, "snapshot", "--force", path, copy);
		heaps[i].close(map);
		assert_status(0, "check", copy);
		assert_status(0, "list", copy);
		g_assert_cmpstr(run_out, ==, before);
		map = heaps[i].open(copy);
		g_assert_nonnull(map);
		g_assert_cmpuint(heaps[i].getroot(map, "last"), !=, 0);
		heaps[i].close(map);
		g_free(before);
		unlink(copy);
		unlink(path);
	}
}

/* ---- resize ---- */

static void resize_heap(void)
{
	const char *path = support_path("heap");
	void *md, *block[64];
	int fd;

	assert_status(0, "create", "mmalloc", path, "--size=256M");
	fd = open(path, O_RDWR | O_CLOEXEC);
	md = mmalloc_attach(fd, NULL);
	close(fd);
	for (int i = 0; i < 64; i++)
		block[i] = memset(mmalloc(md, 100000), i, 100000);
	assert_status(0, "resize", path, "64M"); /* While it is in use. */
	g_assert_cmpint(support_file_size(path), ==, 64 * MIB);
	assert_status(5, "resize", path, "1M");
	assert_complained("in use");
	for (int i = 8; i < 64; i++)
		mfree(md, block[i]);
	g_assert_cmpint(mmalloc_setroot(md, "seventh", block[7]), ==, 0);
	g_assert_null(mmalloc_detach(md));
	assert_status(5, "resize", path, "100K");
	assert_complained("reach up to");
	assert_status(0, "resize", path, "4M");
	g_assert_cmpint(support_file_size(path), ==, 4 * MIB);
	assert_status(0, "check", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	md = mmalloc_attach(fd, NULL);
	close(fd);
	g_assert_true(((char *)mmalloc_getroot(md, "seventh"))[99999] == 7);
	for (int i = 0; i < 100; i++) /* It grows again by itself. */
		g_assert_nonnull(mmalloc(md, 1000000));
	g_assert_null(mmalloc_detach(md));
	assert_status(0, "check", path);
	assert_status(5, "resize", path, "1G");
	assert_complained("range ends at 256M");
	assert_status(64, "resize", path, "much");
}

static int on_small_disk(void *nothing)
{
	const char *path = support_path("heap");
	gint64 size;

	(void)nothing;
	if (!support_small_disk("size=8m"))
		return SUPPORT_CANNOT;
	assert_status(0, "create", "mmalloc", path, "--size=256M");
	size = support_file_size(path);
	for (int i = 0; i < 2; i++) { /* The second time no less than the first. */
		assert_status(4, "resize", path, "100M");
		assert_complained("No space left on device");
		g_assert_cmpint(support_file_size(path), ==, size);
	}
	assert_status(0, "resize", path, "4M");
	assert_status(0, "check", path);
	return 0;
}

static void resize_full_disk(void)
{
	support_run_or_skip(on_small_disk, "no mount namespace here");
}

/* Of a region that others use, and of one that nobody does; it grows in its range, and never gets shorter. */
static void resize_region(void)
{
	const char *path = support_path("region");
	shmbuddy_t *region;
	shm_offt block;

	assert_status(0, "create", "shmbuddy", path, "--size=1M", "--smallest=64", "--largest=64K", "--range=5M");
	assert_status(0, "resize", path, "1200K");
	assert_status(0, "check", path);
	region = shmbuddy_open(path, NULL);
	block = shmbuddy_malloc(region, 100);
	strcpy(shmbuddy_address(region, block), "kept");
	assert_status(0, "resize", "--json", path, "5M");
	g_assert_cmpuint(run_number("before"), ==, 1200 * KIB);
	g_assert_cmpuint(run_number("after"), ==, 5 * MIB);
	g_assert_cmpstr(shmbuddy_address(region, block), ==, "kept");
	for (int i = 0; i < 79; i++)
		g_assert_cmpuint(shmbuddy_malloc(region, 64 * KIB), !=, SHM_NULL);
	assert_status(5, "resize", path, "6M");
	assert_complained("its range ends at 5M");
	assert_status(5, "resize", path, "1M");
	assert_complained("never gets shorter");
	assert_status(0, "resize", path, "5M");
	for (int i = 0; i < 3; i++) {
		static const char *const commands[] = { "check", "info", "plot" };

		assert_status(0, commands[i], path);
	}
	assert_status(0, "stat", "--json", path);
	g_assert_cmpuint(run_number("capacity"), ==, 5 * MIB);
	shmbuddy_close(region);
	assert_status(0, "snapshot", path, support_path("copy"));
	assert_status(0, "resize", "--relocate", path, "8M");
	assert_status(0, "stat", "--json", path);
	g_assert_cmpuint(run_number("capacity"), ==, 8 * MIB);
	g_assert_cmpuint(run_number("used_blocks"), ==, 80);
}

static void resize_others(void)
{
	for (int i = 0; i < HEAPS; i++) {
		const char *path = support_path(heaps[i].kind);
		void *map = heaps[i].open(path);
		unsigned blocks = heap_fill(&heaps[i], map, 100);
		bool is_map = g_str_has_prefix(heaps[i].kind, "qalloc");
		const char *size = is_map ? "12M" : "40M";

		if (g_str_equal(heaps[i].kind, "shmbuddy")) { /* It grows where it is: resize_region(). */
			heaps[i].close(map);
			continue;
		}
		if (g_str_equal(heaps[i].kind, "mmalloc")) /* Its range is 16 MiB. */
			assert_status(5, "resize", path, "40M");
		if (is_map) /* In place, in use: see tests/qalloc/grow.c. */
			assert_status(0, "resize", path, "20M");
		assert_status(5, "resize", "--relocate", path, size);
		heaps[i].close(map);
		if (!g_str_equal(heaps[i].kind, "mmalloc")) {
			assert_status(5, "resize", path, size);
			assert_complained(is_map ? "never gets shorter" : "fixed");
		}
		assert_status(0, "resize", "--relocate", path, size);
		assert_status(0, "check", path);
		assert_status(0, "stat", "--json", path);
		g_assert_cmpuint(run_number("capacity"), >, is_map ? 10 * MIB : 35 * MIB);
		assert_status(0, "leaks", "--json", path);
		g_assert_cmpuint(run_number("blocks"), ==, blocks);
		g_assert_cmpuint(run_number("leaked_blocks"), ==, 0);
		unlink(path);
	}
}

/* Another process has it open exclusively: refused, not a failure of the system. */
static void resize_exclusive(void)
{
	const char *path = support_path("alone");
	void *map = qalloc_makedynmap(MIB, NULL, path, 1);

	g_assert_cmpint(qalloc_close(map), ==, 0);
	map = qalloc_open(path, QALLOC_EXCLUSIVE);
	g_assert_nonnull(map);
	assert_status(5, "resize", path, "2M");
	assert_complained("cannot be made longer: cannot open it: another process has it open exclusively");
	g_assert_cmpint(qalloc_close(map), ==, 0);
	assert_status(0, "resize", path, "2M");
}

/* Those who may use the old one may use the new one, by any name. */
static void resize_keeps(void)
{
	const char *path = support_path("map"), *name = support_path("link");
	struct stat st;

	heaps[1].close(heaps[1].open(path));
	g_assert_cmpint(chmod(path, 0640), ==, 0);
	if (geteuid() == 0)
		g_assert_cmpint(chown(path, 12, 34), ==, 0);
	g_assert_cmpint(symlink(path, name), ==, 0);
	assert_status(0, "resize", "--relocate", name, "12M");
	g_assert_cmpint(lstat(name, &st), ==, 0);
	g_assert_true(S_ISLNK(st.st_mode));
	g_assert_cmpint(lstat(path, &st), ==, 0);
	g_assert_cmpint(st.st_size, ==, 12 * MIB);
	g_assert_cmpint(st.st_mode & 07777, ==, 0640);
	if (geteuid() == 0)
		g_assert_true(st.st_uid == 12 && st.st_gid == 34);
}

/* ---- reap ---- */

static void reap(void)
{
	char *directory = g_build_filename(support_dir(), "reap", NULL), *name;
	void *map[HEAPS];
	char *path[HEAPS];

	g_assert_cmpint(mkdir(directory, 0700), ==, 0); /* It goes with the test's own. */
	for (int i = 0; i < HEAPS; i++) {
		path[i] = g_build_filename(directory, heaps[i].kind, NULL);
		map[i] = heaps[i].open(path[i]);
	}
	name = g_build_filename(directory, "vmswap_999999999_1", NULL);
	support_file_write(name, "", 0);
	g_free(name);
	name = g_strdup_printf("%s/vmswap_%d_1", directory, (int)getpid()); /* Ours, and we live. */
	support_file_write(name, "", 0);
	g_free(name);
	name = g_build_filename(directory, "letter", NULL);
	support_file_write(name, "a text that is none of ours\n", 28);
	g_free(name);
	assert_status(0, "reap", directory);
	for (int i = 0; i < HEAPS; i++)
		g_assert_null(strstr(run_out, heaps[i].kind));
	assert_said("vmswap_999999999_1");
	for (int i = 0; i < HEAPS; i++)
		heaps[i].close(map[i]);
	assert_status(0, "reap", directory);
	for (int i = 0; i < HEAPS; i++) {
		assert_said(heaps[i].kind);
		g_assert_cmpint(access(path[i], F_OK), ==, 0);
	}
	map[0] = heaps[0].open(path[0]);
	assert_status(0, "reap", "--force", directory);
	assert_said("removed");
	g_assert_cmpint(access(path[0], F_OK), ==, 0);
	for (int i = 1; i < HEAPS; i++)
		g_assert_cmpint(access(path[i], F_OK), <, 0);
	heaps[0].close(map[0]);
	assert_status(0, "reap", "--force", directory);
	assert_status(0, "reap", directory);
	g_assert_cmpstr(run_out, ==, "");
	name = g_build_filename(directory, "letter", NULL);
	g_assert_cmpint(access(name, F_OK), ==, 0);
	g_free(name);
	assert_status(4, "reap", "/no/such/directory");
	for (int i = 0; i < HEAPS; i++)
		g_free(path[i]);
	g_free(directory);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/change/create", create);
	support_add("/tools/change/create-refused", create_refused);
	support_add("/tools/change/snapshot", snapshot);
	support_add("/tools/change/resize-heap", resize_heap);
	support_add("/tools/change/resize-full-disk", resize_full_disk);
	support_add("/tools/change/resize-others", resize_others);
	support_add("/tools/change/resize-region", resize_region);
	support_add("/tools/change/resize-keeps", resize_keeps);
	support_add("/tools/change/resize-exclusive", resize_exclusive);
	support_add("/tools/change/reap", reap);
	return support_run();
}
