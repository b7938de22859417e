/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What attaching finds (mmalloc_opening), the application's tag, heaps that one process has to itself, files of zeros that become
 * heaps, and fork children that see the heap as it was.
 */
#include <signal.h>
#include <sys/stat.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_mmalloc.h"

#define AT_BOOT_ID 216 /* doc/format.md */

static void *attach_with(const char *path, unsigned flags)
{
	const struct mmalloc_options options = { .flags = flags, .reserve = 64 * MIB };
	int fd = heap_file(path);
	void *md = mmalloc_attach_opt(fd, NULL, &options);
	int saved = errno;

	close(fd);
	errno = saved;
	return md;
}

static struct mmalloc_opening found(void *md)
{
	struct mmalloc_opening opening;

	memset(&opening, 0xff, sizeof(opening));
	g_assert_cmpint(mmalloc_opening(md, &opening), ==, 0);
	return opening;
}

#define assert_found(md, ...) assert_found_at(found(md), (struct mmalloc_opening){ __VA_ARGS__ }, __LINE__)

static void assert_found_at(struct mmalloc_opening is, struct mmalloc_opening should, int line)
{
	if (memcmp(&is, &should, sizeof(is)) != 0)
		g_error("line %d: generation %u, created %u, first %u, copied %u, died %u, closed %u, recovered %u, "
			"verified %u",
			line, (unsigned)is.generation, is.created, is.first, is.copied, is.machine_died, is.closed,
			is.recovered, is.verified);
}

static int attach_and_die(void *arg)
{
	g_assert_nonnull(mmalloc(attach_with(arg, 0), 100));
	raise(SIGKILL);
	return 0;
}

static void put(const char *path, off_t at, const void *bytes, size_t count)
{
	int fd = heap_file(path);

	g_assert_cmpint(pwrite(fd, bytes, count, at), ==, (ssize_t)count);
	close(fd);
}

static void generations(void)
{
	const char *path = support_path("heap"), *copy = support_path("copy");
	void *md = attach_with(path, 0);
	int status;

	assert_found(md, .generation = 1, .created = 1, .first = 1);
	heap_detach(md);
	md = attach_with(path, 0);
	assert_found(md, .generation = 2, .first = 1, .closed = 1);
	heap_detach(md);
	status = support_wait(support_fork(attach_and_die, (void *)(uintptr_t)path));
	g_assert_true(WIFSIGNALED(status));
	md = attach_with(path, 0);
	assert_found(md, .generation = 4, .first = 1, .recovered = 1);
	heap_detach(md);
	put(path, AT_BOOT_ID, "another machine ", 16);
	md = attach_with(path, 0);
	assert_found(md, .generation = 5, .first = 1, .machine_died = 1, .closed = 1, .verified = 1);
	g_assert_cmpint(mmalloc_snapshot(md, copy), ==, 0);
	heap_detach(md);
	support_file_copy(path, copy);
	md = attach_with(copy, 0);
	assert_found(md, .generation = 6, .first = 1, .copied = 1, .closed = 1, .verified = 1);
	heap_detach(md);
}

static void memory(void)
{
	assert_found(NULL, .generation = 1, .created = 1, .first = 1);
	g_assert_cmpuint(mmalloc_gettag(NULL), ==, 0);
	g_assert_cmpint(mmalloc_settag(NULL, 3), ==, 0);
	g_assert_cmpuint(mmalloc_gettag(NULL), ==, 3);
	assert_minus1(mmalloc_settag(NULL, 4), EEXIST);
	g_assert_cmpint(mmalloc_errno(NULL), ==, EEXIST);
}

static void tags(void)
{
	const char *path = support_path("heap"), *copy = support_path("copy");
	struct mmalloc_opening opening;
	void *md = attach_with(path, 0);

	g_assert_cmpuint(mmalloc_gettag(md), ==, 0);
	assert_minus1(mmalloc_settag(md, 0), EINVAL);
	g_assert_cmpint(mmalloc_settag(md, 7), ==, 0);
	g_assert_cmpint(mmalloc_settag(md, 7), ==, 0);
	assert_minus1(mmalloc_settag(md, 8), EEXIST);
	g_assert_cmpint(mmalloc_snapshot(md, copy), ==, 0);
	assert_minus1(mmalloc_opening(md, NULL), EINVAL);
	g_assert_cmpint(mmalloc_errno(md), ==, EINVAL);
	heap_detach(md);
	assert_minus1(mmalloc_settag(md, 7), EBADF);
	assert_minus1(mmalloc_opening(md, &opening), EBADF);
	errno = 0;
	g_assert_cmpuint(mmalloc_gettag(md), ==, 0);
	assert_errno_is(EBADF);
	md = attach_with(copy, 0);
	g_assert_cmpuint(mmalloc_gettag(md), ==, 7);
	heap_detach(md);
	md = attach_with(path, MMALLOC_RDONLY);
	g_assert_cmpuint(mmalloc_gettag(md), ==, 7);
	assert_minus1(mmalloc_settag(md, 7), EROFS);
	g_assert_null(mmalloc_detach(md));
}

