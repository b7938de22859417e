/* SPDX-License-Identifier: BSD-3-Clause */
/* See exclusive.h. */
#include "tools/exclusive.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/file.h"

enum status exclusive_refuse(struct tool *tool, const char *name, const char *what, const char *why)
{
	complain(tool, name, "not %s: %s", what, why);
	return STATUS_REFUSED;
}

/* Users of a region take no lock while they use it, and readers of any kind take none: so the kernel is asked too. */
static const char *obstacle(int fd, const struct view *seen)
{
	int exclusive;

	if (ma_file_attach_exclusive(fd) < 0)
		return errno == EAGAIN ? "another process is attached to it"
				       : "its file system has no locks: it cannot be told whether it is in use";
	exclusive = processes_exclusive(fd);
	if (exclusive == 0)
		return "another process has it open or mapped";
	if (exclusive < 0 && MA_KIND_FLOATS(seen->header.kind) && seen->processes.proc_unknown)
		return "it cannot be told whether another process has it mapped";
	return NULL;
}

enum status exclusive_open(struct tool *tool, const char *name, const struct view *seen, const char *what, int *fd)
{
	const char *why;

	*fd = -1;
	if (seen->header.rocompat)
		return exclusive_refuse(tool, name, what, "it has features that this program can only read");
	last_error_clear();
	*fd = open(name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0)
		return complain_last_error(tool, name, "cannot open it for writing");
	why = obstacle(*fd, seen);
	if (!why)
		return STATUS_OK;
	close(*fd);
	*fd = -1;
	return exclusive_refuse(tool, name, what, why);
}

bool exclusive_map(struct view *view, int fd)
{
	const struct ma_place place = ma_place_of(fd, &view->st);

	ma_image_set_file(&view->map, fd, &place);
	ma_image_set_mode(&view->map, 0);
	if (!view->region)
		return ma_segment_map(&view->map.lay, view->base, view->map.reach, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_NORESERVE, fd, UINT64_MAX) == 0;
	return mmap(view->base, view->mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) !=
	       MAP_FAILED;
}
