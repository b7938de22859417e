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

#include "common/cancel.h"
#include "common/copy.h"
#include "common/error.h"
#include "common/file.h"
#include "common/image_fd.h"
#include "common/recover.h"
#include "common/space.h"
#include "common/target.h"

/* ---- contents ---- */

/* The copy, and what its blocks' contents are read from: the map's file, or when it has none, this process's memory. */
struct work {
	struct ma_image *copy;
	int from;
	bool is_memory;
};

/* -1 with EBADF: the program closed that, or what is copied from. */
static int target_of(const struct work *w)
{
	if (!w->is_memory && !ma_fd_is(w->from, ma_image_fd_id(w->copy->source)))
		return ma_fail(EBADF, "%s: the program closed the map's descriptor meanwhile; try again", w->copy->name);
	return ma_image_fd(w->copy);
}

/* Its disk space too: the copy must not fail later where the map could not. */
static int copy_part(uint64_t from, uint64_t bytes, void *arg)
{
	struct work *w = arg;
	uint64_t file, run;
	int to, result = 0;

	for (uint64_t at = from; at < from + bytes && result == 0; at += run) {
		run = ma_segment_run(&w->copy->lay, at, from + bytes - at, &file);
		if (run == 0)
			break;
		to = target_of(w);
		if (to < 0)
			return -1;
		result = w->is_memory ? ma_copy_by_hand(w->from, (uint64_t)(uintptr_t)w->copy->source->base + at - file,
							to, file, file + run)
				      : ma_copy_data(w->from, to, file, file + run);
	}
	return result < 0 ? -1 : ma_space_take(w->copy, from, bytes);
}

static int copy_blocks(struct ma_image *copy)
{
	const struct ma_image *map = copy->source;
	int fd = map->fd < 0 ? -1 : ma_image_fd(copy->source);
	struct work w = { .copy = copy, .from = fd };
	int result;

	if (fd < 0) { /* None, or the program closed it. */
		w.from = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
		w.is_memory = true;
	}
	result = copy->engine->used(copy, copy_part, &w);
	if (w.is_memory && w.from >= 0)
		close(w.from);
	return result;
}

/* ---- the copy as a map ---- */

/* A map without a file, and a view that grows by itself, say that they are as long as they can get. */
static uint64_t length_now(struct ma_image *map)
{
	if (map->fd >= 0 || !map->lay.grows)
		return ma_image_length(map);
	return ma_max(map->engine->end(map), map->lay.seg[0].user_file);
}

