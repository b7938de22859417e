/* SPDX-License-Identifier: BSD-3-Clause */
/* See snapshot.h. The copy is worked on as a map of this process that is in no register, at whatever address. */
#include "common/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/file.h"
#include "common/map_file.h"
#include "common/space.h"
#include "common/target.h"

/* ---- names ---- */

static int target_find(struct ma_target *t, const struct ma_map *map, const char *filename)
{
	struct stat st;

	if (ma_target_find(t, filename) < 0)
		return errno == EINVAL ? ma_fail(EINVAL, "%s: a snapshot needs the name of a file", map->name)
				       : ma_fail(errno, "%s: cannot open the folder of %s", map->name, filename);
	if (fstatat(t->dir, t->name, &st, 0) < 0)
		return 0;
	if (!S_ISREG(st.st_mode))
		return ma_fail(S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "%s: is not a regular file", filename);
	if (map->inode && st.st_dev == map->device && st.st_ino == map->inode)
		return ma_fail(EINVAL, "%s: is the map itself", filename);
	return 0;
}

/* ---- contents ---- */

/* The copy, and what its blocks' contents are read from: the map's file, or when it has none, this process's memory. */
struct work {
	struct ma_map *copy;
	int from;
	uint64_t from_base; /* What is to be added to a place in the map. */
};

static bool is_zero(const char *bytes, size_t count)
{
	return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

/* Pages of zeros are left out: the copy's are zeros already. */
static int copy_by_hand(const struct work *w, uint64_t at, uint64_t end)
{
	char page[MA_PAGE];

	while (at < end) {
		ssize_t got = pread(w->from, page, ma_min(sizeof(page), end - at), (off_t)(w->from_base + at));

		if (got <= 0)
			return got < 0 ? -1 : 0; /* The end of the file. */
		if (!is_zero(page, (size_t)got) && pwrite(w->copy->fd, page, (size_t)got, (off_t)at) != got)
			return -1;
		at += (uint64_t)got;
	}
	return 0;
}

/* The kernel shares the blocks of file systems that can (reflink), and copies where they cannot. */
static int copy_extent(const struct work *w, uint64_t at, uint64_t end)
{
	while (at < end) {
		off_t in = (off_t)at, out = (off_t)at;
		ssize_t done = copy_file_range(w->from, &in, w->copy->fd, &out, end - at, 0);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS))
			return copy_by_hand(w, at, end);
		if (done <= 0)
			return (int)done;
		at += (uint64_t)done;
	}
	return 0;
}

static int copy_extents(const struct work *w, uint64_t at, uint64_t end)
{
	while (at < end) {
		off_t data = lseek(w->from, (off_t)at, SEEK_DATA);
		off_t hole;

		if (data < 0)
			return errno == ENXIO ? 0 : copy_extent(w, at, end); /* No more, or no knowledge of holes. */
		if ((uint64_t)data >= end)
			return 0;
		hole = lseek(w->from, data, SEEK_HOLE);
		if (hole <= data)
			hole = (off_t)end;
		if (copy_extent(w, (uint64_t)data, ma_min((uint64_t)hole, end)) < 0)
			return -1;
		at = (uint64_t)hole;
	}
	return 0;
}

/* Its disk space too: the copy must not fail later where the map could not. */
static int copy_part(uint64_t from, uint64_t bytes, void *arg)
{
	const struct work *w = arg;
	int result = w->from_base ? copy_by_hand(w, from, from + bytes) : copy_extents(w, from, from + bytes);

	return result < 0 ? -1 : ma_space_take(w->copy, from, bytes);
}

static int copy_blocks(struct ma_map *copy)
{
	const struct ma_map *map = copy->source;
	struct work w = { .copy = copy, .from = map->fd };
	int result;

	if (map->fd < 0) {
		w.from = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
		w.from_base = (uint64_t)(uintptr_t)map->base;
		if (w.from < 0)
			return -1;
	} else {
		w.from = ma_map_reopen(map->fd, MA_MAP_RDONLY); /* Another one's place in the file stays his. */
		if (w.from < 0)
			return -1;
	}
	result = copy->engine->used(copy, copy_part, &w);
	close(w.from);
	return result;
}

