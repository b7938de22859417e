/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers that nobody gave: a preallocated file of zeros becomes a map of its length, streams have a default; and sizes that no item
 * of a static map has.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_qalloc.h"

struct race {
	const char *path;
	struct support_barrier *barrier;
	_Atomic uint64_t next;
};

static bool was_created(void *map)
{
	struct qalloc_opening opening;

	g_assert_cmpint(qalloc_opening(map, &opening), ==, 0);
	g_assert_true(!opening.created || opening.generation == 1);
	return opening.created;
}

static void put(const char *path, off_t at, const void *bytes, size_t count)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	g_assert_cmpint(pwrite(fd, bytes, count, at), ==, (ssize_t)count);
	close(fd);
}

/* --- files of zeros ---------------------------------------------------------------------------------------- */

enum zeros { HOLE, UNWRITTEN, WRITTEN };

static bool make_zeros(const char *path, size_t bytes, enum zeros how)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *zeros = g_malloc0(bytes);
	bool made = true;

	g_assert_cmpint(fd, >=, 0);
	if (how == WRITTEN)
		g_assert_cmpint(write(fd, zeros, bytes), ==, (ssize_t)bytes);
	else if (how == UNWRITTEN)
		made = fallocate(fd, 0, 0, (off_t)bytes) == 0;
	else
		g_assert_cmpint(ftruncate(fd, (off_t)bytes), ==, 0);
	g_free(zeros);
	close(fd);
	return made;
}

static blkcnt_t disk_blocks(const char *path)
{
	struct stat st;

	g_assert_cmpint(stat(path, &st), ==, 0);
	return st.st_blocks;
}

static void zeros_become(bool is_static, size_t bytes, enum zeros how)
{
	const char *path = support_path("zeros");
	blkcnt_t blocks;
	void *map;

	if (!make_zeros(path, bytes, how))
		return;
	blocks = disk_blocks(path);
	map = is_static ? (void *)qalloc_makestatmap((off_t)MIB, NULL, path, 64, 0)
			: (void *)qalloc_makedynmap((off_t)MIB, NULL, path, 0);
	g_assert_nonnull(map);
	g_assert_cmpuint(support_stats(map).file_bytes, ==, bytes);
	g_assert_cmpint(support_file_size(path), ==, (off_t)bytes);
	g_assert_cmpint(disk_blocks(path), >=, blocks);
	g_assert_true(was_created(map));
	while (qalloc_malloc(map, 64))
		;
	check_map(map);
	g_assert_cmpuint(support_used(map) * 64, >, bytes / 2);
	support_close(map);
	support_finish(support_load(path), path);
}

static void zeros_become_maps(void)
{
	for (enum zeros how = HOLE; how <= WRITTEN; how++) {
		zeros_become(false, MIB, how);
		zeros_become(false, 3 * MIB, how);
		zeros_become(false, 256 * KIB, how);
		zeros_become(true, 4 * MIB + 17, how);
		zeros_become(true, 64 * KIB, how);
	}
}

/* A TiB of holes takes no time. */
static void huge_holes(void)
{
	const char *path = support_path("huge");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *map;

	g_assert_cmpint(ftruncate(fd, (off_t)support_huge()), ==, 0);
	close(fd);
	map = qalloc_makedynmap((off_t)MIB, NULL, path, 0);
	g_assert_nonnull(map);
	g_assert_cmpuint(support_stats(map).file_bytes, ==, support_huge());
	support_finish(map, path);
}

static void same_file(const char *path, const char *before, size_t size)
{
	size_t now_size;
	char *now = support_file_read(path, &now_size);

	g_assert_cmpuint(now_size, ==, size);
	g_assert_cmpint(memcmp(now, before, size), ==, 0);
	g_free(now);
}

/* One byte that is not zero, wherever it is. */
static void refused_at(size_t at)
{
	const char *path = support_path("data");
	struct stat before, after;
	char *bytes;
	size_t size;

	make_zeros(path, MIB, HOLE);
	put(path, (off_t)at, "x", 1);
	bytes = support_file_read(path, &size);
	g_assert_cmpint(stat(path, &before), ==, 0);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 0), EMEDIUMTYPE);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, 64, 1), EMEDIUMTYPE);
	g_assert_cmpint(stat(path, &after), ==, 0);
	g_assert_true(memcmp(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim)) == 0);
	same_file(path, bytes, size);
	g_free(bytes);
	unlink(path);
}

