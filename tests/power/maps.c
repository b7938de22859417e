/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Durable maps on all the disks that a power cut may leave: the checkpoint file as disk.h says, and of the map's own file each page as it was
 * at some moment, for nothing of that is ever synced. The map opens, sound, as it was at the last checkpoint that had returned, or at the one
 * that had begun.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/header.h"
#include "tests/power/disk.h"
#include "tests/power/library.h"

#define ENTRIES 200
#define MOST    64
#define DISKS   4
#define SAMPLES 20 /* Moments of each scenario, unless all are tried. */
#define BOOT_ID offsetof(struct ma_header, boot_id)

/* What the program keeps, in one block that a root leads to. */
struct table {
	uint64_t try;
	struct entry {
		uint32_t *block; /* Of `words` words, each `value`. */
		uint32_t words, value;
	} entry[ENTRIES];
};

struct version {
	size_t step;
	char *bytes;
	size_t length;
};

static struct {
	const char *path;
	char *checkpoints;
	void *map;
	struct table *table;
	struct support_rand rand;
	struct table was[MOST]; /* At each try. */
	size_t begun[MOST], returned[MOST];
	size_t tries;
	GArray *versions; /* Of the map's file. */
	size_t durable;   /* Versions from this one on may have page 0. */
} run;

/* ---- the program ---- */

static void change_entry(struct entry *e)
{
	lib_free(run.map, e->block);
	*e = (struct entry){ 0 };
	if (support_rand_below(&run.rand, 4) == 0)
		return;
	e->words = (uint32_t)support_rand_between(&run.rand, 1, support_rand_below(&run.rand, 20) ? 300 : 9000);
	e->block = lib_malloc(run.map, e->words * sizeof(uint32_t));
	if (!e->block) {
		*e = (struct entry){ 0 };
		return;
	}
	e->value = (uint32_t)support_rand_next(&run.rand);
	for (uint32_t i = 0; i < e->words; i++)
		e->block[i] = e->value;
}

static void change(size_t count)
{
	for (size_t i = 0; i < count; i++)
		change_entry(&run.table->entry[support_rand_below(&run.rand, ENTRIES)]);
}

/* The file as it is in the page cache now. */
static void keep_version(void)
{
	struct version v = { .step = disk_steps() };

	g_assert_true(g_file_get_contents(run.path, &v.bytes, &v.length, NULL));
	g_array_append_val(run.versions, v);
}

static void start(const char *name, size_t bytes)
{
	memset(&run, 0, sizeof(run));
	support_rand_seed(&run.rand, 5);
	run.path = support_path(name);
	run.checkpoints = g_strconcat(run.path, ".checkpoint", NULL);
	disk_watch(run.checkpoints);
	run.versions = g_array_new(FALSE, FALSE, sizeof(struct version));
	run.map = lib_make(run.path, bytes);
	run.table = lib_malloc(run.map, sizeof(*run.table));
	memset(run.table, 0, sizeof(*run.table));
	g_assert_cmpint(lib_setroot(run.map, "table", run.table), ==, 0);
	change(ENTRIES);
	keep_version();
}

static size_t begin_try(void)
{
	size_t try = run.tries++;

	g_assert_cmpuint(try, <, MOST);
	run.table->try = try;
	run.was[try] = *run.table;
	run.begun[try] = disk_steps();
	run.returned[try] = SIZE_MAX;
	return try;
}

static int checkpoint(int (*how)(void *map))
{
	size_t try = begin_try();
	int result = how(run.map);

	if (result == 0)
		run.returned[try] = disk_steps();
	keep_version();
	return result;
}

static void make_durable(void)
{
	g_assert_cmpint(checkpoint(lib_durable), ==, 0);
	run.durable = run.versions->len - 1;
}

static void end(void)
{
	lib_close(run.map);
	for (guint i = 0; i < run.versions->len; i++)
		g_free(g_array_index(run.versions, struct version, i).bytes);
	g_array_unref(run.versions);
	g_free(run.checkpoints);
}

/* ---- the disks ---- */

static void copy_page(int fd, const struct version *v, size_t at)
{
	if (at < v->length)
		g_assert_cmpint(pwrite(fd, v->bytes + at, MIN(4096, v->length - at), (off_t)at), >, 0);
}

/* The header is to name the file that is built as the one that was cut. */
static void same_file(int fd)
{
	uint64_t place[2];
	struct stat st;

	g_assert_cmpint(fstat(fd, &st), ==, 0);
	place[0] = st.st_dev;
	place[1] = st.st_ino;
	g_assert_cmpint(pwrite(fd, place, sizeof(place), offsetof(struct ma_header, device)), ==, sizeof(place));
}

