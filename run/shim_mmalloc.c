/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Back end: the program's heap in a file, which stays when the program ends, however it does. A block's address tells
 * whether it is the heap's; all others are the C library's, which serves what comes before the heap is there and
 * what the heap's own code asks for.
 *
 * $MMALLOC_RUN_HEAP names the file. Whoever finds it empty, and so the first program, takes it; programs that are
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mmalloc.h>

#include "shim.h"

#include "common/map.h"

#define TRIES       1000
#define CANNOT_RUN  126
#define SUFFIX_MOST 40

const char shim_name[] = "mmalloc-run";

static struct ma_map *_Atomic heap; /* NULL: not there yet, or not wanted. */
static char *heap_from, *heap_end;
static char heap_name[4096 + SUFFIX_MOST];
/* Of the environment, which programs clear. */
static char given[4096];
static bool follows;
/* This thread is in the heap's code: what that asks for itself is the C library's. */
static SHIM_TLS unsigned inside;

/* ---- the file ---- */

/* Two programs that are started at once must not both take it. */
static bool is_free(int fd)
{
	struct stat st;

	return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0;
}

/* A name that nobody has, from try 0 on. */
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
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return new_file();
}

/* ---- fork ---- */

static struct {
	int fd;
	char name[sizeof(heap_name)];
} copy = { .fd = -1 };

/*
 * Other threads go on meanwhile: that is what a snapshot is for. Registered before nearly everybody else's, this handler runs
 * after theirs; what this thread allocates between here and the fork the child does not have.
 */
static void before_fork(void)
{
	struct ma_map *map = ma_load_acquire(&heap);
	int saved = errno;

	if (!map)
		return;
	inside++;
	snprintf(copy.name, sizeof(copy.name), "%s.fork-%d-%lx", given, (int)getpid(), (unsigned long)pthread_self());
	if (mmalloc_snapshot(map, copy.name) == 0)
		copy.fd = open(copy.name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (copy.fd < 0)
		shim_say("%s: no copy of it for a fork child can be made beside it: %s", heap_name, strerror(errno));
	inside--;
	errno = saved;
}

static void drop_copy(void)
{
	if (copy.fd >= 0) {
		syscall(SYS_close, copy.fd);
		if (!follows)
			unlink(copy.name);
	}
	copy.fd = -1;
}

/* Between fork() and the maps' own handlers in the child: the copy is the child's from now on. */
static int fork_copy(struct ma_map *map)
{
	int fd = copy.fd;

	(void)map;
	copy.fd = -1;
	return fd;
}

static void name_copy(void)
{
	for (unsigned try = 0; try < TRIES; try++) {
		name_of_pid(heap_name, sizeof(heap_name), try);
		if (link(copy.name, heap_name) == 0 || errno != EEXIST)
			break;
	}
	unlink(copy.name);
}

static void after_fork_in_child(void)
{
	struct ma_map *map = ma_load_acquire(&heap);
	int saved = errno;

	if (!map)
		return;
	inside++;
	map->fd = shim_move(map->fd);
	if (ma_load(&map->id) == MA_MAP_CLOSED)
		ma_store_release(&heap, NULL);
	else if (follows)
		name_copy();
	else
		snprintf(heap_name, sizeof(heap_name), "(a copy without a name)");
	inside--;
	errno = saved;
}

static void after_fork_in_parent(void)
{
	int saved = errno;

	inside++;
	drop_copy();
	inside--;
	errno = saved;
}

/* ---- beginning ---- */

static void refuse(bool first)
{
	shim_say("%s: cannot have the heap in it: %s%s", first ? heap_name : given, strerror(errno),
		 first ? "" : "; this program's heap is in memory");
	if (first)
		syscall(SYS_exit_group, CANNOT_RUN);
}

static void attach(void)
{
	bool first = false;
	int fd = open_file(&first);
	struct ma_map *map = fd >= 0 ? mmalloc_attach(fd, NULL) : NULL;

	if (!map) {
		refuse(first);
		return;
	}
	close(fd);
	map->fd = shim_move(map->fd);
	map->fork_copy = fork_copy;
	heap_from = map->base;
	heap_end = map->base + map->mapped;
	ma_map_watch_forks();
	pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
	ma_store_release(&heap, map);
}

void shim_prepare(void)
{
}

void shim_begin(void)
{
	const char *name = secure_getenv("MMALLOC_RUN_HEAP");
	const char *follow = secure_getenv("MMALLOC_RUN_FOLLOW");

	if (!name || !*name || strlen(name) >= sizeof(given))
		return;
	strcpy(given, name);
	follows = follow && *follow;
	inside++;
	attach();
	inside--;
}

/* ---- blocks ---- */

/* The heap to allocate in, and this thread inside it; or NULL: the C library. */
MA_INLINE struct ma_map *come_in(void)
{
	struct ma_map *map = ma_load_acquire(&heap);

	if (MA_UNLIKELY(!map) || MA_UNLIKELY(inside > 0))
		return NULL;
	inside = 1;
	return map;
}

MA_INLINE void *go_out(void *block)
{
	inside = 0;
	return block;
}

MA_INLINE bool is_heaps(const void *ptr)
{
	return (const char *)ptr >= heap_from && (const char *)ptr < heap_end;
}

void *shim_new(size_t size)
{
	struct ma_map *map = come_in();

	return map ? go_out(mmalloc(map, size)) : __libc_malloc(size);
}

void *shim_zeroed(size_t size)
{
	struct ma_map *map = come_in();

	return map ? go_out(mcalloc(map, 1, size)) : __libc_calloc(1, size);
}

void *shim_aligned(size_t alignment, size_t size)
{
	struct ma_map *map = come_in();

	return map ? go_out(mmemalign(map, alignment, size)) : __libc_memalign(alignment, size);
}

/* A block keeps to where it is: its neighbours may be of its kind. */
void *shim_resize(void *ptr, size_t size)
{
	unsigned was = inside;
	void *block;

	if (!is_heaps(ptr))
		return __libc_realloc(ptr, size);
	inside = 1;
	block = mrealloc(ma_load_acquire(&heap), ptr, size);
	inside = was;
	return block;
}

void shim_give(void *ptr)
{
	struct ma_map *map = ma_load_acquire(&heap);
	unsigned was = inside;

	if (!is_heaps(ptr)) {
		__libc_free(ptr);
		return;
	}
	inside = 1;
	if (map)
		mfree(map, ptr);
	inside = was;
}

size_t shim_room(void *ptr)
{
	if (is_heaps(ptr))
		return mmalloc_usable_size(ma_load_acquire(&heap), ptr);
	/* The C library keeps the size of a block's chunk in front of it, with three bits of another sort. */
	return (((const size_t *)ptr)[-1] & ~(size_t)7) - 2 * sizeof(size_t);
}

int *shim_kept(unsigned i)
{
	struct ma_map *map = ma_load_acquire(&heap);

	return i == 0 && map ? &map->fd : NULL;
}

int shim_figures(char *text, size_t size)
{
	struct ma_map *map = ma_load_acquire(&heap);
	struct mmalloc_stats stats;

	if (!map || mmalloc_stats(map, &stats) < 0)
		return snprintf(text, size, "heap in memory");
	return snprintf(text, size, "heap %s: %llu blocks of %llu bytes, file of %llu bytes", heap_name,
			(unsigned long long)stats.used_blocks, (unsigned long long)stats.used_bytes,
			(unsigned long long)stats.file_bytes);
}
