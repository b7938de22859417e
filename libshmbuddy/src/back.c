/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disk space, part by part. A bit says that a part has its space, and is set after it has: killed in between, the next one asks the
 * kernel once more, which does no harm. Two at once ask twice. Nobody waits for anybody.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "region.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* A program may have closed all descriptors, ours too, and another file may go by its number now. */
static bool is_ours(const struct shmbuddy *h)
{
	struct stat st;

	return h->fd >= 0 && fstat(h->fd, &st) == 0 && st.st_dev == (dev_t)h->device && st.st_ino == (ino_t)h->inode;
}

static int take(const struct shmbuddy *h, uint64_t from, uint64_t to)
{
	int result;

	if (!is_ours(h)) {
		/* Make the pages here and now; where SIGBUS would come, the kernel says EFAULT. */
		result = madvise(h->base + from, to - from, MADV_POPULATE_WRITE);
		if (result < 0 && errno == EFAULT)
			errno = ENOSPC;
		return result;
	}
	do
		result = fallocate(h->fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from));
	while (result < 0 && errno == EINTR);
	return result;
}

int shmbuddy__region_back_part(struct shmbuddy *h, uint64_t part)
{
	const struct layout *lay = &h->lay;
	uint64_t meta = lay->meta_at + part * lay->meta_bytes, size = (uint64_t)1 << lay->part_shift;
	uint64_t from = part << lay->part_shift, to = ma_min(from + size, lay->total - lay->area_at);

	if (take(h, meta, meta + lay->meta_bytes) < 0 || take(h, lay->area_at + from, lay->area_at + to) < 0)
		return -1;
	atomic_fetch_or_explicit(&h->control->backed[part / 64], (uint64_t)1 << part % 64, memory_order_acq_rel);
	return 0;
}

bool shmbuddy__region_has(const struct shmbuddy *h, uint64_t at, uint64_t bytes)
{
	uint64_t last = region_part_of(h, ma_min(at + bytes, h->lay.area) - 1);

	for (uint64_t part = region_part_of(h, at); part <= last; part++)
		if (!region_is_backed(h, part))
			return false;
	return true;
}

int shmbuddy__region_back(struct shmbuddy *h, uint64_t at, uint64_t bytes)
{
	uint64_t last = region_part_of(h, ma_min(at + bytes, h->lay.area) - 1);
	int saved = errno;

	for (uint64_t part = region_part_of(h, at); part <= last; part++) {
		if (!region_is_backed(h, part) && shmbuddy__region_back_part(h, part) < 0)
			return -1;
	}
	errno = saved;
	return 0;
}