/* Each page is of any moment before the cut; page 0 of one since the map was durable, for then it was synced. In another run of the machine. */
static void build_map(const char *path, size_t step, uint64_t which)
{
	const struct version *v = (const struct version *)(const void *)run.versions->data;
	size_t count = 0, length, base = run.durable;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct support_rand r;

	support_rand_seed(&r, 1000 * step + which);
	while (count < run.versions->len && v[count].step <= step)
		count++;
	count = MAX(count, base + 1);
	length = v[base + support_rand_below(&r, count - base)].length;
	g_assert_cmpint(ftruncate(fd, (off_t)length), ==, 0);
	copy_page(fd, &v[base + support_rand_below(&r, count - base)], 0);
	for (size_t at = 4096; at < length; at += 4096)
		copy_page(fd, &v[support_rand_below(&r, count)], at);
	g_assert_cmpint(pwrite(fd, "the machine died", 16, BOOT_ID), ==, 16);
	same_file(fd);
	close(fd);
}

static void assert_entries(const struct table *is, const struct table *was)
{
	g_assert_true(memcmp(is, was, sizeof(*is)) == 0);
	for (size_t i = 0; i < ENTRIES; i++)
		for (uint32_t k = 0; k < is->entry[i].words; k++)
			g_assert_cmpuint(is->entry[i].block[k], ==, is->entry[i].value);
}

/* The last one that had returned, or one that was tried since. */
static gboolean may_be(uint64_t try, size_t step)
{
	size_t last = 0;

	for (size_t i = 0; i < run.tries; i++)
		if (run.returned[i] <= step)
			last = i;
	return try < run.tries && try >= last && run.begun[try] <= step;
}

/* Blocks are freed and allocated there, and another checkpoint is made and found. */
static void go_on(void *map, const char *path)
{
	struct table *table = lib_getroot(map, "table");

	for (size_t i = 0; i < ENTRIES; i += 3) {
		lib_free(map, table->entry[i].block);
		table->entry[i] = (struct entry){ .block = lib_malloc(map, 100) };
		g_assert_nonnull(table->entry[i].block);
	}
	table->try = 4711;
	g_assert_cmpint(lib_sync(map), ==, 0);
	table->try = 1;
	lib_close(map);
	g_assert_cmpint(lib_restore(path), ==, 0);
	map = lib_load(path);
	g_assert_nonnull(map);
	g_assert_cmpuint(((struct table *)lib_getroot(map, "table"))->try, ==, 4711);
	g_assert_cmpint(lib_check(map), ==, 0);
	lib_close(map);
}

static void look(const char *path, size_t step)
{
	void *map = lib_load(path);
	struct table *table;

	if (!map)
		g_error("after %zu operations: %s", step, lib_errmsg());
	g_assert_true(lib_was_restored(map));
	table = lib_getroot(map, "table");
	g_assert_true(table == run.table); /* The same addresses: they are in the table. */
	if (!may_be(table->try, step))
		g_error("after %zu operations it is try %" G_GUINT64_FORMAT, step, table->try);
	assert_entries(table, &run.was[table->try]);
	g_assert_cmpint(lib_check(map), ==, 0);
	go_on(map, path);
}

/* From the moment on at which the map was durable. */
static void cut_everywhere(void)
{
	const char *path = support_path("after");
	char *checkpoints = g_strconcat(path, ".checkpoint", NULL);
	size_t steps = disk_steps(), stride = support_stride(steps / support_size(SAMPLES, 2) + 1), disks = 0;

	/* The same addresses: the map is closed first. */
	lib_close(run.map);
	run.map = NULL;
	for (size_t step = run.returned[0] + support_rand_below(&run.rand, stride); step <= steps; step += stride)
		for (uint64_t which = 0; which < (disk_is_open(step) ? DISKS : 1); which++) {
			disk_after(step, which, checkpoints);
			build_map(path, step, which);
			look(path, step);
			disks++;
		}
	disk_report(steps, stride, disks);
	g_free(checkpoints);
	end();
}

/* ---- scenarios ---- */

static int in_two_halves(void *map)
{
	if (lib_capture(map) < 0)
		return -1;
	/* Of what comes between, some may be in it. But not of what the program's lock keeps back. */
	for (size_t i = 0; i < 50; i++)
		lib_free(map, lib_malloc(map, 16 + i));
	return lib_commit(map);
}

static void syncs(void)
{
	start("syncs", 2 * MIB);
	make_durable();
	for (size_t i = 0; i < 12; i++) {
		change(i == 6 ? ENTRIES : 10);
		keep_version();
		g_assert_cmpint(checkpoint(i % 2 ? lib_sync : in_two_halves), ==, 0);
	}
	cut_everywhere();
}

