/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Back end: the program's heap in a file, which stays when the program ends, however it does. A block's address tells
 * whether it is the heap's; all others are the C library's, which serves what comes before the heap is there and
 * what the heap's own code asks for.
 *
 * $MMALLOC_RUN_HEAP names the file. The first program finds it empty, and takes it; programs that are
 * started from there take NAME.PID, or NAME.PID.1 and so on.
 *
 * A fork child's heap is a copy, made before the fork: nothing of what it does reaches its parent's file. The copy has
 * no name, or with $MMALLOC_RUN_FOLLOW, one as above.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <mmalloc.h>

#include "folder.h"
#include "shim.h"
#include "shim_fast.h"

#include "common/cancel.h"
#include "common/env.h"
#include "common/image_fd.h"
#include "common/map.h"
#include "common/process.h"
#include "common/segment.h"
#include "common/snapshot.h"

#define TRIES       1000
#define CANNOT_RUN  126
#define SUFFIX_MOST 40

const char shim_name[] = "mmalloc-run";

static struct ma_image *_Atomic heap;   /* What new blocks come from. NULL: not there yet, not wanted, or closed. */
static struct ma_image *_Atomic mapped; /* The same, but its blocks stay when it is closed. */
static char *heap_from, *heap_end;
static char heap_name[4096 + SUFFIX_MOST];
/* Of the environment, which programs clear. */
static char given[4096];
static bool follows;
static bool takes_any;
static struct ma_map none = MA_MAP_HANDLE;
struct ma_image *_Atomic shim_hot = &none.image; /* heap, or none while there is no heap, or each call must be seen. */
SHIM_TLS unsigned shim_inside;

/* No new blocks come from it any more. NULL: none did. */
static struct ma_image *give_up_heap(void)
{
	ma_store(&shim_hot, &none.image);
	return atomic_exchange(&heap, NULL); /* Pairs with run/shim_mmalloc.c:attach. */
}

void shim_allow_fast(void)
{
	struct ma_image *map = ma_load_acquire(&heap); /* Pairs with run/shim_mmalloc.c:attach. */

	if (map)
		ma_store_release(&shim_hot, map); /* Pairs with run/shim_fast.h:shim_new_fast. */
}

/* ---- the file ---- */

/* Two programs that are started at once must not both take it. */
static bool is_free(int fd)
{
	struct stat st;

	return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0;
}

/* Another user may have put it there since the command looked. Its owner can read and write it; so can users who may write to it. */
static bool is_safe(int fd)
{
	struct stat st;

	return takes_any || (fstat(fd, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH)));
}

/* A name that no file has, from try 0 on. */
static void name_of_pid(char *name, size_t size, unsigned try)
{
	if (try == 0)
		snprintf(name, size, "%s.%d", given, (int)getpid());
	else
		snprintf(name, size, "%s.%d.%u", given, (int)getpid(), try);
}

static int new_file(void)
{
	int fd = -1;

	for (unsigned try = 0; try < TRIES && fd < 0; try++) {
		name_of_pid(heap_name, sizeof(heap_name), try);
		fd = open(heap_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 && errno != EEXIST)
			break;
	}
	return fd;
}

