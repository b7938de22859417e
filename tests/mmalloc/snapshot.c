/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots of heaps that grow, and of heaps in memory; on a disk that is full. tests/qalloc/snapshot.c has what both share. */
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_mmalloc.h"

struct scene {
	const char *path, *copy;
	char *small[500], *large;
	_Atomic int turn;
};

static void make(void *md, struct scene *s)
{
	for (size_t i = 0; i < G_N_ELEMENTS(s->small); i++) {
		g_assert_nonnull(s->small[i] = mmalloc(md, 1 + i * 7));
		memset(s->small[i], (int)i, 1 + i * 7);
	}
	g_assert_nonnull(s->large = mcalloc(md, 1, 20 * MIB));
	s->large[10 * MIB] = 'x';
	mfree(md, mmalloc(md, 30 * MIB)); /* A hole, or none: either is free in the copy. */
	g_assert_cmpint(mmalloc_setkey(md, 63, s->large), ==, 1);
	g_assert_cmpint(mmalloc_setroot(md, "first", s->small[0]), ==, 0);
}

static int verify(void *arg)
{
	struct scene *s = arg;
	void *md = heap_attach(s->copy);
	struct stat st;

	heap_check(md);
	g_assert_true(mmalloc_getkey(md, 63) == s->large);
	g_assert_true(mmalloc_getroot(md, "first") == s->small[0]);
	for (size_t i = 0; i < G_N_ELEMENTS(s->small); i++)
		for (size_t at = 0; at < 1 + i * 7; at++)
			g_assert_cmpint(s->small[i][at], ==, (char)i);
	g_assert_cmpint(s->large[10 * MIB], ==, 'x');
	g_assert_cmpint(s->large[20 * MIB - 1], ==, 0);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, G_N_ELEMENTS(s->small) + 1);
	g_assert_nonnull(mmalloc(md, 64 * MIB)); /* It grows on. */
	heap_check(md);
	mfree(md, s->large);
	heap_detach(md);
	g_assert_cmpint(stat(s->copy, &st), ==, 0);
	g_assert_cmpint(st.st_size, <, (off_t)GIB);
	return 0;
}

static struct scene *new_scene(void)
{
	struct scene *s = support_shared(sizeof(*s));

	s->path = support_path("heap");
	s->copy = support_path("copy");
	return s;
}

static void of_a_file(void)
{
	struct scene *s = new_scene();
	void *md = heap_attach(s->path);
	struct stat before, after;

	make(md, s);
	g_assert_cmpint(mmalloc_snapshot(md, s->copy), ==, 0);
	heap_detach(md);
	g_assert_cmpint(stat(s->path, &before), ==, 0);
	g_assert_cmpint(stat(s->copy, &after), ==, 0);
	g_assert_cmpint(after.st_blocks, <=, before.st_blocks + 64);
	verify(s);
}

/* The copy of a heap without a file is a file, no longer than it must be. */
static void of_memory(void)
{
	struct scene *s = new_scene();
	void *md = mmalloc_attach(-1, NULL);

	make(md, s);
	g_assert_cmpint(mmalloc_snapshot(md, s->copy), ==, 0);
	heap_detach(md);
	verify(s);
}

static int verify_default(void *arg)
{
	struct scene *s = arg;
	int fd = heap_file(s->copy);

	g_assert_null(mmalloc_attach(fd, NULL)); /* The default heap itself is there. */
	g_assert_cmpint(errno, ==, EADDRINUSE);
	close(fd);
	return 0;
}

static void of_the_default_heap(void)
{
	struct scene *s = new_scene();

	make(NULL, s);
	g_assert_cmpint(mmalloc_snapshot(NULL, s->copy), ==, 0);
	support_run_child(verify_default, s);
	heap_check(NULL);
}

static void of_a_private_view(void)
{
	static const struct mmalloc_options private = { .flags = MMALLOC_PRIVATE };
	struct scene *s = new_scene();
	void *md = heap_attach(s->path);
	int fd;

	heap_detach(md);
	fd = heap_file(s->path);
	md = mmalloc_attach_opt(fd, NULL, &private);
	g_assert_nonnull(md);
	close(fd);
	make(md, s);
	g_assert_cmpint(mmalloc_snapshot(md, s->copy), ==, 0);
	heap_detach(md);
	verify(s);
}

static int grow(void *arg)
{
	struct scene *s = arg;
	void *md = heap_attach(s->path);

	while (atomic_load(&s->turn) == 0) {
		void *block = mmalloc(md, 3 * MIB), *other = mmalloc(md, 70000);

		g_assert_true(block && other);
		mfree(md, block);
		if (mmstats(md).bytes_total > 200 * MIB)
			mfree(md, other);
	}
	heap_detach(md);
	return 0;
}