/* A new process does not know what changed, so it compares all pages. */
static void compared(void)
{
	start("compared", 2 * MIB);
	make_durable();
	for (size_t i = 0; i < 6; i++) {
		change(10);
		lib_close(run.map);
		run.map = lib_load(run.path);
		run.table = lib_getroot(run.map, "table");
		change(10);
		g_assert_cmpint(checkpoint(lib_sync), ==, 0);
	}
	cut_everywhere();
}

/* The journal is begun again and again. */
static void many(void)
{
	start("many", 2 * MIB);
	make_durable();
	for (size_t i = 0; i < 40; i++) {
		change(2);
		g_assert_cmpint(checkpoint(lib_sync), ==, 0);
	}
	cut_everywhere();
}

static void full_disk(void)
{
	struct stat st;
	size_t full = 0;

	start("full", 2 * MIB);
	make_durable();
	for (size_t i = 0; i < 16; i++) {
		change(ENTRIES / 2);
		g_assert_cmpint(stat(run.checkpoints, &st), ==, 0);
		disk_limit((uint64_t)st.st_size + support_rand_below(&run.rand, 8) * 4096);
		if (checkpoint(lib_sync) < 0) {
			g_assert_cmpint(errno, ==, ENOSPC);
			full++;
		}
		disk_limit(0);
	}
	g_assert_cmpuint(full, >, 2);
	g_assert_cmpint(checkpoint(lib_sync), ==, 0);
	cut_everywhere();
}

static void failing_disk(void)
{
	start("failing", 2 * MIB);
	make_durable();
	for (size_t i = 0; i < 12; i++) {
		change(5);
		if (i % 3 == 0) {
			disk_fail_sync(EIO);
			g_assert_cmpint(checkpoint(i % 2 ? lib_sync : in_two_halves), ==, -1);
			g_assert_cmpint(errno, ==, EIO);
			change(5);
		}
		g_assert_cmpint(checkpoint(lib_sync), ==, 0);
	}
	cut_everywhere();
}

/* ---- others at work meanwhile ---- */

static atomic_bool stop;

/* Blocks of all sizes, with roots, and nothing that the program's lock guards. */
static void *work(void *arg)
{
	struct support_rand r;
	void *block[64] = { NULL };

	support_rand_seed(&r, (uintptr_t)arg);
	while (!atomic_load(&stop)) {
		size_t i = support_rand_below(&r, 64);

		lib_free(run.map, block[i]);
		block[i] = lib_malloc(run.map, support_rand_between(&r, 1, support_rand_below(&r, 8) ? 600 : 70000));
		if (block[i])
			memset(block[i], (int)i, 1);
		if (i == 7)
			lib_setroot(run.map, "other", block[i]);
	}
	for (size_t i = 0; i < 64; i++)
		lib_free(run.map, block[i]);
	return NULL;
}

static void among_others(void)
{
	pthread_t thread[2];

	start("others", 4 * MIB);
	make_durable();
	atomic_store(&stop, false);
	for (uintptr_t i = 0; i < 2; i++)
		g_assert_cmpint(pthread_create(&thread[i], NULL, work, (void *)(i + 20)), ==, 0);
	for (size_t i = 0; i < 12; i++) {
		change(5);
		g_assert_cmpint(checkpoint(i % 2 ? lib_sync : in_two_halves), ==, 0);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	cut_everywhere();
}

static int work_on(void *arg)
{
	work(arg);
	return 0;
}

static void among_processes(void)
{
	pid_t child[2];

	start("processes", 4 * MIB);
	make_durable();
	for (size_t i = 0; i < 2; i++)
		child[i] = support_fork(work_on, (void *)(i + 30));
	for (size_t i = 0; i < 10; i++) {
		change(5);
		g_assert_cmpint(checkpoint(lib_sync), ==, 0);
	}
	for (size_t i = 0; i < 2; i++)
		support_kill(child[i]);
	cut_everywhere();
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	/* Thousands of maps are made and emptied: in memory, where there is some. */
	if (chdir("/dev/shm") < 0)
		g_printerr("# no /dev/shm: in this folder\n");
	support_add("/power/" LIB_NAME "/syncs", syncs);
	support_add("/power/" LIB_NAME "/compared", compared);
	support_add("/power/" LIB_NAME "/many", many);
	support_add("/power/" LIB_NAME "/full-disk", full_disk);
	support_add("/power/" LIB_NAME "/failing-disk", failing_disk);
	support_add("/power/" LIB_NAME "/among-others", among_others);
	support_add("/power/" LIB_NAME "/among-processes", among_processes);
	return support_run();
}
