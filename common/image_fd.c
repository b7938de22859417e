/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The descriptor of a map, in a program that closes descriptors which it did not open (fd.h).
 *
 * Most file systems keep the open file description, with our locks, for as long as something of it is mapped: then the process stays
 * attached when its descriptor is closed, and a new descriptor is needed only to take disk space. On an overlay file system, and in a FUSE
 * file system with passthrough, a mapping belongs to the file below, and the locks end with the descriptor. Such a map is *fickle*:
 * ma_body_slot() looks at its descriptor in each slow call. The process takes the locks again. If another process has meanwhile found
 * the map without users, or the process slot without a holder, this process attaches as a new one: with other ids, so that all that its
 * threads remember of their slabs, which may have another owner now, is void.
 */
#include "common/image_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/error.h"
#include "common/file.h"
#include "common/regfile.h"
#include "common/slot.h"

/* Locked for a moment, to see whether it stays so. Behind all bytes that mean something. */
#define PROBE_BYTE (MA_FILE_ATTACH_BYTE + (1 << 20) + getpid() % (1 << 20))

struct ma_fd_id ma_image_fd_id(const struct ma_image *map)
{
	return (struct ma_fd_id){ map->place.device, map->place.inode, __atomic_load_n(&map->mark, __ATOMIC_RELAXED) };
}

int *ma_image_fd_place(struct ma_image *image)
{
	return &image->fd;
}

void ma_image_set_fd(struct ma_image *map, int fd)
{
	__atomic_store_n(&map->mark, fd >= 0 ? ma_fd_mark(fd) : 0, __ATOMIC_RELAXED);
	__atomic_store_n(&map->fd, fd, __ATOMIC_RELEASE); /* Pairs with common/image_fd.c:ma_image_fd. */
}

void ma_image_close_fd(struct ma_image *map)
{
	int fd = map->fd;

	__atomic_store_n(&map->fd, -1, __ATOMIC_RELAXED);
	ma_fd_close(fd, ma_image_fd_id(map));
}

/* Does a mapping keep the locks of a description that has no descriptor? */
static bool keeps_locks(int fd, int other)
{
	struct flock found = { .l_type = F_UNLCK };
	bool locked = ma_file_lock(other, F_OFD_SETLK, F_WRLCK, PROBE_BYTE, NULL) == 0;
	void *page = mmap(NULL, MA_PAGE, PROT_READ, MAP_SHARED, other, 0);

	close(other);
	if (locked)
		ma_file_lock(fd, F_OFD_GETLK, F_WRLCK, PROBE_BYTE, &found);
	if (page != MAP_FAILED)
		munmap(page, MA_PAGE);
	return !locked || page == MAP_FAILED || found.l_type != F_UNLCK;
}

void ma_image_probe(struct ma_image *map)
{
	int saved = errno, other;

	if (ma_fd_has_program_locks(map->fd)) /* To close another descriptor would drop them. */
		return;
	other = ma_regfile_reopen(map->fd, false);
	map->fickle = other >= 0 && !keeps_locks(map->fd, other);
	errno = saved;
}

/* ---- again ---- */

static int lost(struct ma_image *map, const char *why)
{
	ma_store(&map->lost, true);
	return ma_fail(EBADF, "%s: the program closed descriptor %d, which this library had opened: %s", map->name,
		       map->fd, why);
}

/* Others took this process for dead, or it cannot be known. It comes in as a new one; the blocks that it has stay its own. */
static void attach_as_new(struct ma_image *map)
{
	ma_debug("%s: the locks of this process were lost with its descriptor, and another process reclaimed what it "
		 "had "
		 "reserved; do not close descriptors that the library opened",
		 map->name);
	map->generation = ma_load(&map->header->generation);
	ma_store_release(&map->slot, MA_NO_SLOT);      /* Pairs with common/body.c:ma_body_slot. */
	ma_store_release(&map->id, ma_image_new_id()); /* Pairs with common/thread.c:ma_tcache_get. */
}

/* Our old description may still hold the byte: then no other process has it exclusively. */
static bool attach_again(struct ma_image *map, int fd)
{
	if (map->mode & MA_MAP_EXCLUSIVE) {
		if (ma_file_attach_exclusive(fd) == 0)
			return ma_file_stay_exclusive(fd) == 0;
		return errno == EAGAIN;
	}
	return ma_file_attach_shared(fd) == 0;
}

static bool lock_again(struct ma_image *map, int fd)
{
	if (!ma_image_writable(map) || (map->mode & MA_MAP_PRIVATE))
		return true;
	if (!attach_again(map, fd))
		return false;
	if (ma_load(&map->header->generation) != map->generation || !ma_slot_keep(map, fd))
		attach_as_new(map);
	return true;
}

/* The mutex is ours. */
static int replace(struct ma_image *map)
{
	int how =
		(map->mode & (MA_MAP_RDONLY | MA_MAP_PRIVATE) ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int was = map->fd, fd = -1;

	if (map->source || ma_load(&map->id) == MA_MAP_CLOSED)
		return lost(map, "try again, with no other thread that closes descriptors");
	if (time(NULL) != map->lost_at)
		fd = ma_fd_again(map->base, map->name, ma_image_fd_id(map), how);
	if (fd < 0)
		map->lost_at = time(NULL); /* To look again each time would take long. */
	if (fd < 0)
		return lost(map, "its file has no name by which this process can open it; close the map and open it "
				 "again, and keep the "
				 "library's descriptors");
	if (!lock_again(map, fd)) {
		close(fd);
		return lost(map, "another process is recovering the file; try again");
	}
	map->was_replaced = true;
	ma_image_set_fd(map, fd);
	ma_store(&map->lost, false);
	ma_debug("%s: the program closed descriptor %d, which this library had opened: it is %d now", map->name, was,
		 fd);
	return fd;
}

int ma_image_fd(struct ma_image *map)
{
	/* Pairs with common/image_fd.c:ma_image_set_fd. */
	int fd = __atomic_load_n(&map->fd, __ATOMIC_ACQUIRE), saved = errno;

	if (MA_LIKELY(ma_fd_is(fd, ma_image_fd_id(map))))
		return fd;
	pthread_mutex_lock(&map->fd_mutex);
	fd = map->fd;
	if (fd < 0) {
		errno = EBADF;
	} else if (!ma_fd_is(fd, ma_image_fd_id(map))) {
		fd = replace(map);
		if (fd >= 0)
			errno = saved;
	}
	pthread_mutex_unlock(&map->fd_mutex);
	return fd;
}