/* --- alone ------------------------------------------------------------------------------------------------- */

static int others_stay_out(void *arg)
{
	const char *path = arg;

	assert_null(attach_with(path, 0), EBUSY);
	assert_null(attach_with(path, MMALLOC_EXCLUSIVE), EBUSY);
	assert_null(attach_with(path, MMALLOC_RDONLY), EBUSY);
	assert_null(attach_with(path, MMALLOC_PRIVATE), EBUSY);
	return 0;
}

struct holder {
	const char *path;
	unsigned flags;
	struct support_sync sync;
};

static int hold(void *arg)
{
	struct holder *holder = arg;

	g_assert_nonnull(attach_with(holder->path, holder->flags));
	support_point(&holder->sync, "attached");
	return 0;
}

static void alone(void)
{
	struct holder *holder = support_shared(sizeof(*holder));
	void *md;
	pid_t pid;

	holder->path = support_path("alone");
	md = attach_with(holder->path, MMALLOC_EXCLUSIVE); /* It makes it, too. */
	g_assert_nonnull(mmalloc(md, 100));
	support_run_child(others_stay_out, (void *)(uintptr_t)holder->path);
	assert_null(attach_with(holder->path, 0), EBUSY);
	heap_detach(md);
	pid = support_fork(hold, holder);
	support_await(&holder->sync, "attached");
	assert_null(attach_with(holder->path, MMALLOC_EXCLUSIVE), EBUSY);
	heap_detach(attach_with(holder->path, 0));
	support_kill_at(pid, &holder->sync, "attached");
	memset(&holder->sync, 0, sizeof(holder->sync));
	holder->flags = MMALLOC_EXCLUSIVE;
	pid = support_fork(hold, holder);
	support_await(&holder->sync, "attached");
	support_run_child(others_stay_out, (void *)(uintptr_t)holder->path);
	support_kill_at(pid, &holder->sync, "attached");
	heap_detach(attach_with(holder->path, MMALLOC_EXCLUSIVE));
	assert_null(attach_with(holder->path, MMALLOC_EXCLUSIVE | MMALLOC_RDONLY), EINVAL);
	assert_null(attach_with(holder->path, MMALLOC_EXCLUSIVE | MMALLOC_PRIVATE), EINVAL);
	assert_null(attach_with(holder->path, MMALLOC_FORK_SNAPSHOT | MMALLOC_RDONLY), EINVAL);
	assert_null(attach_with(holder->path, 0x10), EINVAL);
}

/* --- zeros ------------------------------------------------------------------------------------------------- */

static void make_zeros(const char *path, size_t bytes)
{
	int fd = heap_file(path);

	g_assert_cmpint(ftruncate(fd, (off_t)bytes), ==, 0);
	close(fd);
}

static void zeros_of(size_t bytes, size_t reserve)
{
	const char *path = support_path("zeros");
	const struct mmalloc_options options = { .reserve = reserve };
	struct mmalloc_stats stats;
	void *md;
	int fd;

	make_zeros(path, bytes);
	fd = heap_file(path);
	md = mmalloc_attach_opt(fd, NULL, &options);
	g_assert_nonnull(md);
	close(fd);
	g_assert_cmpuint(found(md).created, ==, 1);
	g_assert_cmpint(mmalloc_stats(md, &stats), ==, 0);
	g_assert_cmpuint(stats.file_bytes + 4096, >, bytes);
	g_assert_cmpint(support_file_size(path), >=, (off_t)bytes);
	for (int i = 0; i < 20; i++)
		memset(mmalloc(md, 100000), 1, 100000);
	heap_detach(md);
	heap_detach(heap_attach(path));
	unlink(path);
}

static void zeros(void)
{
	const char *path = support_path("data");
	int fd;

	zeros_of(1, 64 * MIB);
	zeros_of(4096, 64 * MIB);
	zeros_of(32 * MIB + 5, 64 * MIB);
	zeros_of(96 * MIB, 64 * MIB); /* Its range is as long at least. */
	zeros_of(32 * MIB, 0);
	make_zeros(path, MIB);
	put(path, 500000, "x", 1);
	fd = heap_file(path);
	assert_null(mmalloc_attach(fd, NULL), EMEDIUMTYPE);
	close(fd);
	g_assert_cmpint(support_file_size(path), ==, (off_t)MIB);
}