/* It grows, and gives holes back, while it is copied. */
static void of_a_growing_heap(void)
{
	struct scene *s = new_scene();
	void *md = heap_attach(s->path);
	pid_t pid;

	make(md, s);
	heap_detach(md);
	pid = support_fork(grow, s);
	for (size_t round = 0; round < support_scale(20); round++) {
		md = heap_attach(s->path);
		g_assert_cmpint(mmalloc_snapshot(md, s->copy), ==, 0);
		g_assert_null(mmalloc_detach(md));
		md = heap_attach(s->copy);
		heap_check(md);
		g_assert_cmpint(s->small[100][700], ==, 100);
		g_assert_cmpint(s->large[10 * MIB], ==, 'x');
		g_assert_cmpuint(mmalloc_usable_size(md, s->large), ==, 20 * MIB);
		heap_detach(md);
	}
	atomic_store(&s->turn, 1);
	support_wait_ok(pid);
}

static int on_a_full_disk(void *arg)
{
	void *md;
	char *block;

	(void)arg;
	if (!support_small_disk("size=8m"))
		return SUPPORT_CANNOT;
	md = heap_attach(support_path("small"));
	g_assert_nonnull(block = mmalloc(md, 5 * MIB));
	memset(block, 'b', 5 * MIB);
	for (size_t i = 0; i < 3; i++) {
		errno = 0;
		g_assert_cmpint(mmalloc_snapshot(md, support_path("copy")), ==, -1);
		g_assert_cmpint(errno, ==, ENOSPC);
		g_assert_cmpint(mmalloc_errno(md), ==, ENOSPC);
		g_assert_cmpint(access(support_path("copy"), F_OK), ==, -1);
	}
	g_assert_nonnull(block = mrealloc(md, block, MIB)); /* Its space is there again. */
	g_assert_cmpint(mmalloc_snapshot(md, support_path("copy")), ==, 0);
	g_assert_cmpint(block[MIB - 1], ==, 'b');
	heap_detach(md);
	return 0;
}

static void full_disk(void)
{
	support_run_or_skip(on_a_full_disk, "no tmpfs of its own can be mounted here");
}

/* Another process's heap grows just when the copy has got its length: what is beyond that is not in the copy. */
static struct scene *growing;

static void wait_for_turn(int turn)
{
	while (atomic_load(&growing->turn) != turn)
		usleep(1000);
}

static int grow_when_told(void *arg)
{
	void *md = heap_attach(growing->path);

	(void)arg;
	atomic_store(&growing->turn, 1);
	wait_for_turn(2);
	g_assert_nonnull(mmalloc(md, 50 * MIB));
	atomic_store(&growing->turn, 3);
	heap_detach(md);
	return 0;
}

static long grown_then(const long args[6])
{
	long result = support_real(args);

	if (atomic_load(&growing->turn) == 1) {
		atomic_store(&growing->turn, 2);
		wait_for_turn(3);
	}
	return result;
}

static int copy_while_it_grows(void *arg)
{
	void *md;
	pid_t pid;

	(void)arg;
	growing = new_scene();
	md = heap_attach(growing->path);
	g_assert_nonnull(mmalloc(md, MIB));
	pid = support_fork(grow_when_told, NULL);
	wait_for_turn(1);
	if (!support_hook(SYS_ftruncate, grown_then)) {
		support_kill(pid);
		heap_detach(md); /* Valgrind's leak check would read all of its range. */
		return SUPPORT_CANNOT;
	}
	g_assert_cmpint(mmalloc_snapshot(md, growing->copy), ==, 0);
	g_assert_cmpint(atomic_load(&growing->turn), ==, 3);
	support_wait_ok(pid);
	heap_detach(md);
	md = heap_attach(growing->copy);
	heap_check(md);
	heap_detach(md);
	return 0;
}

static void grows_meanwhile(void)
{
	support_run_or_skip(copy_while_it_grows, "no seccomp filter here, or not an x86-64");
}

static void errors(void)
{
	void *md = mmalloc_attach(-1, NULL);

	errno = 0;
	g_assert_cmpint(mmalloc_snapshot(md, "/nowhere/copy"), ==, -1);
	g_assert_cmpint(errno, ==, ENOENT);
	g_assert_cmpint(mmalloc_errno(md), ==, ENOENT);
	g_assert_null(mmalloc_detach(md));
	g_assert_cmpint(mmalloc_snapshot(md, support_path("copy")), ==, -1);
	g_assert_cmpint(errno, ==, EBADF);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/snapshot/file", of_a_file);
	support_add("/mmalloc/snapshot/memory", of_memory);
	support_add("/mmalloc/snapshot/default", of_the_default_heap);
	support_add("/mmalloc/snapshot/private", of_a_private_view);
	support_add("/mmalloc/snapshot/growing", of_a_growing_heap);
	support_add("/mmalloc/snapshot/grows-meanwhile", grows_meanwhile);
	support_add("/mmalloc/snapshot/full-disk", full_disk);
	support_add("/mmalloc/snapshot/errors", errors);
	return support_run();
}