static void data_stays(void)
{
	static const size_t places[] = { 0, 7, 8, 100, 4095, 4096, 300000, MIB - 1 };

	for (size_t i = 0; i < G_N_ELEMENTS(places); i++)
		refused_at(places[i]);
}

/* What cannot become a map stays zeros of its length. */
static void too_few_zeros(void)
{
	const char *path = support_path("few");
	static const size_t lengths[] = { 1, 8, 4096, 20000 };
	char *zeros = g_malloc0(20000);

	for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
		make_zeros(path, lengths[i], WRITTEN);
		assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 0), EINVAL);
		same_file(path, zeros, lengths[i]);
	}
	make_zeros(path, MIB, HOLE);
	assert_null(qalloc_loadmap(path), EMEDIUMTYPE);
	assert_null(qalloc_open(path, QALLOC_RDONLY), EMEDIUMTYPE);
	assert_null(qalloc_open(path, QALLOC_PRIVATE), EMEDIUMTYPE);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, 2 * MIB, 1), EINVAL);
	support_finish(qalloc_makedynmap(0, NULL, path, 0), path);
	g_free(zeros);
}

static int create_in_small_disk(void *arg)
{
	const char *path, *junk;
	char *zeros = g_malloc0(8 * MIB);

	(void)arg;
	if (!support_small_disk("size=512k"))
		return SUPPORT_CANNOT;
	path = support_path("zeros");
	junk = support_path("junk");
	make_zeros(path, 8 * MIB, HOLE);
	make_zeros(junk, 64 * KIB, WRITTEN);
	for (size_t at = 64 * KIB; at < 2 * MIB; at += 4096) { /* Fill it up. */
		int fd = open(junk, O_WRONLY | O_APPEND | O_CLOEXEC);

		if (write(fd, zeros, 4096) < 0)
			at = 2 * MIB;
		close(fd);
	}
	errno = 0;
	g_assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 4));
	assert_errno_is(ENOSPC);
	same_file(path, zeros, 8 * MIB);
	unlink(junk);
	support_finish(qalloc_makedynmap((off_t)MIB, NULL, path, 1), path);
	g_free(zeros);
	return 0;
}

static void full_disk_leaves_zeros(void)
{
	support_run_or_skip(create_in_small_disk, "no mount namespace here");
}

struct creation {
	const char *path;
	bool is_static;
};

static void *create_in_zeros(const struct creation *c)
{
	return c->is_static ? (void *)qalloc_makestatmap((off_t)MIB, NULL, c->path, 64, 1)
			    : (void *)qalloc_makedynmap((off_t)MIB, NULL, c->path, 1);
}

static int create_traced(void *arg)
{
	support_kernel_from();
	g_assert_nonnull(create_in_zeros(arg));
	support_kernel_to();
	return 0;
}

static void killed_creators(bool is_static)
{
	struct creation c = { support_path("killed"), is_static };
	size_t k = 1;

	for (bool killed = true; killed; k++) {
		void *map;

		make_zeros(c.path, 3 * MIB + 4096, k % 2 ? HOLE : WRITTEN);
		killed = support_kill_in_kernel(create_traced, &c, k);
		g_assert_cmpint(support_file_size(c.path), ==, (off_t)(3 * MIB + 4096));
		map = create_in_zeros(&c);
		g_assert_nonnull(map);
		g_assert_cmpuint(support_stats(map).file_bytes, ==, 3 * MIB + 4096);
		g_assert_nonnull(qalloc_malloc(map, 64));
		support_finish(map, c.path);
	}
	g_test_message("killed at %zu places", k - 2);
	g_assert_cmpuint(k, >, 15);
}

static void killed_in_zeros(void)
{
	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("the calls of the kernel would be the tool's");
		return;
	}
	killed_creators(false);
	killed_creators(true);
}

