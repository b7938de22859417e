/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disk space, part by part. A bit says that a part has its space, and is set after it has: killed in between, the next one asks the
 * kernel once more, which does no harm. Two at once ask twice. No process waits for another one. A part that the area ends in gets its space
 * up to that end; who makes the area larger takes the rest first, whether the part has its space or not (grow.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "common/cancel.h"
#include "common/fd.h"
#include "common/file.h"
#include "common/page.h"
#include "region.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* ---- the descriptor: a program may have closed all of them, and another file may go by its number now ---- */

static struct ma_fd_id id_of(const struct shmbuddy *h, uint64_t again)
{
	return (struct ma_fd_id){ h->place.device, h->place.inode, again ? (int)(again >> 32) : h->mark };
}

/* Ours since now, or another one that was quicker. */
static int adopt(struct shmbuddy *h, uint64_t seen, int fd)
{
	struct flock shared = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = MA_FILE_ATTACH_BYTE, .l_len = 1 };
	struct flock member = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = MA_FILE_MEMBER_BYTE, .l_len = 1 };
	uint64_t mine = (uint64_t)ma_fd_mark(fd) << 32 | (uint32_t)(fd + 1);

	/* The mapping keeps the lock of the old one, where it does; there are others where it does not. */
	if (h->attached && !h->exclusive && fcntl(fd, F_OFD_SETLK, &shared) == 0)
		fcntl(fd, F_OFD_SETLK,
		      &member);             /* As ma_file_attach_shared() does, which a signal handler cannot call. */
	if (ma_cas(&h->again, &seen, mine)) /* Pairs with libshmbuddy/src/space.c:shmbuddy__region_fd. */
		return fd;
	ma_fd_close(fd, id_of(h, mine));
	fd = (int)(uint32_t)seen - 1;
	return ma_fd_is(fd, id_of(h, seen)) ? fd : -1;
}

int shmbuddy__region_fd(struct shmbuddy *h)
{
	MA_UNCANCELLED;
	int flags = (h->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	uint64_t again = ma_load_acquire(&h->again); /* Pairs with libshmbuddy/src/space.c:adopt. */
	int fd = again ? (int)(uint32_t)again - 1 : h->fd;
	int saved = errno;

	if (fd < 0 || MA_LIKELY(ma_fd_is(fd, id_of(h, again))))
		return fd;
	if (!h->mapped)
		return -1;
	fd = ma_fd_again(h->base, h->name, id_of(h, 0), flags);
	if (fd >= 0)
		fd = adopt(h, again, fd);
	errno = saved;
	return fd;
}

/* ---- space ---- */

static int take(struct shmbuddy *h, uint64_t from, uint64_t to)
{
	MA_UNCANCELLED;
	int fd = shmbuddy__region_fd(h), result;

	if (fd < 0) {
		/* Make the pages here and now; where SIGBUS would come, the kernel says EFAULT. It wants whole pages. */
		char *first = (char *)(uintptr_t)ma_down((uintptr_t)h->base + from, ma_page());

		result = madvise(first, (size_t)(h->base + to - first), MADV_POPULATE_WRITE);
		if (result < 0 && errno == EFAULT)
			errno = ENOSPC;
		return result;
	}
	do
		result = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from));
	while (result < 0 && errno == EINTR);
	return result;
}

int shmbuddy__region_reserve_part(struct shmbuddy *h, uint64_t part)
{
	const struct layout *lay = &h->lay;
	uint64_t meta = lay->meta_at + part * lay->meta_bytes, size = (uint64_t)1 << lay->part_shift;
	uint64_t from = part << lay->part_shift, to = ma_min(from + size, region_area(h));

	if (take(h, meta, meta + lay->meta_bytes) < 0 || take(h, lay->area_at + from, lay->area_at + to) < 0)
		return -1;
	/* Pairs with libshmbuddy/src/region.h:region_is_backed. */
	atomic_fetch_or_explicit(&h->backed[part / 64], (uint64_t)1 << part % 64, memory_order_acq_rel);
	return 0;
}

bool shmbuddy__region_has(const struct shmbuddy *h, uint64_t at, uint64_t bytes)
{
	uint64_t last = region_part_of(h, ma_min(at + bytes, region_area(h)) - 1);

	for (uint64_t part = region_part_of(h, at); part <= last; part++)
		if (!region_is_backed(h, part))
			return false;
	return true;
}

int shmbuddy__region_reserve_space(struct shmbuddy *h, uint64_t at, uint64_t bytes)
{
	uint64_t last = region_part_of(h, ma_min(at + bytes, region_area(h)) - 1);
	int saved = errno;

	for (uint64_t part = region_part_of(h, at); part <= last; part++) {
		if (!region_is_backed(h, part) && shmbuddy__region_reserve_part(h, part) < 0)
			return -1;
	}
	errno = saved;
	return 0;
}
