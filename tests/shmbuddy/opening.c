/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What opening a region finds (shmbuddy_opening), the application's tag, regions that one process has to itself, and files of zeros
 * that become regions.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_fault.h"
#include "tests/support/support_fd.h"

#define AT_BOOT_ID 216 /* doc/format.md */
#define CAPACITY   (4 * MIB)

static shmbuddy_t *open_with(const char *path, unsigned flags)
{
	const struct shmbuddy_options options = { .capacity = CAPACITY, .flags = flags };

	return shmbuddy_open(path, &options);
}

static void put(const char *path, off_t at, const void *bytes, size_t count)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	g_assert_cmpint(pwrite(fd, bytes, count, at), ==, (ssize_t)count);
	close(fd);
}

static struct shmbuddy_opening found(shmbuddy_t *region)
{
	struct shmbuddy_opening opening;

	memset(&opening, 0xff, sizeof(opening));
	g_assert_cmpint(shmbuddy_opening(region, &opening), ==, 0);
	return opening;
}

#define assert_found(region, ...) assert_found_at(found(region), (struct shmbuddy_opening){ __VA_ARGS__ }, __LINE__)

static void assert_found_at(struct shmbuddy_opening is, struct shmbuddy_opening should, int line)
{
	if (memcmp(&is, &should, sizeof(is)) != 0)
		g_error("line %d: generation %u, created %u, first %u, copied %u, died %u, closed %u, recovered %u, "
			"verified %u",
			line, (unsigned)is.generation, is.created, is.first, is.copied, is.machine_died, is.closed,
			is.recovered, is.verified);
}

struct holder {
	const char *path;
	unsigned flags;
	struct support_sync sync;
};

static int hold(void *arg)
{
	struct holder *holder = arg;
	shmbuddy_t *region = open_with(holder->path, holder->flags);

	g_assert_cmpuint(shmbuddy_malloc(region, 100), !=, SHM_NULL);
	support_point(&holder->sync, "open");
	buddy_close(region);
	return 0;
}

static struct holder *new_holder(void)
{
	struct holder *holder = support_shared(sizeof(*holder));

	holder->path = support_path("region");
	return holder;
}

static void generations(void)
{
	struct holder *holder = new_holder();
	const char *path = holder->path, *copy = support_path("copy");
	shmbuddy_t *region = open_with(path, 0), *again;
	pid_t pid;

	assert_found(region, .generation = 1, .created = 1, .first = 1);
	again = open_with(path, 0);
	assert_found(again, .generation = 1);
	buddy_close(again);
	buddy_close(region);
	region = open_with(path, 0);
	assert_found(region, .generation = 2, .first = 1, .closed = 1);
	buddy_close(region);
	pid = support_fork(hold, holder);
	support_await(&holder->sync, "open");
	region = open_with(path, 0);
	assert_found(region, .generation = 3);
	buddy_close(region);
	region = open_with(path, SHMBUDDY_RDONLY);
	assert_found(region, .generation = 3);
	buddy_close(region);
	support_kill_at(pid, &holder->sync, "open");
	region = open_with(path, SHMBUDDY_RDONLY);
	assert_found(region, .generation = 3, .first = 1);
	buddy_close(region);
	region = open_with(path, 0);
	assert_found(region, .generation = 4, .first = 1, .recovered = 1);
	buddy_close(region);
	put(path, AT_BOOT_ID, "another machine ", 16);
	region = open_with(path, 0);
	assert_found(region, .generation = 5, .first = 1, .machine_died = 1, .closed = 1, .verified = 1);
	buddy_close(region);
	support_file_copy(path, copy);
	region = open_with(copy, 0);
	assert_found(region, .generation = 6, .first = 1, .copied = 1, .closed = 1, .verified = 1);
	buddy_close(region);
}

static int close_in_child(void *arg)
{
	buddy_close(arg);
	return 0;
}

static int wait_in_child(void *arg)
{
	struct holder *holder = arg;

	support_point(&holder->sync, "child");
	return 0;
}

