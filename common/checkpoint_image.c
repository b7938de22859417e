/* SPDX-License-Identifier: BSD-3-Clause */
/* See checkpoint_image.h. */
#include "common/checkpoint_image.h"

#include <errno.h>

#include "common/body.h"
#include "common/cancel.h"
#include "common/error.h"
#include "common/file.h"
#include "common/image_fd.h"
#include "common/lock.h"
#include "common/process.h"
#include "common/regain.h"
#include "common/slot.h"
#include "common/space.h"

/* ---- what checkpoint.c asks of a map ---- */

static int fd_of(void *arg)
{
	return ma_image_fd(arg);
}

static bool stretch(void *arg, uint32_t i, struct ma_stretch *s)
{
	const struct ma_image *map = arg;

	if (i >= map->lay.seg[map->reach - 1].slices)
		return false;
	*s = (struct ma_stretch){ map->base + map->lay.slice[i].at, map->lay.slice[i].file, map->lay.slice[i].bytes };
	return true;
}

/* Processes that lost their locks count, too. */
static bool is_alone(void *arg)
{
	struct ma_image *map = arg;
	struct flock found;
	int fd = ma_image_fd(map);

	return fd >= 0 && ma_file_lock(fd, F_OFD_GETLK, F_WRLCK, MA_FILE_MEMBER_BYTE, &found) == 0 &&
	       found.l_type == F_UNLCK && !ma_slot_is_used_unlocked(map);
}

static void let_go(void *arg)
{
	struct ma_image *map = arg;

	ma_lock_give(&ma_body(map)->length_lock);
	ma_body_let_go(map, map->held);
}

/* The length last, as those do who make a file longer. When there are more streams by then, once more. */
static int hold(void *arg)
{
	struct ma_image *map = arg;

	for (;;) {
		if (!ma_body_hold(map, &map->held))
			return -1;
		if (ma_lock_take(map, &ma_body(map)->length_lock, ma_body_slot(map)) == MA_LOCK_STUCK) {
			ma_body_let_go(map, map->held);
			return -1;
		}
		if (map->held == ma_lanes(map))
			return 0;
		let_go(map);
	}
}

struct to_file {
	struct ma_image *map;
	int (*fn)(uint64_t from, uint64_t bytes, void *arg);
	void *arg;
};

/* Where the file has these bytes of the range. */
static int in_file(uint64_t from, uint64_t bytes, void *arg)
{
	const struct to_file *to = arg;
	uint64_t file, run;
	int result = 0;

	for (uint64_t at = from; result == 0 && at < from + bytes; at += run) {
		run = ma_segment_run(&to->map->lay, at, from + bytes - at, &file);
		if (run == 0)
			break;
		result = to->fn(file, run, to->arg);
	}
	return result;
}

/* Roots go first: the blocks that they lead to were there before. Then all that lies before and behind the user area. */
static int tables(void *arg, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *fn_arg)
{
	struct ma_image *map = arg;
	struct to_file to = { map, fn, fn_arg };
	uint64_t user = map->lay.user_off, end = user + map->lay.user_bytes;
	struct ma_stretch s;
	int result = map->engine->tables(map, in_file, &to);

	for (uint32_t i = 0; result == 0 && stretch(map, i, &s); i++) {
		uint64_t at = map->lay.slice[i].at, till = at + s.bytes;

		if (at < user)
			result = fn(s.file, ma_min(till, user) - at, fn_arg);
		if (result == 0 && till > end)
			result = fn(s.file + (ma_max(at, end) - at), till - ma_max(at, end), fn_arg);
	}
	return result;
}

/* ---- a map's checkpoints ---- */

static bool has_no_file(const struct ma_image *map)
{
	return map->fd < 0 || (map->mode & (MA_MAP_RDONLY | MA_MAP_PRIVATE | MA_MAP_ANON));
}

/* Made at the first use. */
static struct ma_checkpoint *checkpoints_of(struct ma_image *map)
{
	struct ma_checkpointed of = {
		.map = map,
		.name = map->name,
		.header = map->header,
		.fd = fd_of,
		.stretch = stretch,
		.is_alone = is_alone,
		.hold = hold,
		.let_go = let_go,
		.tables = tables,
	};

	pthread_mutex_lock(&map->mutex);
	if (!map->checkpoint)
		map->checkpoint = ma_checkpoint_new(&of);
	pthread_mutex_unlock(&map->mutex);
	return map->checkpoint;
}

/*
 * Before anything of the parent's is used: a child that fork's handlers know nothing of has its capture, the number of its descriptor, and what
 * it knows of its own stores.
 */
static int notice_child(struct ma_image *map)
{
	if (MA_UNLIKELY(!ma_load(ma_process_mark)))
		ma_process_notice();
	if (ma_load(&map->id) != MA_MAP_CLOSED)
		return 0;
	return ma_fail(EBADF, "%s: the map is closed in this fork child: open it again", map->name);
}

bool ma_image_is_durable(const struct ma_image *map)
{
	return !has_no_file(map) && ma_load(&map->header->durable) == 1;
}

int ma_image_make_durable(struct ma_image *map)
{
	MA_UNCANCELLED;
	struct ma_checkpoint *c;

	if (notice_child(map) < 0)
		return -1;
	if (has_no_file(map))
		return ma_fail(
			EROFS,
			"%s: cannot be durable: it is read-only, private, or has no file; open the file for writing",
			map->name);
	c = checkpoints_of(map);
	if (!c || ma_checkpoint_sync(c, true) < 0)
		return -1;
	ma_store(&map->header->durable, 1);
	return ma_space_sync(map, 0, MA_PAGE);
}

static int sync_map(struct ma_image *map, bool waits)
{
	MA_UNCANCELLED;
	struct ma_checkpoint *c;
	int regained;

	if (notice_child(map) < 0)
		return -1;
	regained = ma_regain(map);
	if (!ma_image_is_durable(map))
		return ma_space_sync_all(map) < 0 ? -1 : regained;
	c = checkpoints_of(map);
	return !c || ma_checkpoint_sync(c, waits) < 0 ? -1 : regained;
}

int ma_image_sync(struct ma_image *map)
{
	return sync_map(map, true);
}

int ma_image_sync_now(struct ma_image *map)
{
	return sync_map(map, false);
}

static int fail_not_durable(const struct ma_image *map)
{
	return ma_fail(EINVAL,
		       "%s: cannot make a checkpoint in two steps: the map is not durable; make it durable first",
		       map->name);
}

int ma_image_capture(struct ma_image *map)
{
	MA_UNCANCELLED;
	struct ma_checkpoint *c;

	if (notice_child(map) < 0)
		return -1;
	if (!ma_image_is_durable(map))
		return fail_not_durable(map);
	c = checkpoints_of(map);
	return c ? ma_checkpoint_capture(c) : -1;
}

int ma_image_commit(struct ma_image *map)
{
	MA_UNCANCELLED;
	struct ma_checkpoint *c;

	if (notice_child(map) < 0)
		return -1;
	if (!ma_image_is_durable(map))
		return fail_not_durable(map);
	c = checkpoints_of(map);
	return c ? ma_checkpoint_commit(c) : -1;
}

void ma_image_end_checkpoints(struct ma_image *map)
{
	ma_checkpoint_end(map->checkpoint);
	map->checkpoint = NULL;
}

void ma_image_fork_checkpoints(struct ma_image *map)
{
	ma_checkpoint_fork(map->checkpoint);
}
