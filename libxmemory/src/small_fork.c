/* SPDX-License-Identifier: BSD-3-Clause */
/* Small blocks in VM files, over a fork: the parent copies both files, and the child maps the copies in their place. */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "directory.h"
#include "say.h"
#include "side.h"
#include "small_fork.h"

#include "common/copy.h"
#include "common/error.h"
#include "common/file.h"
#include "common/image_fd.h"
#include "common/map.h"
#include "common/snapshot.h"

/* A new file with the same contents and length. -1: none. */
static int copy_file(int from)
{
	uint32_t id;
	struct stat st;
	int to = xmemory__vm_file(&id);

	if (to < 0)
		return -1;
	if (fstat(from, &st) == 0 && ma_file_set_length(to, (uint64_t)st.st_size) == 0 &&
	    ma_copy_data(from, to, 0, (uint64_t)st.st_size) == 0)
		return to;
	close(to);
	ma_debug("no copy of the shared VM file for a fork child");
	return -1;
}

/* The side's descriptor is gone: out of memory, what has disk space. */
static int copy_side(void)
{
	uint64_t at = small->table_bytes;
	uint32_t id;
	int to = xmemory__vm_file(&id);

	if (to < 0)
		return -1;
	if (ma_file_set_length(to, at + small->top * SIDE_BYTES) < 0 ||
	    ma_write_all(to, small->chunks, small->table_backed, 0) < 0)
		goto fail;
	for (uint64_t chunk = 0; chunk < small->top; chunk++)
		if (small->chunks[chunk] & BACKED &&
		    ma_write_all(to, small->side + chunk * SIDE_BYTES, SIDE_BYTES, at + chunk * SIDE_BYTES) < 0)
			goto fail;
	return to;
fail:
	close(to);
	return -1;
}

/* Threads that end leave the heap: not now. */
void xmemory__small_copy(void)
{
	int fd;

	if (!small->map)
		return;
	ma_map_hold_all();
	fd = ma_image_fd(small->map);
	small->copy = fd >= 0 ? copy_file(fd) : ma_image_copy_for_fork(small->map);
	fd = xmemory__side_file();
	small->side_copy = fd >= 0 ? copy_file(fd) : copy_side();
	ma_map_let_go_all();
}

/* All that the table and the sides in use need, in the copy that was just mapped: what is zero had no space there yet. */
static bool back_copy(void)
{
	small->table_backed = 0;
	if (small->top > 0 && !xmemory__side_back_table(small->top - 1))
		return false;
	for (uint64_t chunk = 0; chunk < small->top; chunk++)
		if (small->chunks[chunk] & BACKED && !xmemory__side_back(chunk))
			return false;
	return true;
}

static void forget(void)
{
	uint64_t bytes = xmemory__side_file_bytes(small->map);

	xmemory__say("xmemory: this fork child has no copy of its small blocks in VM files (no disk space?): it must "
		     "not touch them");
	if (ma_load(&small->map->id) != MA_MAP_CLOSED)
		ma_map_close(ma_map_of(small->map));
	munmap(small->chunks, bytes);
	ma_fd_close(small->side_fd, small->side_id);
	small->side_fd = -1;
	small->map = NULL;
	small->top = small->live = small->loose = small->bytes = 0;
}

/* The heap itself has its copy by now (fork_copy), or is closed. */
static void adopt_side(void)
{
	ma_fd_close(small->side_fd, small->side_id);
	small->side_fd = small->side_copy;
	small->side_lost = false;
	if (small->side_fd < 0 || !ma_fd_identify(small->side_fd, &small->side_id))
		small->side_id = (struct ma_fd_id){ 0 };
	small->side_copy = -1;
	if (ma_load(&small->map->id) != MA_MAP_CLOSED && small->side_fd >= 0 &&
	    xmemory__side_map(small->map, small->chunks) && back_copy())
		xmemory__side_hide(small->top);
	else
		forget();
}

void xmemory__small_copied(bool child)
{
	if (small->map && child)
		adopt_side();
	if (small->copy >= 0)
		close(small->copy);
	if (small->side_copy >= 0)
		close(small->side_copy);
	small->copy = small->side_copy = -1;
}

/* The heap stays mapped, for what was written there before. */
void xmemory__small_orphaned(void)
{
	struct ma_image *map = small->map;

	if (!map)
		return;
	ma_map_orphan(ma_map_of(map));
	small->map = NULL;
	small->side_fd = -1;
	small->top = small->live = small->loose = small->bytes = 0;
}
