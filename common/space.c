/* SPDX-License-Identifier: BSD-3-Clause */
/* See space.h. The fallback writes zeros, and so is only for ranges that no process uses yet: that is when it is called. */
#include "common/space.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/body.h"
#include "common/cancel.h"
#include "common/error.h"
#include "common/file.h"
#include "common/image_fd.h"
#include "common/lock.h"
#include "common/lost.h"
#include "common/image.h"
#include "common/image_annotate.h"
#include "common/page.h"
#include "common/plan.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/*
 * Without a descriptor: the pages are made here and now, which takes their space. Where SIGBUS would come, the kernel says EFAULT. The
 * failure about the descriptor stays the last one when this kernel cannot.
 */
static int take_by_touching(struct ma_image *map, uint64_t from, uint64_t to)
{
	for (uint32_t i = 0; i < map->lay.seg[map->reach - 1].slices; i++) {
		const struct ma_slice *slice = &map->lay.slice[i];
		uint64_t lo = ma_max(from, slice->file), hi = ma_min(to, slice->file + slice->bytes);

		if (lo >= hi)
			continue;
		if (madvise(map->base + slice->at + (lo - slice->file), hi - lo, MADV_POPULATE_WRITE) == 0)
			continue;
		if (errno == EFAULT)
			return ma_fail(ENOSPC, "%s: no disk space for its bytes %" PRIu64 " to %" PRIu64 "; free space on its file system",
				       map->name, lo, hi);
		errno = EBADF;
		return -1;
	}
	return 0;
}

/* One piece, as the file has it: bytes [from, to); no process uses those from first on. */
static int take_piece(struct ma_image *map, uint64_t from, uint64_t first, uint64_t to)
{
	int fd = ma_image_fd(map), result;

	if (fd < 0)
		return take_by_touching(map, from, to);
	result = ma_load(&map->opening_space) ? ma_lost_take(fd, from, to) : ma_file_take(fd, from, to);
	if (result < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		result = ma_file_take_by_writing(fd, first, to);
	if (result < 0)
		return ma_fail(errno,
			       "%s: no disk space for its bytes %" PRIu64 " to %" PRIu64
			       ": fallocate(2) failed; free space on its file system",
			       map->name, from, to);
	return 0;
}

int ma_space_take(struct ma_image *map, uint64_t from, uint64_t bytes)
{
	uint64_t last = ma_up(from + bytes, MA_PAGE), length = ma_image_length(map);
	uint64_t file, run;

	if (map->fd < 0 || bytes == 0)
		return 0;
	for (uint64_t at = ma_down(from, MA_PAGE); at < last; at += run) {
		run = ma_segment_run(&map->lay, at, last - at, &file);
		if (run == 0)
			break;
		if (file < length &&
		    take_piece(map, file, file + (from > at ? from - at : 0), ma_min(file + run, length)) < 0)
			return -1;
	}
	return 0;
}

/* The page that the taken part ends in is there: most small extensions lie within it and cost nothing. */
int ma_space_extend(struct ma_image *map, uint64_t from, uint64_t had, uint64_t want)
{
	uint64_t first = had ? ma_up(from + had, MA_PAGE) : from;

	return first < from + want ? ma_space_take(map, first, from + want - first) : 0;
}

static int punch(struct ma_image *map, uint64_t file, uint64_t bytes)
{
	MA_UNCANCELLED;
	int fd = ma_image_fd(map);

	return fd < 0 ? -1 : fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)file, (off_t)bytes);
}

/*
 * Through the mapping, which is ours whatever became of the descriptor. Locked memory is EINVAL there. The kernel rounds the length up
 * to its own pages, which may be larger than ours.
 */
static bool punch_pages(struct ma_image *map, uint64_t at, uint64_t file, uint64_t bytes)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (bytes % page == 0 && madvise(map->base + at, bytes, MADV_REMOVE) == 0)
		return true;
	return punch(map, file, bytes) == 0;
}

bool ma_space_punch(struct ma_image *map, uint64_t from, uint64_t bytes)
{
	uint64_t first = ma_up(from, MA_PAGE);
	uint64_t last = ma_down(from + bytes, MA_PAGE);
	bool done = true;
	uint64_t file, run;

	if (map->fd < 0) {
		first = ma_up(from, ma_page());
		last = ma_down(from + bytes, ma_page());
	}
	if (first >= last)
		return false;
	if (map->fd < 0)
		return madvise(map->base + first, last - first, MADV_DONTNEED) == 0;
	for (uint64_t at = first; at < last; at += run) {
		run = ma_segment_run(&map->lay, at, last - at, &file);
		if (run == 0)
			return false;
		done &= punch_pages(map, at, file, run);
	}
	return done;
}

/* File systems that cannot punch: what is zero stays as it is. */
static void blank_by_writing(char *at, char *end)
{
	for (; at < end; at += MA_PAGE) {
		size_t bytes = ma_min(MA_PAGE, (uint64_t)(end - at));

		for (size_t i = 0; i < bytes; i++)
			if (at[i]) {
				memset(at, 0, bytes);
				break;
			}
	}
}

