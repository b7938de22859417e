/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands that change whether a map is durable, or that go back to its last checkpoint, by the libraries' own calls; see checkpoints.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/ckpt_map.h"
#include "common/copy.h"
#include "tools/checkpoints.h"
#include "tools/exclusive.h"
#include <mmalloc.h>
#include <qalloc.h>
#include <shmbuddy.h>

/* ---- one map of any kind, for this process alone ---- */

static void *open_mmalloc(const char *name)
{
	const struct mmalloc_options how = { .flags = MMALLOC_EXCLUSIVE };
	int fd = open(name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	void *md = fd < 0 ? NULL : mmalloc_attach_opt(fd, NULL, &how);
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
	return md;
}

static void *open_alone(const char *name, uint32_t kind)
{
	const struct shmbuddy_options how = { .flags = SHMBUDDY_EXISTING | SHMBUDDY_EXCLUSIVE };

	if (kind == MA_KIND_SHMBUDDY)
		return shmbuddy_open(name, &how);
	return kind == MA_KIND_MMALLOC ? open_mmalloc(name) : qalloc_open(name, QALLOC_EXCLUSIVE);
}

static int close_it(void *map, uint32_t kind)
{
	int error = errno, result;

	if (kind == MA_KIND_SHMBUDDY)
		result = shmbuddy_close(map);
	else if (kind == MA_KIND_MMALLOC)
		result = mmalloc_detach(map) ? -1 : 0;
	else
		result = qalloc_close(map);
	if (result == 0)
		errno = error;
	return result;
}

static int make_durable(void *map, uint32_t kind)
{
	if (kind == MA_KIND_SHMBUDDY)
		return shmbuddy_durable(map);
	return kind == MA_KIND_MMALLOC ? mmalloc_durable(map) : qalloc_durable(map);
}

static enum status fail(struct tool *tool, const char *name, const char *what)
{
	bool is_busy = errno == EBUSY;
	enum status status = complain_last_error(tool, name, what);

	return is_busy ? STATUS_REFUSED : status;
}

/* ---- ---- */

enum status checkpoints_settle(struct tool *tool, const char *name, uint32_t kind)
{
	void *map;

	last_error_clear();
	map = open_alone(name, kind);
	if (!map || close_it(map, kind) < 0)
		return fail(tool, name, "cannot be opened");
	return STATUS_OK;
}

enum status checkpoints_refuse_stale(const struct view *view, const char *what)
{
	complain(view->tool, view->name,
		 "not %s: the machine died, or it is a copy, and the next open makes it what its last checkpoint was; "
		 "open it once, or run: mapalloc repair",
		 what);
	return STATUS_REFUSED;
}

enum status checkpoints_begin(struct tool *tool, const char *name, uint32_t kind)
{
	enum status status = STATUS_OK;
	void *map;

	last_error_clear();
	map = open_alone(name, kind);
	if (!map)
		return fail(tool, name, "cannot be made durable");
	if (make_durable(map, kind) < 0)
		status = fail(tool, name, "cannot be made durable");
	if (close_it(map, kind) < 0 && status == STATUS_OK)
		status = fail(tool, name, "cannot be closed");
	return status;
}

/* Does the file beside the map belong to it? A damaged head tells nothing. */
static bool is_another_maps(int fd, const struct ma_header *h)
{
	struct ma_ckpt_head head;
	bool ours = false, others = false;
	int file = ma_checkpoint_file_to_read(fd);

	for (off_t i = 0; file >= 0 && i < 2; i++) {
		if (pread(file, &head, sizeof(head), (off_t)MA_PAGE * i) != (ssize_t)sizeof(head) ||
		    memcmp(head.magic, MA_CKPT_MAGIC, sizeof(head.magic)) != 0)
			continue;
		if (memcmp(head.uuid, h->uuid, sizeof(head.uuid)) == 0)
			ours = true;
		else
			others = true;
	}
	if (file >= 0)
		close(file);
	return others && !ours;
}

/* First the map is on disk, then it says so: killed or cut in between, it is durable, with its checkpoint file, or it is not. */
int checkpoints_end(int fd)
{
	const uint64_t off = 0;

	if (fsync(fd) < 0 || ma_write_all(fd, &off, sizeof(off), offsetof(struct ma_header, durable)) < 0)
		return -1;
	return fsync(fd);
}

int checkpoints_remove(int fd)
{
	struct ma_header h;

	if (pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h))
		return -1;
	return is_another_maps(fd, &h) ? 0 : ma_checkpoint_remove(fd);
}