static int open_file(bool *first)
{
	int fd = open(given, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	*first = fd >= 0 && is_free(fd);
	if (*first) {
		snprintf(heap_name, sizeof(heap_name), "%s", given);
		if (is_safe(fd))
			return fd;
		close(fd);
		errno = EPERM;
		return -1;
	}
	if (fd >= 0)
		close(fd);
	return new_file();
}

/* ---- fork ---- */

/*
 * A copy without a name, under the lock that forks of other threads wait for. Other threads go on meanwhile: that is what a snapshot is
 * for. What this thread allocates between here and the fork the child does not have.
 */
static int before_fork(struct ma_image *map)
{
	int fd;

	shim_inside++;
	fd = ma_image_copy_for_fork_in(map, shim_folder());
	if (fd < 0 && errno == EMFILE && shim_folder_give_spare())
		fd = ma_image_copy_for_fork_in(map, shim_folder());
	if (fd < 0)
		shim_say("%s: no copy of it for a fork child can be made: %s", heap_name, strerrordesc_np(errno));
	shim_inside--;
	return fd;
}

/* A file of that name for what can have none itself, as it is in memory. -1: none. */
static int copy_out(int from)
{
	char bytes[MA_PAGE];
	struct stat st;
	int to = fstat(from, &st) == 0 ? new_file() : -1;

	if (to < 0)
		return -1;
	if (ftruncate(to, st.st_size) < 0)
		goto failed;
	for (off_t at = 0; (at = lseek(from, at, SEEK_DATA)) >= 0; at += (off_t)MA_PAGE) {
		ssize_t got = pread(from, bytes, sizeof(bytes), at);

		if (got <= 0 || pwrite(to, bytes, (size_t)got, at) != got)
			goto failed;
	}
	syscall(SYS_close, from);
	return to;
failed:
	unlink(heap_name);
	syscall(SYS_close, to);
	return -1;
}

/* NAME.PID for the child's copy. The descriptor of what has it, or of the copy when none can be had. */
static int name_copy(int fd)
{
	char link[32];
	int named, result = -1;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	for (unsigned try = 0; try < TRIES && result < 0; try++) {
		name_of_pid(heap_name, sizeof(heap_name), try);
		result = linkat(AT_FDCWD, link, AT_FDCWD, heap_name, AT_SYMLINK_FOLLOW);
		if (result < 0 && errno != EEXIST)
			break;
	}
	if (result == 0)
		return fd;
	named = copy_out(fd);
	if (named >= 0)
		return named;
	shim_say("%s: this fork child's heap cannot have that name: %s; it goes with the process", heap_name,
		 strerrordesc_np(errno));
	snprintf(heap_name, sizeof(heap_name), "(a copy without a name)");
	return fd;
}

/* In the child, under the lock: the copy is its own from now on. */
static int fork_copy(struct ma_image *map)
{
	int fd = ma_map_of(map)->fork_fd;

	shim_inside++;
	if (fd >= 0 && follows)
		fd = name_copy(fd);
	else
		snprintf(heap_name, sizeof(heap_name), "(a copy without a name)");
	shim_inside--;
	return fd;
}

static void after_fork_in_child(void)
{
	struct ma_image *map = ma_load_acquire(&mapped); /* Pairs with run/shim_mmalloc.c:attach. */
	int saved = errno;

	if (!map)
		return;
	shim_inside++;
	shim_folder_keep_spare();
	if (ma_load(&map->id) == MA_MAP_CLOSED) {
		shim_say(
			"this fork child has no copy of the heap: it must not touch blocks that were allocated before");
		give_up_heap();
		ma_store(&mapped, NULL);
	}
	shim_inside--;
	errno = saved;
}

static void after_fork_in_parent(void)
{
	int saved = errno;

	shim_folder_keep_spare();
	errno = saved;
}

bool shim_is_inside(void)
{
	return shim_inside > 0;
}

bool shim_fork_try(void)
{
	return ma_map_fork_try();
}

void shim_fork_end(bool child)
{
	ma_map_fork_end(child);
	if (child)
		after_fork_in_child();
	else
		after_fork_in_parent();
}

/* It sees the heap as it is, or will be, and changes pages of its own. */
void shim_fork_orphaned(void)
{
	struct ma_image *map = give_up_heap();

	if (!map)
		return;
	ma_store(ma_process_mark, 1);
	ma_segment_map(&map->lay, map->base, map->reach, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, map->fd,
		       UINT64_MAX);
	shim_say("%s: a fork in a signal handler that interrupted a call: the child has no copy of it; its blocks may "
		 "change there",
		 heap_name);
}

/* ---- beginning ---- */

static void refuse(bool first)
{
	shim_say("%s: cannot have the heap in it: %s%s", first ? heap_name : given, strerrordesc_np(errno),
		 first ? "" : "; this program's heap is in memory");
	if (first)
		syscall(SYS_exit_group, CANNOT_RUN);
}

static void attach(void)
{
	bool first = false;
	int fd = open_file(&first);
	struct ma_image *map = fd >= 0 ? mmalloc_attach(fd, NULL) : NULL;

	if (!map) {
		refuse(first);
		return;
	}
	close(fd);
	ma_map_set_forks(ma_map_of(map), before_fork, fork_copy);
	shim_folder_keep(heap_name);
	heap_from = map->base;
	heap_end = map->base + map->mapped;
	ma_map_watch_forks();
	pthread_atfork(NULL, after_fork_in_parent, after_fork_in_child);
	ma_store_release(&mapped, map); /* Pairs with run/shim_mmalloc.c:shim_room. */
	ma_store_release(&heap, map);   /* Pairs with run/shim_mmalloc.c:come_in. */
	shim_watch_signals();
}

void shim_prepare(void)
{
}

void shim_begin(void)
{
	MA_UNCANCELLED;
	const char *name = ma_env("MMALLOC_RUN_HEAP");
	const char *follow = ma_env("MMALLOC_RUN_FOLLOW");
	const char *any = ma_env("MMALLOC_RUN_ANY_OWNER");

	if (!name || !*name || strlen(name) >= sizeof(given))
		return;
	strcpy(given, name);
	follows = follow && *follow;
	takes_any = any && *any;
	shim_inside++;
	attach();
	shim_inside--;
}

/* ---- the end ---- */

/* Calls of other threads that are in the heap now are soon out of it again. */
static void let_others_out(void)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	if (!__libc_single_threaded)
		nanosleep(&moment, NULL);
}

