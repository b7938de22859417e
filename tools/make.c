/* SPDX-License-Identifier: BSD-3-Clause */
/* See make.h. */
#include "tools/make.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mmalloc.h>
#include <qalloc.h>
#include <shmbuddy.h>

uint32_t make_kind(const char *name)
{
	for (uint32_t number = MA_KIND_STATIC; number <= MA_KIND_SHMBUDDY; number++)
		if (strcmp(kind_name(number), name) == 0)
			return number;
	return 0;
}

static void *open_mmalloc(int fd, const struct make_plan *plan)
{
	const struct mmalloc_options options = {
		.streams = (unsigned)ma_min(plan->streams, UINT32_MAX),
		.reserve = plan->size,
		.processes = plan->processes,
	};

	return mmalloc_attach_opt(fd, (void *)(uintptr_t)plan->base, &options);
}

static void *open_kind(const struct made *made, const struct make_plan *plan)
{
	const struct shmbuddy_options options = {
		.capacity = plan->size,
		.smallest = plan->smallest,
		.largest = plan->largest,
		.range = plan->range,
	};
	void *base = (void *)(uintptr_t)plan->base;
	const struct qalloc_options map = {
		.size = plan->size,
		.item = plan->kind == MA_KIND_STATIC ? plan->item : 0,
		.base = base,
		.streams = plan->streams,
		.range = plan->range,
		.processes = plan->processes,
	};

	if (plan->kind == MA_KIND_STATIC && plan->item == 0) {
		errno = EINVAL;
		return NULL;
	}
	if (plan->kind == MA_KIND_STATIC || plan->kind == MA_KIND_DYNAMIC)
		return qalloc_make(made->path, &map);
	return plan->kind == MA_KIND_MMALLOC ? open_mmalloc(made->target.fd, plan)
					     : (void *)shmbuddy_open(made->path, &options);
}

/* With mode and owner of the file that it replaces. */
static int dress(int fd, const struct stat *like)
{
	struct stat st;

	if (!like)
		return 0;
	if (fstat(fd, &st) < 0)
		return -1;
	if ((st.st_uid != like->st_uid || st.st_gid != like->st_gid) && fchown(fd, like->st_uid, like->st_gid) < 0)
		return -1;
	return fchmod(fd, like->st_mode & 07777);
}

static int open_target(const char *file, const struct stat *like, struct made *made)
{
	struct ma_target *target = &made->target;

	if (ma_target_find(target, file) < 0 || (!like && ma_target_is_there(target)) ||
	    ma_target_open(target, "mapalloc", 0600) < 0 || dress(target->fd, like) < 0)
		return -1;
	made->path = ma_target_path(&made->target);
	return made->path ? 0 : -1;
}

enum status make_open(struct tool *tool, const char *file, const struct make_plan *plan, const struct stat *like,
		      struct made *made)
{
	enum status status;

	*made = (struct made){ .kind = plan->kind, .target = { .dir = -1, .fd = -1 } };
	last_error_clear();
	if (open_target(file, like, made) == 0) {
		last_error_alias(made->path);
		made->map = open_kind(made, plan);
	}
	if (made->map) {
		made->base = plan->kind == MA_KIND_SHMBUDDY ? shmbuddy_base(made->map)
							    : ((struct ma_image *)made->map)->base;
		return STATUS_OK;
	}
	status = complain_making(tool, file, "cannot make it");
	make_drop(made);
	return status;
}

uint64_t make_block(struct made *made, uint64_t size)
{
	void *block;

	if (made->kind == MA_KIND_SHMBUDDY)
		return shmbuddy_malloc(made->map, size);
	block = made->kind == MA_KIND_MMALLOC ? mmalloc(made->map, size) : qalloc_malloc(made->map, size);
	return block ? (uint64_t)((char *)block - made->base) : 0;
}

int make_root(struct made *made, const char *name, uint64_t offset)
{
	if (made->kind == MA_KIND_SHMBUDDY)
		return shmbuddy_setroot(made->map, *name ? name : NULL, offset);
	if (made->kind == MA_KIND_MMALLOC)
		return mmalloc_setroot(made->map, name, made->base + offset);
	return qalloc_setroot(made->map, name, made->base + offset);
}

int make_key(struct made *made, int key, uint64_t value)
{
	if (made->kind == MA_KIND_MMALLOC && mmalloc_setkey(made->map, key, (void *)(uintptr_t)value))
		return 0;
	errno = EINVAL;
	return -1;
}

int make_tag(struct made *made, uint64_t tag)
{
	if (made->kind == MA_KIND_SHMBUDDY)
		return shmbuddy_settag(made->map, tag);
	return made->kind == MA_KIND_MMALLOC ? mmalloc_settag(made->map, tag) : qalloc_settag(made->map, tag);
}

static int sync_and_close(struct made *made)
{
	void *map = made->map;
	int result;

	made->map = NULL;
	if (made->kind == MA_KIND_SHMBUDDY) {
		result = shmbuddy_sync(map);
		return shmbuddy_close(map) < 0 ? -1 : result;
	}
	if (made->kind == MA_KIND_MMALLOC) {
		result = mmalloc_sync(map);
		return mmalloc_detach(map) ? -1 : result;
	}
	result = qalloc_sync(map);
	return qalloc_close(map) < 0 ? -1 : result;
}

enum status make_finish(struct tool *tool, const char *file, bool may_replace, struct made *made)
{
	enum status status = STATUS_OK;

	if (sync_and_close(made) < 0)
		status = complain_last_error(tool, file, "cannot write it");
	else if (ma_target_commit(&made->target, may_replace) < 0)
		status = complain_making(tool, file, "cannot give it its name");
	make_drop(made);
	return status;
}

void make_drop(struct made *made)
{
	if (made->map)
		sync_and_close(made);
	ma_target_close(&made->target);
	last_error_alias(NULL);
	free(made->path);
	made->path = NULL;
}
