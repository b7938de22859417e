/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is believed of maps of all kinds when the machine died, or their file system went away, at a bad moment. Played: the first page is put
 * back as it was on the disk, other pages too, the kernel's boot id and the mount's are changed. tools/cuts does it in earnest.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"
#include "common/header.h"
#include "tests/support/support_fault.h"
#include "tests/tools/cutting.h"

/* ---- the disk ---- */

/* Of the file that a library writes to the disk: how often, and what it has as its first page since. */
static struct disk {
	_Atomic unsigned syncs;
	_Atomic int error; /* The disk fails. */
	_Atomic int dies;  /* The process is killed there. */
	char page[MA_PAGE];
} * disk;

/* The libraries are linked into this program, and call this one. */
int fdatasync(int fd)
{
	if (!disk)
		return (int)syscall(SYS_fdatasync, fd);
	disk->syncs++;
	if (disk->error) {
		errno = disk->error;
		return -1;
	}
	g_assert_cmpint(pread(fd, disk->page, MA_PAGE, 0), ==, MA_PAGE);
	if (disk->dies)
		raise(SIGKILL);
	return 0;
}

/* ---- the mount ---- */

/* Closed, or in use by processes that died: another mount may mean that the last writes were lost. Closed and synced: it means nothing. */
static void other_mounts(void)
{
	for (size_t i = 0; i < HEAPS; i++) {
		const char *path = make(&heaps[i]);

		opens(&heaps[i], path, false);
		forget_mount(path);
		opens(&heaps[i], path, true);
		opens(&heaps[i], path, false);
		forget_mount(path);
		put_state(path, MA_STATE_IN_USE);
		opens(&heaps[i], path, true);
		forget_mount(path);
		put_state(path, MA_STATE_SYNCED);
		opens(&heaps[i], path, false);
		opens(&heaps[i], path, false);
	}
}

/* ---- the disk's number ---- */

/*
 * Disks are numbered as they are found. After a restart the file is the same one when its file system is. "Closed and synced" is taken back on
 * the disk first, whatever its number.
 */
static void other_numbers(void)
{
	const uint64_t other = 12345;

	for (size_t i = 0; i < HEAPS; i++) {
		const char *path = make(&heaps[i]);
		unsigned before;

		if (!renumber_device(path)) {
			g_test_skip("the file system has no id");
			return;
		}
		opens(&heaps[i], path, true); /* In one run: a copy. */
		renumber_device(path);
		forget_boot(path);
		put_state(path, MA_STATE_SYNCED);
		disk = support_shared(sizeof(*disk));
		before = disk->syncs;
		opens(&heaps[i], path, false);
		g_assert_cmpuint(disk->syncs, ==, before + 1);
		disk = NULL;
		put(path, offsetof(struct ma_header, filesystem), &other, sizeof(other));
		forget_boot(path);
		put_state(path, MA_STATE_SYNCED);
		opens(&heaps[i], path, true);
	}
}

struct holder {
	const struct heap *heap;
	const char *path;
	unsigned round;
	struct support_sync sync;
};

static int hold(void *arg)
{
	struct holder *holder = arg;
	void *map = holder->heap->open(holder->path);

	g_assert_nonnull(map);
	g_assert_cmpuint(holder->heap->malloc(map, 64), !=, 0);
	support_point(&holder->sync, "open");
	g_assert_cmpint(holder->heap->close(map), ==, 0);
	return 0;
}

/* A process that has it open proves that nothing was lost. */
static void other_mount_joins(void)
{
	struct holder *holder = support_shared(sizeof(*holder));

	for (size_t i = 0; i < HEAPS; i++) {
		struct qalloc_opening is;
		void *map;
		pid_t pid;

		memset(&holder->sync, 0, sizeof(holder->sync));
		holder->heap = &heaps[i];
		holder->path = make(&heaps[i]);
		pid = support_fork(hold, holder);
		support_await(&holder->sync, "open");
		forget_mount(holder->path);
		map = heaps[i].open(holder->path);
		g_assert_nonnull(map);
		is = found(&heaps[i], map);
		g_assert_true(!is.first && !is.verified && !is.machine_died);
		g_assert_cmpint(heaps[i].close(map), ==, 0);
		assert_status(0, "check", holder->path);
		support_go(&holder->sync, "open");
		support_wait_ok(pid);
		opens(&heaps[i], holder->path, true); /* The mount that the header names is still the other one. */
	}
}