static int create_race(void *arg)
{
	struct race *race = arg;
	void *map;

	support_barrier_wait(race->barrier);
	map = qalloc_makedynmap((off_t)MIB, NULL, race->path, 0);
	g_assert_nonnull(map);
	g_assert_cmpuint(support_stats(map).file_bytes, ==, 2 * MIB);
	g_assert_nonnull(qalloc_malloc(map, 100));
	atomic_fetch_add(&race->next, was_created(map));
	support_close(map);
	return 0;
}

static void one_of_many_creates(void)
{
	struct race *race = support_shared(sizeof(*race));
	pid_t pids[8];

	race->path = support_path("race");
	race->barrier = support_barrier_new(G_N_ELEMENTS(pids));
	make_zeros(race->path, 2 * MIB, HOLE);
	for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
		pids[i] = support_fork(create_race, race);
	for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
		support_wait_ok(pids[i]);
	g_assert_cmpuint(atomic_load(&race->next), ==, 1);
	support_finish(support_load(race->path), race->path);
}

/* --- numbers ----------------------------------------------------------------------------------------------- */

static void default_streams(void)
{
	const char *path = support_path("streams");
	unsigned processors = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	void *map = support_dyn(path, MIB, 0);

	g_assert_cmpuint(support_stats(map).streams, ==, 1);
	support_finish(map, path);
	map = support_dyn(path, 4 * GIB, 0);
	g_assert_cmpuint(support_stats(map).streams, ==, MIN(processors, 64));
	g_assert_true(qalloc_makedynmap((off_t)MIB, NULL, path, 0) == map);
	support_close(map);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 1000), EINVAL);
	support_finish(map, path);
	map = support_stat(path, 128 * MIB, 64, 0);
	g_assert_cmpuint(support_stats(map).streams, ==, MIN(processors, 2));
	support_finish(map, path);
	map = support_dyn(path, MIB, 3);
	support_close(map);
	map = support_dyn(path, MIB, 0);
	g_assert_cmpuint(support_stats(map).streams, ==, 3);
	support_finish(map, path);
}

/* Never less than what was asked for. */
static void items_have_a_size(void)
{
	static const size_t items[] = { 8, 24, 64, 1000, 1024, 3000, 100000 };

	for (size_t i = 0; i < G_N_ELEMENTS(items); i++) {
		const char *path = support_path("items");
		void *map = support_stat(path, 4 * MIB, items[i], 1), *block;

		for (unsigned round = 0; round < 200; round++) {
			g_assert_nonnull(block = qalloc_malloc(map, items[i]));
			memset(block, 1, items[i]);
			assert_null(qalloc_malloc(map, items[i] + 1), EINVAL);
			if (round % 2)
				qalloc_free(block, map);
			if (round == 30) {
				g_assert_nonnull(block = qalloc_malloc(map, 0));
				qalloc_free(block, map);
			}
			if (items[i] > 50000 && round == 9)
				break;
		}
		assert_null(qalloc_malloc(map, SIZE_MAX), EINVAL);
		assert_null(qalloc_malloc(map, items[i] * 4096), EINVAL);
		assert_null(qalloc_calloc(map, 2, items[i]), EINVAL);
		assert_null(qalloc_calloc(map, SIZE_MAX, 2), ENOMEM);
		assert_null(qalloc_memalign(map, 8, items[i] + 1), EINVAL);
		assert_null(qalloc_realloc(map, NULL, items[i] + 1), EINVAL);
		g_assert_nonnull(block = qalloc_statmalloc(map));
		assert_null(qalloc_realloc(map, block, items[i] + 1), EINVAL);
		support_finish(map, path);
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/zeros/zeros", zeros_become_maps);
	support_add("/qalloc/zeros/huge-holes", huge_holes);
	support_add("/qalloc/zeros/data-stays", data_stays);
	support_add("/qalloc/zeros/too-few-zeros", too_few_zeros);
	support_add("/qalloc/zeros/full-disk", full_disk_leaves_zeros);
	support_add("/qalloc/zeros/killed-in-zeros", killed_in_zeros);
	support_add("/qalloc/zeros/one-creates", one_of_many_creates);
	support_add("/qalloc/zeros/default-streams", default_streams);
	support_add("/qalloc/zeros/items-have-a-size", items_have_a_size);
	return support_run();
}
