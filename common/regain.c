/* SPDX-License-Identifier: BSD-3-Clause */
/* See regain.h. */
#include "common/regain.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>

#include "common/body.h"
#include "common/cancel.h"
#include "common/error.h"
#include "common/file.h"
#include "common/image_fd.h"
#include "common/recover.h"
#include "common/space.h"

/* Only where space is taken without changing what is there: other threads write. */
static bool can_take(int fd)
{
	return ma_file_take(fd, 0, 1) == 0 || (errno != EOPNOTSUPP && errno != ENOSYS);
}

/* With all streams, whose words say what there is. A lock that cannot be had: the next look tries again. */
static int take_all(struct ma_image *map)
{
	uint32_t lanes;
	int result;

	if (!ma_body_hold(map, &lanes))
		return 0;
	result = ma_image_take_space(map);
	ma_body_let_go(map, lanes);
	return result;
}

static uint64_t blocks_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks : 0;
}

static int look(struct ma_image *map)
{
	int saved = errno, fd = ma_image_fd(map), result = 0;
	uint64_t blocks = fd >= 0 ? blocks_of(fd) : 0;

	if (blocks && (blocks < ma_load(&map->blocks) || ma_load(&map->lacks_space)) && can_take(fd)) {
		result = take_all(map);
		blocks = blocks_of(fd);
		ma_store(&map->lacks_space, result < 0);
	}
	if (blocks)
		ma_store(&map->blocks, blocks);
	if (result == 0)
		errno = saved;
	return result;
}

/* A process that has not allocated yet has nothing to look after, and no slot to lock with. */
static bool is_ours(const struct ma_image *map)
{
	return map->fd >= 0 && ma_image_writable(map) && !(map->mode & MA_MAP_PRIVATE) &&
	       ma_load(&map->slot) != MA_NO_SLOT;
}

int ma_regain(struct ma_image *map)
{
	return is_ours(map) ? look(map) : 0;
}

int ma_regain_now_and_then(struct ma_image *map)
{
	struct timespec now;
	uint64_t looked = ma_load(&map->looked);

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (MA_LIKELY(looked == (uint64_t)now.tv_sec) || !ma_cas_relaxed(&map->looked, &looked, (uint64_t)now.tv_sec)) {
		if (MA_LIKELY(!ma_load(&map->lacks_space)))
			return 0;
		return ma_fail(ENOSPC, "%s: the file lost disk space of blocks in use; free space on its file system",
			       map->name);
	}
	return is_ours(map) && ma_image_length(map) <= MA_REGAIN_MOST ? look(map) : 0;
}