/* The child is a user of its own: as long as it lives the region is in use, and its death is none of its parent's. */
static void fork_children_attach(void)
{
	struct holder *holder = new_holder();
	shmbuddy_t *region = open_with(holder->path, 0);
	pid_t pid;

	support_run_child(close_in_child, region);
	pid = support_fork(wait_in_child, holder);
	support_await(&holder->sync, "child");
	buddy_close(region);
	region = open_with(holder->path, 0);
	assert_found(region, .generation = 1);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
	support_kill_at(pid, &holder->sync, "child");
	region = open_with(holder->path, 0);
	assert_found(region, .generation = 2, .first = 1, .recovered = 1);
	buddy_close(region);
}

static void memory(void)
{
	static _Alignas(64) char mem[1 << 20];
	shmbuddy_t *region = shmbuddy_format(mem, sizeof(mem), NULL), *other = shmbuddy_join(mem);

	assert_found(region, .generation = 1, .created = 1, .first = 1);
	assert_found(other, .generation = 1);
	g_assert_cmpint(shmbuddy_settag(region, 3), ==, 0);
	g_assert_cmpuint(shmbuddy_gettag(other), ==, 3);
	buddy_close(other);
	buddy_close(region);
}

/* Another file may go by the number of a descriptor that the program has closed. */
static void closed_descriptors(void)
{
	const char *path = support_path("region"), *other = support_path("other");
	shmbuddy_t *region;
	char *text;

	region = open_with(path, 0);
	fd_close_all(false);
	support_file_write(other, "other", 5);
	fd_take_numbers(other);
	buddy_close(region);
	text = support_file_read(other, NULL);
	g_assert_cmpstr(text, ==, "other");
	g_free(text);
	for (int fd = VICTIM_FROM; fd < VICTIM_TO; fd++)
		g_assert_cmpint(close(fd), ==, 0);
	buddy_close(open_with(path, 0));
}

static int close_descriptors(void *arg)
{
	(void)arg;
	closed_descriptors();
	return 0;
}

static void descriptors_are_not_ours(void)
{
	support_run_child(close_descriptors, NULL);
}

static void tags(void)
{
	const char *path = support_path("region"), *copy = support_path("copy");
	struct shmbuddy_opening opening;
	shmbuddy_t *region = open_with(path, 0);

	errno = 0;
	g_assert_cmpuint(shmbuddy_gettag(region), ==, 0);
	assert_errno_is(0);
	assert_minus1(shmbuddy_settag(region, 0), EINVAL);
	g_assert_cmpint(shmbuddy_settag(region, 7), ==, 0);
	assert_errno_is(EINVAL); /* A success leaves it. */
	g_assert_cmpint(shmbuddy_settag(region, 7), ==, 0);
	assert_minus1(shmbuddy_settag(region, UINT64_MAX), EEXIST);
	assert_minus1(shmbuddy_opening(region, NULL), EINVAL);
	buddy_close(region);
	assert_minus1(shmbuddy_settag(region, 7), EBADF);
	assert_minus1(shmbuddy_opening(region, &opening), EBADF);
	assert_minus1(shmbuddy_opening(NULL, &opening), EBADF);
	errno = 0;
	g_assert_cmpuint(shmbuddy_gettag(region), ==, 0);
	assert_errno_is(EBADF);
	support_file_copy(path, copy);
	region = open_with(copy, 0);
	g_assert_cmpuint(shmbuddy_gettag(region), ==, 7);
	buddy_close(region);
	region = open_with(path, SHMBUDDY_RDONLY);
	g_assert_cmpuint(shmbuddy_gettag(region), ==, 7);
	assert_minus1(shmbuddy_settag(region, 7), EROFS);
	buddy_close(region);
}

/* --- alone ------------------------------------------------------------------------------------------------- */

static int others_stay_out(void *arg)
{
	assert_null(open_with(arg, 0), EBUSY);
	assert_null(open_with(arg, SHMBUDDY_EXISTING), EBUSY);
	assert_null(open_with(arg, SHMBUDDY_EXCLUSIVE), EBUSY);
	assert_null(open_with(arg, SHMBUDDY_RDONLY), EBUSY);
	return 0;
}