/* A reader waits for a creation to end. It does not prove anything. */
static int read_for_a_while(void *arg)
{
	struct holder *holder = arg;
	int fd = open(holder->path, O_RDWR | O_CLOEXEC);

	g_assert_cmpint(ma_file_visit(fd), ==, 0);
	support_point(&holder->sync, "looking");
	support_sleep_us(200000);
	return 0;
}

static void other_mount_beside_a_reader(void)
{
	struct holder *holder = support_shared(sizeof(*holder));

	for (size_t i = 0; i < HEAPS; i++) {
		pid_t pid;

		memset(&holder->sync, 0, sizeof(holder->sync));
		holder->path = make(&heaps[i]);
		put_state(holder->path, MA_STATE_IN_USE);
		forget_mount(holder->path);
		pid = support_fork(read_for_a_while, holder);
		support_await(&holder->sync, "looking");
		support_go(&holder->sync, "looking");
		opens(&heaps[i], holder->path, true);
		support_wait_ok(pid);
	}
}

/* A process with mount points of its own, as a container's or a service's. */
static int open_elsewhere(void *arg)
{
	struct holder *holder = arg;
	uint64_t mount;
	void *map;

	get(holder->path, offsetof(struct ma_header, mount), &mount, sizeof(mount));
	if (!mount || unshare(CLONE_NEWNS) < 0)
		return SUPPORT_CANNOT;
	map = holder->heap->open(holder->path);
	g_assert_nonnull(map);
	g_assert_cmpuint(found(holder->heap, map).verified, ==, found(holder->heap, map).first);
	return holder->heap->close(map);
}

/* Alone it verifies all of it; beside us it joins. */
static void other_mount_points(void)
{
	struct holder *holder = support_shared(sizeof(*holder));
	int status;
	pid_t pid;

	for (size_t i = 0; i < HEAPS; i++) {
		holder->heap = &heaps[i];
		holder->path = make(&heaps[i]);
		status = support_wait(support_fork(open_elsewhere, holder));
		if (WIFEXITED(status) && WEXITSTATUS(status) == SUPPORT_CANNOT) {
			g_test_skip("no mount points of its own, or no numbers of mounts");
			return;
		}
		g_assert_cmpint(status, ==, 0);
		opens(&heaps[i], holder->path, true);
		memset(&holder->sync, 0, sizeof(holder->sync));
		pid = support_fork(hold, holder);
		support_await(&holder->sync, "open");
		support_run_child(open_elsewhere, holder);
		support_go(&holder->sync, "open");
		support_wait_ok(pid);
		opens(&heaps[i], holder->path, false);
	}
}

/* ---- "in use" is on the disk first ---- */

static unsigned syncs_of(const struct heap *heap, const char *path,
			 void *(*open_it)(const struct heap *heap, const char *path))
{
	void *map;
	unsigned count;

	disk->syncs = 0;
	map = open_it(heap, path);
	g_assert_nonnull(map);
	count = disk->syncs;
	g_assert_cmpint(heap->close(map), ==, 0);
	return count;
}

static void *open_to_write(const struct heap *heap, const char *path)
{
	return heap->open(path);
}

/* One write of one page where it was synced, none where nothing is to be taken back. */
static void in_use_costs(void)
{
	const char *copy = support_path("copy");

	disk = support_shared(sizeof(*disk));
	for (size_t i = 0; i < HEAPS; i++) {
		const char *path = make(&heaps[i]);

		g_assert_cmpuint(syncs_of(&heaps[i], path, open_to_write), ==, 0);
		put_state(path, MA_STATE_SYNCED);
		support_file_copy(path, copy);
		g_assert_cmpuint(syncs_of(&heaps[i], copy, open_to_write), ==, 0);
		unlink(copy);
		g_assert_cmpuint(syncs_of(&heaps[i], path, open_to_read), ==, 0);
		if (!is_of(&heaps[i], "shmbuddy"))
			g_assert_cmpuint(syncs_of(&heaps[i], path, open_privately), ==, 0);
		g_assert_cmpuint(syncs_of(&heaps[i], path, open_to_write), ==, 1);
		g_assert_cmpuint(syncs_of(&heaps[i], path, open_to_write), ==, 0);
		put_state(path, MA_STATE_IN_USE);
		g_assert_cmpuint(syncs_of(&heaps[i], path, open_to_write), ==, 0);
	}
	disk = NULL;
}