/* At whatever address: but what lies in the range stays where it is in it. */
static void *map_somewhere(struct ma_image *copy)
{
	int prot = PROT_READ | PROT_WRITE;
	void *at = mmap(NULL, copy->mapped, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	if (ma_segment_map(&copy->lay, at, copy->reach, prot, MAP_SHARED | MAP_NORESERVE, copy->fd, UINT64_MAX) == 0)
		return at;
	munmap(at, copy->mapped);
	return NULL;
}

static int fail_layout(const struct ma_image *copy)
{
	return ma_fail(EUCLEAN, "%s: cannot be laid out: its numbers are damaged; run: mapalloc check", copy->name);
}

/* Apart from its caller, whose frame has a header already. */
static MA_NOINLINE int place_in(struct ma_image *copy, int fd)
{
	struct ma_place place;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	place = ma_place_of(fd, &st);
	ma_image_set_file(copy, fd, &place);
	return 0;
}

static int copy_open(struct ma_image *copy, struct ma_image *map, int fd)
{
	struct ma_header header = map->sealed;
	char name[sizeof(copy->name)];
	void *at;

	ma_store(&header.length, length_now(map));
	snprintf(name, sizeof(name), "snapshot of %.200s", map->name);
	if (!ma_image_make(copy, map->engine, &header, name))
		return fail_layout(copy);
	copy->source = map;
	copy->reach = ma_segments_at(&copy->lay, ma_load(&header.length));
	if (place_in(copy, fd) < 0 || ma_file_set_length(fd, ma_load(&header.length)) < 0)
		return ma_fail(errno,
			       "%s: cannot be %" PRIu64
			       " bytes long: ftruncate(2) failed; check `ulimit -f` and the disk",
			       copy->name, ma_load(&header.length));
	at = map_somewhere(copy);
	if (!at)
		return ma_fail(errno,
			       "%s: cannot be mapped: no address range of %" PRIu64 " bytes is free; raise `ulimit -v`",
			       copy->name, map->sealed.reserved);
	if (!ma_image_place(copy, at))
		return fail_layout(copy);
	copy->reach = ma_segments_at(&copy->lay, ma_load(&header.length));
	return 0;
}

/* Everything but the magic number, which comes with the first page's state, last. */
static int copy_all(struct ma_image *copy)
{
	const struct ma_engine *engine = copy->engine;

	engine->privatize_metadata(copy);
	if (copy->privatize_errno)
		return ma_fail(
			copy->privatize_errno,
			"%s: cannot write its tables: no disk space, or the disk failed; free space on its file system",
			copy->name);
	ma_store(&copy->header->length, ma_load(&copy->sealed.length));
	if (copy_blocks(copy) < 0)
		return ma_fail(
			errno,
			"%s: cannot copy its blocks: no disk space, or the disk failed; free space on its file system",
			copy->name);
	if (ma_image_recover(copy, MA_RECOVER_RENEW | MA_RECOVER_TAGS) < 0)
		return -1;
	if (engine->hollow)
		engine->hollow(copy);
	return ma_image_check_whole(copy);
}

/* As if its last user had closed and synced it. */
static void copy_seal(struct ma_image *copy)
{
	struct ma_header *h = copy->header;

	ma_image_mark_ready(copy);
	ma_store(&h->state, MA_STATE_SYNCED);
	ma_store(&h->durable, 0); /* It has no checkpoint file. */
	memcpy(h->magic, MA_MAGIC, sizeof(h->magic));
}

/* A whole copy in this empty file. */
static int fill(struct ma_image *map, int fd)
{
	struct ma_image *copy = malloc(sizeof(*copy));
	int result = -1;
	int err;

	if (!copy)
		return ma_fail(ENOMEM, "%s: cannot make a snapshot: no memory for its handle; free memory", map->name);
	copy->base = NULL;
	if (copy_open(copy, map, fd) == 0 && copy_all(copy) == 0) {
		copy_seal(copy);
		result = 0;
	}
	err = errno;
	if (copy->base)
		munmap(copy->base, copy->mapped);
	free(copy);
	errno = err;
	return result;
}

static int take(struct ma_image *map, struct ma_target *t)
{
	if (fill(map, t->fd) < 0)
		return -1;
	if (ma_target_commit(t, true) < 0)
		return ma_fail(errno,
			       "snapshot of %s: cannot be written to disk and named %s: fsync(2) or linkat(2) failed; check "
			       "disk and folder",
			       map->name, t->name);
	return 0;
}

/* ---- for a fork child ---- */

/* In the folder of the map's file, where disk blocks can be shared. The kernel says where that is, also when the name is gone. */
static int nameless_beside(struct ma_image *map, int dir)
{
	char link[32], path[4096];
	int own = ma_image_fd(map);
	ssize_t length;
	char *slash;

	if (dir >= 0)
		return openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (own < 0)
		return -1;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", own);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return -1;
	path[length] = '\0';
	slash = strrchr(path, '/');
	if (!slash || slash == path) {
		errno = ENOENT;
		return -1;
	}
	*slash = '\0';
	return open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static bool is_short_of_room(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENFILE;
}

int ma_image_copy_for_fork_in(struct ma_image *map, int dir)
{
	MA_UNCANCELLED;
	int fd = nameless_beside(map, dir);

	if (fd < 0 && !is_short_of_room(errno))
		fd = memfd_create("mapalloc-fork", MFD_CLOEXEC);
	fd = ma_fd_aside(fd);
	if (fd < 0)
		return ma_fail(errno, "%s: cannot copy it for a fork child: no file without a name; free disk space", map->name);
	if (fill(map, fd) < 0) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

int ma_image_copy_for_fork(struct ma_image *map)
{
	return ma_image_copy_for_fork_in(map, -1);
}

/* ---- under a name ---- */

int ma_image_snapshot(struct ma_image *map, const char *filename)
{
	MA_UNCANCELLED;
	struct ma_target t;
	int result = ma_target_for_copy(&t, map->name, map->place.device, map->place.inode, filename);

	if (result == 0)
		result = ma_target_open(&t, "snapshot", 0600) < 0
				 ? ma_fail(errno,
					   "%s: cannot make a snapshot: no file can be created in its folder; check "
					   "permissions and space",
					   filename)
				 : take(map, &t);
	ma_target_close(&t);
	return result;
}