/* ---- the copy as a map ---- */

/* A map without a file, and a view that grows by itself, say that they are as long as they can get. */
static uint64_t length_now(struct ma_map *map)
{
	if (map->fd >= 0 || !map->engine->end)
		return ma_load_acquire(&map->header->length);
	return ma_min(map->mapped, ma_max(map->engine->end(map), map->lay.user_off));
}

static int copy_open(struct ma_map *copy, struct ma_map *map, int fd)
{
	uint64_t length = length_now(map);
	struct stat st;
	void *at;

	*copy = (struct ma_map){
		.id = MA_MAP_CLOSED,
		.engine = map->engine,
		.fd = fd,
		.sealed = map->sealed,
		.source = map,
		.mapped = length,
	};
	snprintf(copy->name, sizeof(copy->name), "snapshot of %.200s", map->name);
	ma_store(&copy->sealed.length, length);
	if (fstat(fd, &st) < 0 || ma_file_set_length(fd, length) < 0)
		return ma_fail(errno, "%s: cannot make it %" PRIu64 " bytes long", copy->name, length);
	at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (at == MAP_FAILED)
		return ma_fail(errno, "%s: no address space", copy->name);
	copy->device = st.st_dev;
	copy->inode = st.st_ino;
	copy->base = at;
	copy->header = at;
	return ma_map_lay_out(copy) ? 0 : ma_fail(EUCLEAN, "%s: impossible numbers", copy->name);
}

/* Everything but the magic number, which comes with the first page's state, last. */
static int copy_all(struct ma_map *copy)
{
	const struct ma_engine *engine = copy->engine;

	engine->own_metadata(copy);
	if (copy->own_errno)
		return ma_fail(copy->own_errno, "%s: cannot write its tables", copy->name);
	ma_store(&copy->header->length, ma_load(&copy->sealed.length));
	if (copy_blocks(copy) < 0)
		return ma_fail(errno, "%s: cannot copy its blocks", copy->name);
	if (engine->renew(copy) < 0)
		return -1;
	ma_body_recover(copy);
	if (engine->hollow)
		engine->hollow(copy);
	return ma_map_check_whole(copy) == MA_ATTACH_DONE ? 0 : -1;
}

/* As if its last user had closed and synced it. */
static void copy_seal(struct ma_map *copy)
{
	struct ma_header *h = copy->header;

	memset(h->process, 0, sizeof(h->process));
	ma_map_mark_ready(copy);
	ma_store(&h->state, MA_STATE_SYNCED);
	memcpy(h->magic, MA_MAGIC, sizeof(h->magic));
}

static int take(struct ma_map *map, struct ma_target *t)
{
	struct ma_map *copy = malloc(sizeof(*copy));
	int result = -1;
	int err;

	if (!copy)
		return -1;
	copy->base = NULL;
	if (copy_open(copy, map, t->fd) == 0 && copy_all(copy) == 0) {
		copy_seal(copy);
		result = ma_target_commit(t, true);
		if (result < 0)
			ma_fail(errno, "%s: cannot be written to disk and named %s", copy->name, t->name);
	}
	err = errno;
	if (copy->base)
		munmap(copy->base, copy->mapped);
	free(copy);
	errno = err;
	return result;
}

int ma_map_snapshot(struct ma_map *map, const char *filename)
{
	struct ma_target t;
	int result = target_find(&t, map, filename);

	if (result == 0)
		result = ma_target_open(&t, "snapshot", 0600) < 0
				 ? ma_fail(errno, "%s: no file can be made beside it", filename)
				 : take(map, &t);
	ma_target_close(&t);
	return result;
}