/* Of memory alone: reading what is a hole of the file below it may take disk space. */
static void blank_memory(char *at, char *end)
{
	uintptr_t first = ma_up((uintptr_t)at, ma_page()), last = ma_down((uintptr_t)end, ma_page());
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	if (first >= last || mmap((void *)first, last - first, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) {
		memset(at, 0, (size_t)(end - at));
		return;
	}
	memset(at, 0, first - (uintptr_t)at);
	memset((void *)last, 0, (uintptr_t)end - last);
}

void ma_space_blank(struct ma_image *map, uint64_t from, uint64_t bytes)
{
	uint64_t length = ma_image_length(map), end = from + bytes;
	uint64_t file, run, most;

	for (uint64_t at = from; at < end; at += run) {
		run = ma_segment_run(&map->lay, at, end - at, &file);
		if (run == 0 || file >= length)
			return;
		most = ma_min(run, length - file);
		if (map->fd < 0)
			blank_memory(map->base + at, map->base + at + most);
		else if (punch(map, file, most) < 0)
			blank_by_writing(map->base + at, map->base + at + most);
	}
}

/* ---- the file's length ---- */

/* What the streams of a segment take, when it is about to be there. */
static int take_streams(struct ma_image *map, int fd, const struct ma_segment *seg, bool by_writing)
{
	uint64_t bytes = (uint64_t)map->lay.streams * map->lay.stream_stride;
	uint64_t file;

	if (ma_segment_run(&map->lay, seg->stream_off, bytes, &file) == 0)
		return 0;
	return by_writing ? ma_file_take_by_writing(fd, file, file + bytes) : ma_file_take(fd, file, file + bytes);
}

static bool has_no_fallocate(void)
{
	return errno == EOPNOTSUPP || errno == ENOSYS;
}

/*
 * The next segments of a file that is longer than it says already: a process that was killed while it made the file longer left zeros. With
 * anything else there, the length is damaged, and these may be tables in use.
 */
static int check_untouched(struct ma_image *map, int fd, uint32_t from, uint64_t length)
{
	const struct ma_layout *lay = &map->lay;

	for (uint32_t i = lay->seg[from - 1].slices; i < lay->seg[map->reach - 1].slices; i++) {
		const struct ma_slice *slice = &lay->slice[i];
		bool is_table = slice->at < lay->user_off || slice->at >= lay->user_off + lay->user_bytes;

		if (is_table && slice->file < length &&
		    !ma_file_is_zero(fd, slice->file, slice->file + slice->bytes)) {
			errno = EUCLEAN;
			return -1;
		}
	}
	return 0;
}

/* Segments from this one on, as far as the file will have them. */
static int make_segments(struct ma_image *map, int fd, uint32_t from, uint64_t had, uint64_t length)
{
	const struct ma_layout *lay = &map->lay;
	bool by_writing = false;
	struct stat st;
	int result = 0;

	if (fstat(fd, &st) < 0 ||
	    ((uint64_t)st.st_size > had && check_untouched(map, fd, from, ma_min(length, (uint64_t)st.st_size)) < 0))
		return -1;
	for (uint32_t k = from; k < map->reach && length >= lay->seg[k].user_file && result == 0; k++)
		result = take_streams(map, fd, &lay->seg[k], false);
	if (result < 0 && has_no_fallocate()) {
		by_writing = true;
		result = 0;
	}
	if (result == 0)
		result = ma_file_lengthen(fd, length);
	for (uint32_t k = from; by_writing && k < map->reach && length >= lay->seg[k].user_file && result == 0; k++)
		result = take_streams(map, fd, &lay->seg[k], true);
	return result;
}

/* The unit that the user area ends in now has its space for the part that was there. */
static int take_rest(struct ma_image *map, int fd, uint64_t had, uint64_t length)
{
	uint64_t at = ma_segment_user(&map->lay, had);
	uint64_t end = (at + map->lay.unit_bytes - 1) / map->lay.unit_bytes * map->lay.unit_bytes;
	uint64_t file, run;
	int result = 0;

	for (; at < end && result == 0; at += run) {
		run = ma_segment_run(&map->lay, map->lay.user_off + at, end - at, &file);
		if (run == 0 || file >= length)
			break;
		result = ma_file_take(fd, ma_down(file, MA_PAGE), ma_min(file + run, length));
	}
	return result < 0 && has_no_fallocate() ? 0 : result;
}

/* Where the range was left unlocked after mlockall(MCL_FUTURE), what is used of it is locked all the same. */
static int open_piece(char *at, uint64_t bytes)
{
	if (mprotect(at, bytes, PROT_READ | PROT_WRITE) < 0)
		return -1;
	if (!ma_plan_is_short_of_locks() || mlock(at, bytes) == 0)
		return 0;
	errno = EAGAIN; /* As mmap(2) has it for this limit. */
	return -1;
}

/* Of each slice the part that a file would have there now. */
int ma_space_open(struct ma_image *map, uint64_t from, uint64_t to)
{
	for (uint32_t i = 0; i < map->lay.seg[map->reach - 1].slices; i++) {
		const struct ma_slice *slice = &map->lay.slice[i];
		uint64_t lo = ma_max(from, slice->file), hi = ma_min(to, slice->file + slice->bytes);
		uint64_t first = ma_down(slice->at + lo - slice->file, ma_page());

		if (lo < hi && open_piece(map->base + first, ma_up(slice->at + hi - slice->file, ma_page()) - first) < 0)
			return ma_fail(errno,
				       "%s: no memory for %" PRIu64
				       " more bytes (%s); free blocks, or raise the limit",
				       map->name, to - from,
				       errno == EAGAIN ? "RLIMIT_MEMLOCK, which counts after mlockall(2)" : "RLIMIT_DATA?");
	}
	return 0;
}

static int fail_to_grow(const struct ma_image *map, uint64_t length)
{
	if (errno == EUCLEAN)
		return ma_fail(EUCLEAN,
			       "%s: cannot grow to %" PRIu64
			       " bytes: the length in its header is damaged, the file goes on behind it; run: mapalloc check",
			       map->name, length);
	return ma_fail(errno,
		       "%s: cannot grow to %" PRIu64
		       " bytes: ftruncate(2) or fallocate(2) failed; check `ulimit -f` and disk space",
		       map->name, length);
}

/* Never shorter, whatever the header says: a process that has the wrong idea of the length must not cut off what others use. */
static int lengthen(struct ma_image *map, uint64_t had, uint64_t length)
{
	uint32_t segments = ma_segments_at(&map->lay, had);
	int result, fd = ma_image_fd(map);

	if (fd < 0)
		return -1;
	if (segments < map->reach && length >= map->lay.seg[segments].user_file)
		result = make_segments(map, fd, segments, had, length);
	else
		result = ma_file_lengthen(fd, length);
	if (result == 0 && map->item_bytes)
		result = take_rest(map, fd, had, length);
	return result < 0 ? fail_to_grow(map, length) : 0;
}

/*
 * The length's lock is ours. Killed before the last store, or without the space: the file is longer than it says, which every opener
 * accepts. A header that says less than we know is mended. This process believes the length after the header says it: before that,
 * threads that take what they know and threads that ask again would have different answers.
 */
static int grow(struct ma_image *map, uint64_t length)
{
	uint64_t had = ma_image_length(map), said = ma_load(&map->header->length);

	if (length > had && (map->fd >= 0 ? lengthen(map, had, length) : ma_space_open(map, had, length)) < 0)
		return -1;
	length = ma_max(length, had);
	if (said != length)
		ma_store_kill(&map->header->length, length); /* Pairs with common/image.h:ma_image_length. */
	ma_image_is_long(map, length);
	if (length > had)
		ma_image_annotate_grown(map, had, length);
	ma_image_measure(map); /* Without this, each call computes these numbers again until a free takes the slow path. */
	return 0;
}

int ma_space_grow(struct ma_image *map, uint64_t length)
{
	const struct ma_segment *last = &map->lay.seg[map->reach - 1];
	uint32_t slot;
	int result;

	if (length <= ma_image_length(map))
		return 0;
	if (length > last->user_file + last->user_bytes)
		return ma_fail(ENOMEM,
			       "%s: cannot grow to %" PRIu64 " bytes: its reserved range allows %" PRIu64
			       "; use a map with a larger range",
			       map->name, length, last->user_file + last->user_bytes);
	slot = ma_body_slot(map);
	if (slot == MA_NO_SLOT)
		return -1;
	/* Streams grow the file under different locks: without this one, the smaller length might come last. */
	if (ma_lock_take(map, &ma_body(map)->length_lock, slot) == MA_LOCK_STUCK)
		return -1;
	result = grow(map, length);
	ma_lock_give(&ma_body(map)->length_lock);
	return result;
}

bool ma_space_add(struct ma_image *map)
{
	uint32_t segments = ma_segments(map);
	int saved = errno;

	if (!map->lay.grows || segments >= map->reach)
		return false;
	if (ma_space_grow(map, map->lay.seg[segments].user_file) < 0)
		return false;
	errno = saved;
	return true;
}

int ma_space_sync(struct ma_image *map, uint64_t from, uint64_t bytes)
{
	MA_UNCANCELLED;
	uint64_t first = ma_down(from, ma_page());

	if (map->fd < 0 || bytes == 0 || (map->mode & (MA_MAP_RDONLY | MA_MAP_PRIVATE)))
		return 0;
	if (msync(map->base + first, from + bytes - first, MS_SYNC) < 0)
		return ma_fail(errno, "%s: cannot write to disk: msync(2) failed; check the disk, then try again",
			       map->name);
	return 0;
}

int ma_space_sync_all(struct ma_image *map)
{
	uint64_t length = ma_image_length(map);
	uint32_t slices = map->lay.seg[map->reach - 1].slices;

	for (uint32_t i = 0; i < slices; i++) {
		const struct ma_slice *slice = &map->lay.slice[i];

		if (slice->file < length &&
		    ma_space_sync(map, slice->at, ma_min(slice->bytes, length - slice->file)) < 0)
			return -1;
	}
	return 0;
}
