/* SPDX-License-Identifier: BSD-3-Clause */
/* What a fork does to the maps of a process: a child attaches for itself, or gets a copy, or finds its handles closed. */
#include "common/regfile.h"
#include "common/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/annotate.h"
#include "common/cancel.h"
#include "common/checkpoint_image.h"
#include "common/error.h"
#include "common/file.h"
#include "common/forkstack.h"
#include "common/image_annotate.h"
#include "common/image_fd.h"
#include "common/process.h"
#include "common/recover.h"
#include "common/segment.h"

/* The lock was this thread's before the fork began. Belongs to its holder. */
static bool interrupted;

/*
 * The inherited descriptor is the parent's open file description: its locks are the parent's, and closing our copy
 * leaves them with the parent. The parent is attached, so no process can hold the attach byte exclusively: the child gets it at once.
 */
static bool child_attach(struct ma_image *map)
{
	int prot = PROT_READ | PROT_WRITE, how = O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd = ma_fd_is(map->fd, ma_image_fd_id(map)) ? ma_regfile_reopen(map->fd, false)
							: ma_fd_again(map->base, map->name, ma_image_fd_id(map), how);

	ma_image_close_fd(map);
	ma_image_set_fd(map, fd);
	if (fd < 0 || ma_file_attach_shared(fd) < 0) {
		ma_debug("%s: a fork child cannot attach (%s): its handle is closed; %s", map->name,
			 map->mode & MA_MAP_EXCLUSIVE ? "its parent has it exclusively"
						  : "no /proc, or no permission for the file",
			 map->mode & MA_MAP_EXCLUSIVE ? "open it again when the parent closed it" : "open it again");
		return false;
	}
	/* A mapping keeps its open file description, and with it the parent's locks, after the parent's death. */
	if (!map->annotated) {
		ma_segment_map(&map->lay, map->base, map->reach, prot, MAP_SHARED | MAP_NORESERVE, fd, UINT64_MAX);
		ma_image_annotate_file(map);
	}
	map->was_replaced = map->annotated;
	ma_store(&map->slot, MA_NO_SLOT);
	ma_image_count_attach(map);
	return true;
}

/* ---- a copy ---- */

/* The map's addresses, without those of a hole, which are not ours. */
static void each_part(const struct ma_image *map, void (*fn)(char *at, uint64_t bytes, int how), int how)
{
	fn(map->base, map->hole_end ? map->hole_at : map->mapped, how);
	if (map->hole_end)
		fn(map->base + map->hole_end, map->mapped - map->hole_end, how);
}