static int create_traced(void *path)
{
	support_kernel_from();
	g_assert_nonnull(attach_with(path, 0));
	support_kernel_to();
	return 0;
}

/* Longer than a new heap is, and shorter. */
static void killed_in_zeros(void)
{
	const char *path = support_path("killed");
	size_t k = 1;

	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("the calls of the kernel would be the tool's");
		return;
	}
	for (bool killed = true; killed; k++) {
		size_t bytes = k % 2 ? 4096 : 8 * MIB;
		void *md;

		make_zeros(path, bytes);
		killed = support_kill_in_kernel(create_traced, (void *)path, k);
		g_assert_cmpint(support_file_size(path), >=, (off_t)bytes);
		g_assert_nonnull(md = attach_with(path, 0));
		g_assert_cmpint(support_file_size(path), >=, (off_t)bytes);
		g_assert_nonnull(mmalloc(md, 100000));
		heap_detach(md);
		unlink(path);
	}
	g_assert_cmpuint(k, >, 15);
}

/* --- fork -------------------------------------------------------------------------------------------------- */

#define NUMBERS 50000

struct snapshot {
	void *md;
	int *number[NUMBERS];
	struct support_sync sync;
};

/* As redis saves its data: each number is the old one, and what the child does is its own. */
static int save(void *arg)
{
	struct snapshot *s = arg;

	support_point(&s->sync, "forked");
	for (int i = 0; i < NUMBERS; i++) {
		g_assert_cmpint(*s->number[i], ==, i);
		*s->number[i] = -1;
		if (i % 3 == 0)
			mfree(s->md, s->number[i]);
	}
	for (size_t size = 1; size < 4 * MIB; size = size * 3 + 1)
		memset(mmalloc(s->md, size), 0x77, size);
	g_assert_true(mmalloc_getkey(s->md, 2) == s->number);
	heap_detach(s->md);
	return 0;
}

static void fork_sees(const char *path, void *md)
{
	struct snapshot *s = support_shared(sizeof(*s));
	pid_t pid;

	s->md = md;
	for (int i = 0; i < NUMBERS; i++) {
		s->number[i] = mmalloc(md, i % 1000 ? 1 + sizeof(int) * (size_t)(i % 9 + 1) : 100000);
		*s->number[i] = i;
	}
	mmalloc_setkey(md, 2, s->number);
	pid = support_fork(save, s);
	support_await(&s->sync, "forked");
	for (int i = 0; i < NUMBERS; i++)
		*s->number[i] = i + 1000000;
	mmalloc_setkey(md, 2, NULL);
	for (int i = 0; i < NUMBERS; i += 2)
		mfree(md, s->number[i]);
	support_go(&s->sync, "forked");
	support_wait_ok(pid);
	for (int i = 1; i < NUMBERS; i += 2)
		g_assert_cmpint(*s->number[i], ==, i + 1000000);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, NUMBERS / 2);
	heap_detach(md);
	if (path)
		unlink(path);
}

static void fork_snapshots(void)
{
	const struct mmalloc_options options = { .flags = MMALLOC_FORK_SNAPSHOT };
	const char *path = support_path("fork");

	fork_sees(path, attach_with(path, MMALLOC_FORK_SNAPSHOT));
	fork_sees(path, attach_with(path, MMALLOC_FORK_SNAPSHOT | MMALLOC_EXCLUSIVE));
	if (!support_valgrind() && !support_asan())
		fork_sees(NULL, mmalloc_attach_opt(-1, NULL, &options));
}

static int closed_in_child(void *arg)
{
	assert_null(mmalloc(arg, 10), EBADF);
	return 0;
}

static int fork_on_full_disk(void *arg)
{
	const char *path;
	void *md;

	(void)arg;
	if (!support_small_disk("size=4m"))
		return SUPPORT_CANNOT;
	path = support_path("full");
	md = attach_with(path, MMALLOC_FORK_SNAPSHOT);
	while (mmalloc(md, 3000))
		;
	assert_errno_is(ENOSPC);
	support_run_child(closed_in_child, md);
	heap_detach(md);
	return 0;
}

static void full_disk(void)
{
	support_run_or_skip(fork_on_full_disk, "no mount namespace here");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/opening/generations", generations);
	support_add("/mmalloc/opening/memory", memory);
	support_add("/mmalloc/opening/tags", tags);
	support_add("/mmalloc/opening/alone", alone);
	support_add("/mmalloc/opening/zeros", zeros);
	support_add("/mmalloc/opening/killed-in-zeros", killed_in_zeros);
	support_add("/mmalloc/opening/fork-snapshot", fork_snapshots);
	support_add("/mmalloc/opening/fork-on-full-disk", full_disk);
	return support_run();
}
