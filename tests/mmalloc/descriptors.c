/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs that close descriptors which they did not open, or lock the heap's file themselves: nothing of theirs is touched. */
#include <stdlib.h>

#include "tests/support/support_fd.h"
#include "tests/support/support_mmalloc.h"

#define BLOCKS 48

static const char *path, *victim_path;
static int mark = 1; /* Of this process's blocks. */
static bool by_hand;

static void choose(int way)
{
	by_hand = way != 0;
	path = support_path("heap");
	victim_path = support_path("victim");
}

static void take_blocks(void *md, char *blocks[BLOCKS], size_t bytes)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		blocks[i] = mmalloc(md, bytes);
		g_assert_nonnull(blocks[i]);
		memset(blocks[i], (int)i + mark, bytes);
	}
}

static void give_blocks(void *md, char *blocks[BLOCKS], size_t bytes)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		for (size_t at = 0; at < bytes; at += 997)
			g_assert_cmpint(blocks[i][at], ==, (int)i + mark);
		errno = 0;
		mfree(md, blocks[i]);
		g_assert_cmpint(errno, ==, 0);
	}
}

/* Attach, lose all descriptors, and go on as before: the file has a name. */
static int goes_on(void *arg)
{
	char *before[BLOCKS], *after[BLOCKS], *small[BLOCKS];
	struct mmalloc_opening opening;
	struct victim victim;
	void *md = heap_attach(path);

	(void)arg;
	take_blocks(md, before, MIB);
	victim_moves_in(&victim, victim_path, by_hand);
	take_blocks(md, after, 2 * MIB);
	take_blocks(md, small, 100);
	give_blocks(md, before, MIB);
	g_assert_cmpint(mmalloc_trim(md), >=, 0);
	take_blocks(md, before, 3 * MIB);
	victim_is_well(&victim);
	give_blocks(md, before, 3 * MIB);
	give_blocks(md, after, 2 * MIB);
	give_blocks(md, small, 100);
	heap_detach(md);
	victim_is_well(&victim);
	md = heap_attach(path);
	g_assert_cmpint(mmalloc_opening(md, &opening), ==, 0);
	g_assert_cmpuint(opening.closed, ==, 1); /* It was closed in order all the same. */
	heap_detach(md);
	victim_is_well(&victim);
	return 0;
}

/* The victim is the heap's file itself, by descriptors of the program's own: these are not ours to close. */
static int own_file(void *arg)
{
	char *blocks[BLOCKS];
	struct stat st, now;
	void *md = heap_attach(path);

	(void)arg;
	fd_close_all(by_hand);
	fd_take_numbers(path);
	g_assert_cmpint(stat(path, &st), ==, 0);
	take_blocks(md, blocks, 2 * MIB);
	give_blocks(md, blocks, 2 * MIB);
	heap_detach(md);
	for (int fd = VICTIM_FROM; fd < VICTIM_TO; fd++) {
		g_assert_cmpint(fstat(fd, &now), ==, 0);
		g_assert_cmpuint(now.st_ino, ==, st.st_ino);
	}
	return 0;
}

/* It cannot be opened again: blocks as far as the file has room, then EBADF, and each block that was given out can be written to. */
static int nameless(void *arg)
{
	char *blocks[BLOCKS], *block;
	struct victim victim;
	void *md = heap_attach(path);
	size_t count = 0;

	(void)arg;
	take_blocks(md, blocks, MIB);
	victim_moves_in(&victim, victim_path, by_hand);
	g_assert_cmpint(chmod(victim_path, 0666), ==, 0);
	fd_make_nameless(path);
	errno = 0;
	while (count < 20000 && (block = mmalloc(md, 64 * KIB))) {
		memset(block, 1, 64 * KIB);
		count++;
	}
	g_assert_cmpuint(count, <, 20000);
	assert_errno_is(EBADF);
	if (!strstr(mmalloc_errmsg(), "the program closed descriptor"))
		g_error("%s", mmalloc_errmsg());
	give_blocks(md, blocks, MIB);
	block = mmalloc(md, MIB);
	g_assert_nonnull(block);
	memset(block, 1, MIB);
	heap_detach(md);
	victim_is_well(&victim);
	return 0;
}

/* A child of a process without its descriptors attaches for itself; a snapshot is of the heap. */
static int forks_and_copies(void *arg)
{
	const char *copy = support_path("copy");
	char *blocks[BLOCKS], *more[BLOCKS];
	struct victim victim;
	void *md = heap_attach(path);
	int status;
	pid_t pid;

	(void)arg;
	take_blocks(md, blocks, 100 * KIB);
	victim_moves_in(&victim, victim_path, by_hand);
	pid = fork();
	if (pid == 0) {
		take_blocks(md, more, 2 * MIB);
		give_blocks(md, more, 2 * MIB);
		g_assert_null(mmalloc_detach(md));
		victim_is_well(&victim);
		_exit(0);
	}
	take_blocks(md, more, 2 * MIB);
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_cmpint(status, ==, 0);
	g_assert_cmpint(mmalloc_snapshot(md, copy), ==, 0);
	victim_is_well(&victim);
	give_blocks(md, more, 2 * MIB);
	give_blocks(md, blocks, 100 * KIB);
	heap_detach(md);
	md = heap_attach(copy);
	heap_detach(md);
	return 0;
}

