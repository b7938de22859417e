/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A copy of a region that others may be using. The words are copied from the top level down, each of them whole, and the mixture is
 * settled (settle.c). The copy is then opened as any other copy is, which checks all of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/copy.h"
#include "common/error.h"
#include "common/scan.h"
#include "common/target.h"
#include "handle.h"
#include "inspect.h"

#define MOST_TRIES 100 /* A region that grows again and again. */

/* ---- words ---- */

/* Each word of a level that has its space, in the copy as it is now in the region. */
static void copy_level(const struct shmbuddy *from, struct shmbuddy *to, const struct level *l)
{
	for (uint64_t i = 0, end = layout_words(l, ma_load(&to->area)); i < end; i++) {
		if (l->local && !region_is_backed(to, i >> l->fan_shift))
			i |= ((uint64_t)1 << l->fan_shift) - 1;
		else
			/* From the top down: pairs with libshmbuddy/src/tree.c:shmbuddy__tree_split. */
			ma_store(region_word(to, l, i), ma_load_acquire(region_word(from, l, i)));
	}
}

static void copy_words(const struct shmbuddy *from, struct shmbuddy *to)
{
	uint64_t parts = layout_parts(&to->lay, ma_load(&to->area));

	for (uint64_t i = 0; i * 64 < to->lay.parts; i++)
		/* Pairs with libshmbuddy/src/space.c:shmbuddy__region_reserve_part. */
		ma_store(&to->backed[i],
			 i * 64 < parts ? ma_load_acquire(&from->backed[i]) & ma_low_bits(parts - i * 64) : 0);
	for (unsigned k = from->lay.top + 1u; k-- > 0;)
		copy_level(from, to, region_level(from, k));
}

/* Its checkpoints are not the copy's. */
static void forget_checkpoints(struct ma_header *header)
{
	ma_store(&header->durable, 0);
	ma_store(&header->captures, 0);
	ma_store(&header->covered, 0);
	ma_store(&header->committed, 0);
	ma_store(&header->attaches, 0);
}

/* ---- the file ---- */

/* All that the file has now; holes stay holes. A region in memory is read there. */
static int copy_contents(const struct shmbuddy *from, int fd, int to, uint64_t bytes)
{
	if (fd >= 0 && ioctl(to, FICLONE, fd) == 0)
		return 0;
	if (ftruncate(to, (off_t)bytes) < 0)
		return -1;
	return fd >= 0 ? ma_copy_data(fd, to, 0, bytes)
		       : ma_copy_by_hand(-1, (uint64_t)(uintptr_t)from->base, to, 0, bytes);
}

/* As any other copy: opening it checks all of it. */
static int open_once(const char *path)
{
	const struct shmbuddy_options how = { .flags = SHMBUDDY_EXISTING };
	shmbuddy_t *region = shmbuddy_open(path, &how);
	int result;

	if (!region)
		return -1;
	result = shmbuddy_check(region, NULL, NULL);
	if (result > 0)
		result = ma_fail(EUCLEAN, "%s: the region is damaged: its copy is not sound; run: mapalloc check",
				 region->name);
	if (result == 0)
		result = shmbuddy_sync(region);
	shmbuddy_close(region);
	return result < 0 ? -1 : 0;
}

static int settle(const struct shmbuddy *from, int fd, uint64_t bytes, uint64_t area)
{
	struct shmbuddy *to = calloc(1, sizeof(*to));
	void *at = to ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0) : MAP_FAILED;
	int saved;

	if (at != MAP_FAILED) {
		to->lay = from->lay;
		to->base = at;
		to->fd = fd;
		ma_store(&to->area, area);
		shmbuddy__handle_point(to);
		copy_words(from, to);
		forget_checkpoints(at);
		shmbuddy__settle(to);
		munmap(at, bytes);
	}
	saved = errno;
	free(to);
	errno = saved;
	return at == MAP_FAILED ? -1 : 0;
}

/*
 * A consistent copy of a region in this empty target, from the file at fd, of so many bytes, or from memory (-1). EAGAIN: the region grew
 * meanwhile. -1 with errno.
 */
static int fill(const struct shmbuddy *from, int fd, uint64_t bytes, const struct ma_target *target)
{
	/* Pairs with libshmbuddy/src/grow.c:publish. */
	uint64_t length = ma_load_acquire(&region_header(from)->length), area = ma_load(&from->area);
	char *path = ma_target_path(target);
	int result = path ? 0 : -1, saved;

	if (result == 0)
		result = copy_contents(from, fd, target->fd, bytes);
	if (result == 0)
		result = settle(from, target->fd, bytes, area);
	/* Nothing beyond its old end is in use before its length has changed. */
	if (result == 0 && ma_load_acquire(&region_header(from)->length) != length)
		result = ma_fail(EAGAIN, "%s: it grew meanwhile; try again", from->name);
	if (result == 0)
		result = open_once(path);
	saved = errno;
	free(path);
	errno = saved;
	return result;
}

/* ---- the calls ---- */

static int write_copy(const struct shmbuddy *h, int fd, uint64_t bytes, const char *filename)
{
	struct ma_target target;
	int result = ma_target_for_copy(&target, h->name, h->place.device, h->place.inode, filename);

	if (result == 0 && ma_target_open(&target, "snapshot", 0600) < 0)
		result = ma_fail(
			errno,
			"%s: cannot make a snapshot: no file can be created in its folder; check permissions and space",
			filename);
	if (result == 0)
		result = fill(h, fd, bytes, &target);
	if (result == 0 && ma_target_commit(&target, true) < 0)
		result = ma_fail(errno,
				 "%s: cannot make a snapshot: it cannot be written to disk and named: fsync(2) or "
				 "linkat(2) failed; "
				 "check disk and folder",
				 filename);
	ma_target_close(&target);
	return result;
}

int shmbuddy__view_snapshot(const struct shmbuddy *h, uint64_t bytes, const char *filename)
{
	int result = write_copy(h, h->fd, bytes, filename);

	/* Whatever failed, with a view of an earlier moment, did so for that reason. Pairs with libshmbuddy/src/grow.c:publish. */
	if (result < 0 &&
	    shmbuddy__layout_area(&h->lay, ma_load_acquire(&region_header(h)->length)) != ma_load(&h->area))
		errno = EAGAIN;
	return result;
}

static int snapshot(struct shmbuddy *h, const char *filename)
{
	int fd = shmbuddy__region_fd(h);
	uint64_t bytes = h->lay.area_at + region_area(h);
	struct stat st;

	if (fd < 0 && h->mapped)
		return -1;
	if (fd >= 0 && fstat(fd, &st) < 0)
		return ma_fail(errno, "%s: cannot make a snapshot: fstat(2) failed; check the file system", h->name);
	return write_copy(h, fd, fd >= 0 ? ma_max(bytes, (uint64_t)st.st_size) : bytes, filename);
}

int shmbuddy_snapshot(shmbuddy_t *h, const char *filename)
{
	MA_UNCANCELLED;
	int result = -1, saved = errno;

	if (!region_is_open(h))
		return shmbuddy__fail_closed(h);
	for (unsigned i = 0; i < MOST_TRIES; i++) {
		result = snapshot(h, filename);
		if (result == 0 || errno != EAGAIN)
			break;
	}
	if (result == 0)
		errno = saved;
	return result;
}