/* Unmapping first: at vm.max_map_count, mapping over what is there fails. */
static void empty(char *at, uint64_t bytes, int prot)
{
	syscall(SYS_munmap, at, bytes);
	mmap(at, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

static void advise(char *at, uint64_t bytes, int advice)
{
	ma_forkstack_advise(at, bytes, advice);
}

/* The same addresses over the copy. No other process is attached to that, so what the parent's threads held is void. */
static bool take_copy(struct ma_image *map, int fd)
{
	struct stat st;

	ma_image_close_fd(map);
	fd = ma_fd_aside(fd);
	ma_image_set_fd(map, fd);
	map->was_replaced = false;
	ma_store(&map->blocks, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	map->place = ma_place_of(fd, &st);
	if (ma_file_attach_exclusive(fd) < 0)
		return false;
	each_part(map, empty, PROT_NONE);
	if (ma_segment_map(&map->lay, map->base, map->reach, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
			   UINT64_MAX) < 0)
		return false;
	/* The copy is as long as the map was then; the parent may have grown since. */
	ma_store(&map->known.length, 0);
	ma_store(&map->known.bytes, 0);
	ma_store(&map->known.most, ma_min(ma_load(&map->header->length), (uint64_t)st.st_size));
	ma_header_put_place(map->header, &map->place);
	if (map->engine->reserve_space(map) < 0)
		return false;
	ma_store(&map->slot, MA_NO_SLOT);
	if (ma_image_recover(map, 0) < 0)
		return false;
	ma_image_annotate_file(map);
	if (map->annotated && map->lay.streams == 1)
		ma_image_hide(map, map->user + map->lay.user_bytes);
	return ma_file_attach_shared(fd) == 0;
}

/* Without a copy nothing is there: a fault is better than the parent's changing values. */
static bool child_copy(struct ma_map *map)
{
	int fd = map->fork_copy ? map->fork_copy(&map->image) : map->fork_fd;

	map->fork_fd = -1;
	if (take_copy(&map->image, fd))
		return true;
	ma_debug("%s: a fork child has no copy of its own: its handle is closed; free disk space", map->image.name);
	each_part(&map->image, empty, PROT_NONE);
	ma_image_close_fd(&map->image);
	return false;
}

static bool is_copied(const struct ma_map *map)
{
	return map->fork_copy || (map->image.mode & MA_MAP_FORKS);
}

static void child_map(struct ma_map *map)
{
	bool alive = true;

	pthread_mutex_init(&map->image.mutex, NULL);
	pthread_mutex_init(&map->image.fd_mutex, NULL);
	ma_store(&map->image.sweep.is_busy, false); /* The thread that made a step is the parent's. */
	ma_image_fork_checkpoints(&map->image);
	if (is_copied(map))
		alive = child_copy(map);
	else if (map->image.mode & (MA_MAP_PRIVATE | MA_MAP_ANON))
		ma_image_recover(&map->image,
				 0); /* The copy is ours alone, and no other thread of the parent came along. */
	else if (ma_image_writable(&map->image))
		alive = child_attach(&map->image);
	if (!alive && !is_copied(map) && ma_under_valgrind())
		ma_image_hide(&map->image, map->image.base + map->image.mapped);
	if (!alive)
		ma_image_watch(
			&map->image); /* A fast free looks only at these: there may be nothing at the map's addresses. */
	ma_store_release(&map->image.id,
			 alive ? ma_image_new_id() : MA_MAP_CLOSED); /* Pairs with common/thread.c:ma_tcache_get. */
}

/* Before the child can map its copy, or for good: see forkstack.h. A hole of the map is not its memory. */
static bool shares_this_stack(const struct ma_map *map)
{
	const struct ma_image *image = &map->image;

	return (is_copied(map) || !(image->mode & (MA_MAP_PRIVATE | MA_MAP_ANON))) &&
	       (ma_forkstack_is_in(image->base, image->hole_end ? image->hole_at : image->mapped) ||
		(image->hole_end && ma_forkstack_is_in(image->base + image->hole_end, image->mapped - image->hole_end)));
}

static void keep_from_child(struct ma_map *map)
{
	map->fork_barred = true;
	each_part(&map->image, advise, MADV_DONTFORK);
	ma_say(MA_FORKSTACK_SAYS, map->image.name, "the map");
}

static void begin(void)
{
	for (struct ma_map *map = ma_registry; map; map = map->next) {
		if (ma_load(&map->image.id) == MA_MAP_CLOSED)
			continue;
		if (shares_this_stack(map))
			keep_from_child(map);
		else if ((map->image.mode & MA_MAP_FORKS) && !interrupted)
			map->fork_fd = map->fork_begin(&map->image);
	}
}

/*
 * The parent, or what became of a thread that forks: no thread opens or closes a map until the fork is over, and other forks wait. In a
 * signal handler that interrupted such a call of its own thread the lock is held already, and no map can be copied.
 */
static void fork_begin(void)
{
	MA_UNCANCELLED;
	int saved = errno;

	interrupted = pthread_mutex_lock(&ma_registry_mutex) == EDEADLK;
	begin();
	errno = saved;
}

static void fork_parent(void)
{
	MA_UNCANCELLED;
	int saved = errno;

	for (struct ma_map *map = ma_registry; map; map = map->next) {
		if (map->fork_barred)
			each_part(&map->image, advise, MADV_DOFORK);
		map->fork_barred = false;
		if (ma_load(&map->image.id) == MA_MAP_CLOSED || !(map->image.mode & MA_MAP_FORKS) || map->fork_fd < 0)
			continue;
		close(map->fork_fd);
		map->fork_fd = -1;
	}
	if (!interrupted)
		pthread_mutex_unlock(&ma_registry_mutex);
	interrupted = false;
	errno = saved;
}

/* The mutex knows its holder by a number that the child does not have. */
static void fork_child(void)
{
	MA_UNCANCELLED;
	int saved = errno;

	ma_store(ma_process_mark, 1);
	for (struct ma_map *map = ma_registry; map; map = map->next)
		if (ma_load(&map->image.id) != MA_MAP_CLOSED)
			child_map(map);
	ma_forkmutex_renew(&ma_registry_mutex);
	interrupted = false;
	errno = saved;
}

/* ---- a child without these handlers: _Fork(), clone() ---- */

bool ma_map_fork_try(void)
{
	if (pthread_mutex_lock(&ma_registry_mutex) != 0) /* It is this thread's already. */
		return false;
	begin();
	return true;
}

void ma_map_fork_end(bool child)
{
	if (child)
		fork_child();
	else
		fork_parent();
}

static void watch_forks(void)
{
	ma_process_watch(fork_child);
	pthread_atfork(fork_begin, fork_parent, fork_child);
}

void ma_map_watch_forks(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, watch_forks);
}

/* ---- what a library asks for ---- */

void ma_map_set_forks(struct ma_map *map, int (*begins)(struct ma_image *image), int (*copies)(struct ma_image *image))
{
	map->image.mode |= MA_MAP_FORKS;
	map->fork_begin = begins;
	map->fork_copy = copies;
}

void ma_map_orphan(struct ma_map *map)
{
	const struct ma_image *image = &map->image;

	mprotect(image->base, image->hole_end ? image->hole_at : image->mapped, PROT_READ);
	ma_store_release(&map->image.id, MA_MAP_CLOSED); /* Pairs with common/thread.c:ma_tcache_get. */
}
