/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Growth: one store of the region's length. All that it promises is there before, and after it only lists are left to do. No process waits
 * for it: others see the old length or the new one.
 *
 *   1. Disk space for what the part that the area ends in gains: that part may have its space already, up to the old end.
 *   2. The file's length, by fallocate(2) of its last byte: that never makes a file shorter, also while another process makes it longer.
 *   3. The length in the header, by compare-exchange, unless it is as large by then: the commit.
 *   4. The words at the old end are listed: their room has become larger.
 *
 * Killed before 3, the file may be longer than its header says, and the next growth goes on from there. Killed before 4, mending finds
 * what those words have gained (mend.c). Parts beyond the old one have no bit yet that they have their space, and get it as those of a new
 * region do, when they are first used. Where all parts have it from the start, theirs are made so between 2 and 3.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "common/cancel.h"
#include "common/file.h"
#include "handle.h"
#include "update.h"

static int lengthen(int fd, uint64_t length)
{
	int result;

	if (!ma_file_allowed(length))
		return -1;
	do
		result = fallocate(fd, 0, (off_t)(length - 1), 1);
	while (result < 0 && errno == EINTR);
	return result;
}

/* All parts of [now, area) have their space, and say so: no process looks there yet. */
static int fill_parts(struct shmbuddy *h, int fd, uint64_t now, uint64_t area)
{
	const struct layout *lay = &h->lay;
	uint64_t first = region_part_of(h, now), parts = layout_parts(lay, area);

	if (fd >= 0 &&
	    (ma_file_take(fd, lay->meta_at + first * lay->meta_bytes, lay->meta_at + parts * lay->meta_bytes) < 0 ||
	     ma_file_take(fd, lay->area_at + now, lay->area_at + area) < 0))
		return -1;
	for (uint64_t part = first; part < parts; part++)
		/* Pairs with libshmbuddy/src/region.h:region_is_backed. */
		atomic_fetch_or(&h->backed[part / 64], (uint64_t)1 << part % 64);
	return 0;
}

/* Steps 1 and 2. */
static int take_space(struct shmbuddy *h, int fd, uint64_t now, uint64_t area)
{
	uint64_t part_end = ma_min(area, ma_up(now, (uint64_t)1 << h->lay.part_shift)), at = h->lay.area_at;

	if (h->lay.sparse && now < part_end && ma_file_take(fd, at + now, at + part_end) < 0)
		return -1;
	if (fd >= 0 && lengthen(fd, at + area) < 0)
		return -1;
	return h->lay.sparse ? 0 : fill_parts(h, fd, now, area);
}

/* Step 3; *was is what the length was before. The region's own mapping of the header is for reading only, where it is ours. */
static int publish(struct shmbuddy *h, int fd, uint64_t length, uint64_t *was)
{
	struct ma_header *header;

	if (!h->mapped) {
		/* Pairs with libshmbuddy/src/region.h:region_area. */
		*was = raise_word(&region_header(h)->length, length);
		return 0;
	}
	header = mmap(NULL, MA_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (header == MAP_FAILED)
		return -1;
	*was = raise_word(&header->length, length);
	munmap(header, MA_PAGE);
	return 0;
}

static int grow(struct shmbuddy *h, uint64_t area)
{
	uint64_t now = region_area(h), was;
	int fd;

	if (area <= now)
		return 0;
	fd = shmbuddy__region_fd(h);
	if (h->mapped && fd < 0)
		return shmbuddy__fail(h, EBADF,
				      "cannot grow: the program closed the region's descriptor; open the region again");
	if (take_space(h, fd, now, area) < 0 || publish(h, fd, h->lay.area_at + area, &was) < 0) {
		if (errno == ENOSYS)
			errno = EOPNOTSUPP;
		return shmbuddy__fail(h, errno,
				      "cannot grow to %" PRIu64
				      " bytes: fallocate(2) of its file failed; check free space and `ulimit -f`",
				      area);
	}
	if (region_area(h) < area)
		return shmbuddy__fail(h, EUCLEAN,
				      "cannot grow: the length in its header is damaged; run: mapalloc check, or restore "
				      "a copy");
	shmbuddy__region_list_at(h, now);
	shmbuddy__region_list_at(h, was - h->lay.area_at);
	return 0;
}

int shmbuddy_grow(shmbuddy_t *h, uint64_t capacity)
{
	MA_UNCANCELLED;
	int saved = errno;

	if (!shmbuddy__region_may_write(h))
		return -1;
	if (capacity > h->lay.range)
		return shmbuddy__fail(h, ENOMEM,
				      "cannot grow to %" PRIu64 " bytes: its range ends at %" PRIu64
				      "; create a region with a larger option range",
				      capacity, h->lay.range);
	capacity = ma_up(capacity, (uint64_t)1 << h->lay.small_shift);
	if (capacity > ma_min(h->own, h->most))
		return shmbuddy__fail(h, ENOMEM,
				      "cannot grow to %" PRIu64 " bytes: this process has mapped only %" PRIu64
				      "; raise `ulimit -v`, and open it again",
				      capacity, ma_min(h->own, h->most));
	if (grow(h, capacity) < 0)
		return -1;
	errno = saved;
	return 0;
}