struct pair {
	struct support_sync sync;
	char *_Atomic block;
};

/* The one that closed its descriptors is alive for the others. */
static int without(void *arg)
{
	struct pair *pair = arg;
	char *blocks[BLOCKS];
	void *md = heap_attach(path);

	mark = 60;
	take_blocks(md, blocks, 100);
	fd_close_all(by_hand);
	fd_take_numbers(victim_path);
	support_point(&pair->sync, "closed");
	for (unsigned round = 0; round < 100; round++) {
		give_blocks(md, blocks, 100);
		take_blocks(md, blocks, 100);
	}
	give_blocks(md, blocks, 100);
	take_blocks(md, blocks, MIB);
	give_blocks(md, blocks, MIB);
	support_point(&pair->sync, "worked");
	return 0;
}

static int beside(struct pair *pair)
{
	char *blocks[BLOCKS], *large[BLOCKS];
	pid_t pid = support_fork(without, pair);
	void *md;

	support_await(&pair->sync, "closed");
	md = heap_attach(path);
	take_blocks(md, blocks, 100);
	take_blocks(md, large, MIB);
	g_assert_cmpint(mmalloc_trim(md), >=, 0);
	support_go(&pair->sync, "closed");
	support_await(&pair->sync, "worked");
	give_blocks(md, blocks, 100);
	give_blocks(md, large, MIB);
	heap_check(md);
	support_go(&pair->sync, "worked");
	support_wait_ok(pid);
	heap_detach(md);
	return 0;
}

static int stays_alive(void *arg)
{
	(void)arg;
	return beside(support_shared(sizeof(struct pair)));
}

/* Where a mapping keeps no locks, they are gone with the descriptor: the process takes them again, or attaches as a new one. */
static int loses_its_locks(void *arg)
{
	(void)arg;
	if (!fd_overlay())
		return SUPPORT_CANNOT;
	path = g_strdup_printf("%s/m/heap", support_dir());
	victim_path = g_strdup_printf("%s/victim", support_dir());
	return beside(support_shared(sizeof(struct pair)));
}

/* ---- locks ---- */

/* A client that serialises its users with lockf() on the heap's own file is told so, and keeps its lock. */
static int lockf_first(void *arg)
{
	int fd = heap_file(path);
	void *md;

	(void)arg;
	for (unsigned i = 0; i < 3; i++) {
		g_assert_cmpint(lockf(fd, F_LOCK, 0), ==, 0);
		assert_null(mmalloc_attach(fd, NULL), EDEADLK);
		g_assert_nonnull(strstr(mmalloc_errmsg(), "this process ("));
		g_assert_true(fd_is_locked(path));
	}
	g_assert_cmpint(lockf(fd, F_ULOCK, 0), ==, 0);
	md = mmalloc_attach(fd, NULL);
	g_assert_nonnull(md);
	g_assert_nonnull(mmalloc(md, 100));
	g_assert_cmpint(lockf(fd, F_LOCK, 100), ==, 0); /* Bytes that it may lock. */
	heap_detach(md);
	g_assert_true(fd_is_locked(path)); /* POSIX locks end with any descriptor of the file: so ours stayed open. */
	md = mmalloc_attach(fd, NULL);
	g_assert_nonnull(md);
	heap_detach(md);
	g_assert_true(fd_is_locked(path));
	return 0;
}

static int hold_lock(void *arg)
{
	struct pair *pair = arg;
	struct flock all = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	g_assert_cmpint(fcntl(heap_file(path), F_SETLK, &all), ==, 0);
	support_point(&pair->sync, "locked");
	return 0;
}

/* Another process has locked all of it for reading: whoever cannot have a process slot is told who. */
static int locked_by_another(void *arg)
{
	struct pair *pair = support_shared(sizeof(*pair));
	void *md = heap_attach(path);
	pid_t pid;
	char *who;

	(void)arg;
	pid = support_fork(hold_lock, pair);
	support_await(&pair->sync, "locked");
	who = g_strdup_printf("process %d holds a lock", (int)pid);
	assert_null(mmalloc(md, 100), EAGAIN);
	g_assert_nonnull(strstr(mmalloc_errmsg(), who));
	support_go(&pair->sync, "locked");
	support_wait_ok(pid);
	g_assert_nonnull(mmalloc(md, 100));
	heap_detach(md);
	return 0;
}

FD_CASE(goes_on, 2, choose)
FD_CASE(own_file, 2, choose)
FD_CASE(nameless, 2, choose)
FD_CASE(forks_and_copies, 2, choose)
FD_CASE(stays_alive, 2, choose)
FD_CASE(loses_its_locks, 2, choose)
FD_CASE(lockf_first, 2, choose)
FD_CASE(locked_by_another, 2, choose)

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/descriptors/goes-on", goes_on_case);
	support_add("/mmalloc/descriptors/own-file", own_file_case);
	support_add("/mmalloc/descriptors/nameless", nameless_case);
	support_add("/mmalloc/descriptors/forks-and-copies", forks_and_copies_case);
	support_add("/mmalloc/descriptors/stays-alive", stays_alive_case);
	support_add("/mmalloc/descriptors/loses-its-locks", loses_its_locks_case);
	support_add("/mmalloc/descriptors/lockf-first", lockf_first_case);
	support_add("/mmalloc/descriptors/locked-by-another", locked_by_another_case);
	return support_run();
}
