/* SPDX-License-Identifier: BSD-3-Clause */
/* See make.h. */
#include "tools/make.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
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
	};

	return mmalloc_attach_opt(fd, (void *)(uintptr_t)plan->base, &options);
}

static void *open_kind(const char *file, int fd, const struct make_plan *plan)
{
	const struct shmbuddy_options options = {
		.capacity = plan->size,
		.smallest = plan->smallest,
		.largest = plan->largest,
	};
	void *base = (void *)(uintptr_t)plan->base;

	if (plan->kind == MA_KIND_STATIC)
		return qalloc_makestatmap((off_t)ma_min(plan->size, INT64_MAX), base, file, plan->item, plan->streams);
	if (plan->kind == MA_KIND_DYNAMIC)
		return qalloc_makedynmap((off_t)ma_min(plan->size, INT64_MAX), base, file, plan->streams);
	return plan->kind == MA_KIND_MMALLOC ? open_mmalloc(fd, plan) : (void *)shmbuddy_open(file, &options);
}

enum status make_open(struct tool *tool, const char *file, const struct make_plan *plan, struct made *made)
{
	enum status status = STATUS_OK;
	int fd;

	reason_clear();
	fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return complain_making(tool, file, "cannot make it");
	made->kind = plan->kind;
	made->map = open_kind(file, fd, plan);
	if (!made->map) {
		status = complain_reason(tool, file, "cannot make it");
		unlink(file);
	} else {
		made->base =
			plan->kind == MA_KIND_SHMBUDDY ? shmbuddy_base(made->map) : ((struct ma_map *)made->map)->base;
	}
	close(fd);
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

int make_close(struct made *made)
{
	int result;

	if (made->kind == MA_KIND_SHMBUDDY)
		return shmbuddy_sync(made->map) < 0 ? -1 : shmbuddy_close(made->map);
	if (made->kind == MA_KIND_MMALLOC) {
		result = mmalloc_sync(made->map);
		return mmalloc_detach(made->map) ? -1 : result;
	}
	result = qalloc_sync(made->map);
	return qalloc_close(made->map) < 0 ? -1 : result;
}