static void alone(void)
{
	struct holder *holder = new_holder();
	char *path = (char *)(uintptr_t)holder->path;
	shmbuddy_t *region = open_with(path, SHMBUDDY_EXCLUSIVE); /* It makes it, too. */
	pid_t pid;

	assert_found(region, .generation = 1, .created = 1, .first = 1);
	g_assert_cmpuint(shmbuddy_malloc(region, 100), !=, SHM_NULL);
	support_run_child(others_stay_out, path);
	others_stay_out(path);
	buddy_close(region);
	pid = support_fork(hold, holder);
	support_await(&holder->sync, "open");
	assert_null(open_with(path, SHMBUDDY_EXCLUSIVE), EBUSY);
	buddy_close(open_with(path, 0));
	support_kill_at(pid, &holder->sync, "open");
	memset(&holder->sync, 0, sizeof(holder->sync));
	holder->flags = SHMBUDDY_EXCLUSIVE;
	pid = support_fork(hold, holder);
	support_await(&holder->sync, "open");
	support_run_child(others_stay_out, path);
	support_kill_at(pid, &holder->sync, "open");
	region = open_with(path, SHMBUDDY_EXCLUSIVE);
	g_assert_cmpuint(found(region).recovered, ==, 1);
	buddy_close(region);
	assert_null(open_with(path, SHMBUDDY_EXCLUSIVE | SHMBUDDY_RDONLY), EINVAL);
	assert_null(open_with(path, 0x20), EINVAL);
}

static const char *no_locks_path;

static int without_locks(void *arg)
{
	const char *path = no_locks_path;
	shmbuddy_t *region;

	(void)arg;
	if (!support_make_fail(SYS_fcntl, F_OFD_SETLK, EINVAL))
		return SUPPORT_CANNOT;
	assert_null(open_with(path, SHMBUDDY_EXCLUSIVE), ENOLCK);
	region = open_with(path, 0);
	g_assert_nonnull(region);
	g_assert_cmpuint(found(region).first, ==, 0);
	buddy_close(region);
	return 0;
}

static void no_locks(void)
{
	const char *path = support_path("region");

	buddy_close(open_with(path, 0));
	no_locks_path = path;
	support_run_or_skip(without_locks, "no seccomp filter here");
}

/* --- zeros ------------------------------------------------------------------------------------------------- */

static void make_zeros(const char *path, size_t bytes, bool written)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (written) {
		char *zeros = g_malloc0(bytes);

		g_assert_cmpint(write(fd, zeros, bytes), ==, (ssize_t)bytes);
		g_free(zeros);
	}
	g_assert_cmpint(ftruncate(fd, (off_t)bytes), ==, 0);
	close(fd);
}

static void use_all(shmbuddy_t *region)
{
	struct shmbuddy_stats stats = buddy_stats(region);
	uint64_t taken = 0;
	shm_offt block;

	while ((block = shmbuddy_malloc(region, stats.largest)) != SHM_NULL) {
		memset(shmbuddy_address(region, block), 1, stats.largest);
		taken += stats.largest;
	}
	g_assert_cmpuint(taken + stats.largest, >, stats.capacity);
	buddy_check(region);
}

static void zeros_of(size_t bytes, uint64_t capacity, uint64_t largest, bool written)
{
	const struct shmbuddy_options options = { .capacity = capacity, .largest = largest };
	const char *path = support_path("zeros");
	struct shmbuddy_stats stats;
	shmbuddy_t *region;

	make_zeros(path, bytes, written);
	region = shmbuddy_open(path, &options);
	g_assert_nonnull(region);
	assert_found(region, .generation = 1, .created = 1, .first = 1);
	stats = buddy_stats(region);
	g_assert_cmpuint(stats.region_bytes, <=, bytes);
	if (capacity)
		g_assert_cmpuint(stats.capacity, >=, capacity);
	else
		g_assert_cmpuint(stats.capacity, >, bytes / 2);
	use_all(region);
	g_assert_cmpint(support_file_size(path), ==, (off_t)bytes);
	buddy_close(region);
	buddy_close(buddy_open(path, 0, 0, 0));
	unlink(path);
}