void shim_end(void)
{
	MA_UNCANCELLED;
	struct ma_image *map = give_up_heap();
	int saved = errno;

	/* A handler that interrupted a call of this thread: the locks that it holds are given up with the process. */
	if (!map || shim_inside > 0)
		return;
	let_others_out();
	ma_map_sign_off(ma_map_of(map));
	errno = saved;
}

/* ---- blocks ---- */

/* The heap to allocate in, and this thread inside it; or NULL: the C library. */
MA_INLINE struct ma_image *come_in(void)
{
	struct ma_image *map = ma_load_acquire(&heap); /* Pairs with run/shim_mmalloc.c:attach. */

	if (MA_UNLIKELY(!map) || MA_UNLIKELY(shim_inside > 0))
		return NULL;
	shim_inside = 1;
	return map;
}

MA_INLINE void *go_out(void *block)
{
	shim_inside = 0;
	return block;
}

MA_INLINE bool is_heaps(const void *ptr)
{
	return (const char *)ptr >= heap_from && (const char *)ptr < heap_end;
}

bool shim_holds(const void *address)
{
	return ma_load(&mapped) && is_heaps(address);
}

void *shim_new(size_t size)
{
	struct ma_image *map = come_in();

	return map ? go_out(mmalloc(map, size)) : __libc_malloc(size);
}

void *shim_zeroed(size_t size)
{
	struct ma_image *map = come_in();

	return map ? go_out(mcalloc(map, 1, size)) : __libc_calloc(1, size);
}

void *shim_aligned(size_t alignment, size_t size)
{
	struct ma_image *map = come_in();

	return map ? go_out(mmemalign(map, alignment, size)) : __libc_memalign(alignment, size);
}

/* Of a heap that is closed. */
static void *move_out(void *ptr, size_t size)
{
	void *block = __libc_malloc(size);

	if (block)
		memcpy(block, ptr, ma_min(size, shim_room(ptr)));
	return block;
}

/* A block keeps to where it is: its neighbours may be of its kind. */
void *shim_resize(void *ptr, size_t size)
{
	struct ma_image *map = ma_load_acquire(&heap); /* Pairs with run/shim_mmalloc.c:attach. */
	unsigned was = shim_inside;
	void *block;

	if (!is_heaps(ptr))
		return __libc_realloc(ptr, size);
	if (!map)
		return move_out(ptr, size);
	shim_inside = 1;
	block = mrealloc(map, ptr, size);
	shim_inside = was;
	return block;
}

void shim_give(void *ptr)
{
	struct ma_image *map = ma_load_acquire(&heap); /* Pairs with run/shim_mmalloc.c:attach. */
	unsigned was = shim_inside;

	if (!is_heaps(ptr)) {
		__libc_free(ptr);
		return;
	}
	shim_inside = 1;
	if (map)
		mfree(map, ptr);
	shim_inside = was;
}

size_t shim_room(void *ptr)
{
	/* Pairs with run/shim_mmalloc.c:attach. */
	return is_heaps(ptr) ? mmalloc_usable_size(ma_load_acquire(&mapped), ptr) : 0;
}

int *shim_kept(unsigned i)
{
	struct ma_image *map = ma_load_acquire(&mapped); /* Pairs with run/shim_mmalloc.c:attach. */

	if (!map)
		return NULL;
	return i == 0 ? ma_image_fd_place(map) : shim_folder_kept(i - 1);
}

bool shim_kept_is_ours(unsigned i)
{
	struct ma_image *map = ma_load_acquire(&mapped); /* Pairs with run/shim_mmalloc.c:attach. */

	return i == 0 ? map && ma_fd_is(map->fd, ma_image_fd_id(map)) : shim_folder_is_ours(i - 1);
}

void shim_figures(char *text, size_t size)
{
	struct ma_image *map = ma_load_acquire(&mapped); /* Pairs with run/shim_mmalloc.c:attach. */
	struct mmalloc_stats stats;

	if (shim_inside > 0)
		return;
	if (!map || mmalloc_stats(map, &stats) < 0)
		snprintf(text, size, "heap in memory");
	else
		snprintf(text, size, "heap %s: %llu blocks of %llu bytes, file of %llu bytes", heap_name,
			 (unsigned long long)stats.used_blocks, (unsigned long long)stats.used_bytes,
			 (unsigned long long)stats.file_bytes);
}