static void in_use_fails(void)
{
	disk = support_shared(sizeof(*disk));
	for (size_t i = 0; i < HEAPS; i++) {
		const char *path = make(&heaps[i]);
		size_t size, size_then;
		char *before, *then;

		put_state(path, MA_STATE_SYNCED);
		before = support_file_read(path, &size);
		disk->error = EIO;
		g_assert_null(heaps[i].open(path));
		g_assert_cmpint(errno, ==, EIO);
		then = support_file_read(path, &size_then);
		g_assert_true(size == size_then && memcmp(before, then, size) == 0);
		disk->error = 0;
		opens(&heaps[i], path, false);
		g_free(before);
		g_free(then);
	}
	disk = NULL;
}

static int open_and_work(void *arg)
{
	const struct holder *holder = arg;
	const struct heap *heap = holder->heap;
	void *map = heap->open(holder->path);
	uint64_t blocks[64] = { 0 };
	struct support_rand r;

	g_assert_nonnull(map);
	support_rand_seed(&r, holder->round);
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t *block = &blocks[support_rand_below(&r, G_N_ELEMENTS(blocks))];

		if (*block)
			heap->free(map, *block);
		*block = heap->malloc(map, heap_size(heap, &r));
	}
	_exit(0);
}

/* The next one of the same run finds it in order. */
static void in_use_and_killed(void)
{
	struct holder *holder = support_shared(sizeof(*holder));

	disk = support_shared(sizeof(*disk));
	for (size_t i = 0; i < HEAPS; i++) {
		holder->heap = &heaps[i];
		holder->path = make(&heaps[i]);
		put_state(holder->path, MA_STATE_SYNCED);
		forget_boot(holder->path);
		disk->dies = 1;
		g_assert_true(WIFSIGNALED(support_wait(support_fork(open_and_work, holder))));
		disk->dies = 0;
		opens(&heaps[i], holder->path, false);
	}
	disk = NULL;
}

/* Page 0 as it was written last; of the others some are new. Then the next boot. */
static void cut(const char *path, const char *before, size_t size, struct support_rand *r)
{
	uint32_t state;

	for (size_t at = MA_PAGE; at + MA_PAGE <= size; at += MA_PAGE)
		if (support_rand_below(r, 2))
			put(path, (off_t)at, before + at, MA_PAGE);
	put(path, 0, disk->page, MA_PAGE);
	memcpy(&state, (const char *)disk->page + offsetof(struct ma_header, state), sizeof(state));
	if (state == MA_STATE_IN_USE)
		forget_boot(path);
}

/* Sound, or refused as damaged. It was believed as it is. */
static void power_cuts(void)
{
	struct holder *holder = support_shared(sizeof(*holder));
	unsigned refused = 0;
	struct support_rand r;

	disk = support_shared(sizeof(*disk));
	support_rand_seed(&r, 1);
	for (size_t i = 0; i < HEAPS * support_scale(10); i++) {
		const struct heap *heap = &heaps[i % HEAPS];
		size_t size;
		char *before;
		void *map;

		holder->round = (unsigned)i;
		holder->heap = heap;
		holder->path = make(heap);
		put_state(holder->path, MA_STATE_SYNCED);
		before = support_file_read(holder->path, &size);
		memcpy(disk->page, before, MA_PAGE);
		support_run_child(open_and_work, holder);
		cut(holder->path, before, size, &r);
		map = heap->open(holder->path);
		if (map)
			g_assert_cmpuint(found(heap, map).verified, ==, 1);
		else
			g_assert_cmpint(errno, ==, EUCLEAN);
		refused += !map;
		if (map)
			g_assert_cmpint(heap->close(map), ==, 0);
		if (map)
			assert_status(0, "check", holder->path);
		g_free(before);
	}
	g_test_message("%u refused", refused);
	disk = NULL;
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/power/in-use-costs", in_use_costs);
	support_add("/tools/power/in-use-fails", in_use_fails);
	support_add("/tools/power/in-use-and-killed", in_use_and_killed);
	support_add("/tools/power/cuts", power_cuts);
	support_add("/tools/power/other-mounts", other_mounts);
	support_add("/tools/power/other-numbers", other_numbers);
	support_add("/tools/power/other-mount-joins", other_mount_joins);
	support_add("/tools/power/other-mount-beside-a-reader", other_mount_beside_a_reader);
	support_add("/tools/power/other-mount-points", other_mount_points);
	return support_run();
}