static void zeros(void)
{
	for (int written = 0; written < 2; written++) {
		zeros_of(64 * KIB, 0, 0, written);
		zeros_of(MIB, 0, 0, written);
		zeros_of(5 * MIB + 1, 0, MIB, written);
		zeros_of(8 * MIB, 4 * MIB, 0, written);
		zeros_of(20 * MIB, 0, 1024, written);
	}
}

static void refused_zeros(void)
{
	const struct shmbuddy_options large = { .capacity = 4 * MIB };
	const char *path = support_path("zeros");
	static const size_t lengths[] = { 1, 8, 4096, 12000 };

	for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
		make_zeros(path, lengths[i], false);
		assert_null(shmbuddy_open(path, NULL), EINVAL);
		g_assert_cmpint(support_file_size(path), ==, (off_t)lengths[i]);
	}
	make_zeros(path, 4 * MIB, false);
	assert_null(shmbuddy_open(path, &large), EINVAL);
	assert_null(open_with(path, SHMBUDDY_EXISTING), EMEDIUMTYPE);
	assert_null(open_with(path, SHMBUDDY_RDONLY), EMEDIUMTYPE);
	put(path, 3000000, "x", 1);
	assert_null(shmbuddy_open(path, NULL), EMEDIUMTYPE);
	g_assert_cmpint(support_file_size(path), ==, (off_t)(4 * MIB));
	make_zeros(path, 4 * MIB, false);
	buddy_close(open_with(path, SHMBUDDY_NEW) ?: shmbuddy_open(path, NULL));
}

static int create_traced(void *path)
{
	support_kernel_from();
	g_assert_nonnull(shmbuddy_open(path, NULL));
	support_kernel_to();
	return 0;
}

static void killed_in_zeros(void)
{
	const char *path = support_path("killed");
	size_t k = 1;

	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("the calls of the kernel would be the tool's");
		return;
	}
	for (bool killed = true; killed; k++) {
		shmbuddy_t *region;

		make_zeros(path, 3 * MIB + 100000, k % 2);
		killed = support_kill_in_kernel(create_traced, (void *)path, k);
		g_assert_cmpint(support_file_size(path), ==, (off_t)(3 * MIB + 100000));
		region = buddy_open(path, 0, 0, 0);
		g_assert_cmpuint(buddy_stats(region).capacity, >=, 2 * MIB);
		buddy_is_empty(region);
		buddy_close(region);
		unlink(path);
	}
	g_assert_cmpuint(k, >, 15);
}

static int create_in_small_disk(void *arg)
{
	const char *path;
	char *bytes;
	size_t size;

	(void)arg;
	if (!support_small_disk("size=1m"))
		return SUPPORT_CANNOT;
	path = support_path("zeros");
	make_zeros(path, 512 * MIB, false);
	assert_null(shmbuddy_open(path, NULL), ENOSPC);
	bytes = support_file_read(path, &size);
	g_assert_cmpuint(size, ==, 512 * MIB);
	for (size_t i = 0; i < size; i++)
		g_assert_cmpint(bytes[i], ==, 0);
	g_free(bytes);
	return 0;
}

static void full_disk(void)
{
	support_run_or_skip(create_in_small_disk, "no mount namespace here");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/opening/generations", generations);
	support_add("/shmbuddy/opening/fork", fork_children_attach);
	support_add("/shmbuddy/opening/memory", memory);
	support_add("/shmbuddy/opening/descriptors", descriptors_are_not_ours);
	support_add("/shmbuddy/opening/tags", tags);
	support_add("/shmbuddy/opening/alone", alone);
	support_add("/shmbuddy/opening/no-locks", no_locks);
	support_add("/shmbuddy/opening/zeros", zeros);
	support_add("/shmbuddy/opening/refused-zeros", refused_zeros);
	support_add("/shmbuddy/opening/killed-in-zeros", killed_in_zeros);
	support_add("/shmbuddy/opening/full-disk", full_disk);
	return support_run();
}
