/* SPDX-License-Identifier: BSD-3-Clause */
/* See ckpt_map.h. */
#include "common/ckpt_map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/copy.h"
#include "common/error.h"
#include "common/file.h"

/* ---- its name ---- */

/* The name that the file at map has now, with the suffix. To be freed; NULL with errno: ENOENT it has none. */
static char *name_beside(int map)
{
	char *path = malloc(PATH_MAX + sizeof(MA_CKPT_SUFFIX)), link[32];
	struct stat own, named;
	ssize_t length;

	if (!path)
		return NULL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", map);
	length = readlink(link, path, PATH_MAX);
	if (length > 0 && length < PATH_MAX) {
		path[length] = '\0';
		if (fstat(map, &own) == 0 && stat(path, &named) == 0 && own.st_dev == named.st_dev &&
		    own.st_ino == named.st_ino) {
			memcpy(path + length, MA_CKPT_SUFFIX, sizeof(MA_CKPT_SUFFIX));
			return path;
		}
	}
	free(path);
	errno = ENOENT;
	return NULL;
}

/* The checkpoint file gets the owner and the permissions of the map. */
static int create_file(const char *path, int map)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0)
		return errno == EEXIST ? open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC) : -1;
	if (fstat(map, &st) < 0 || (fchown(fd, st.st_uid, st.st_gid) < 0 && geteuid() == 0) ||
	    fchmod(fd, st.st_mode & 0666) < 0) {
		int saved = errno;

		unlink(path);
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static int open_file(int map, int mode, bool create)
{
	char *path = name_beside(map);
	struct stat st;
	int fd, saved;

	if (!path)
		return -1;
	fd = open(path, mode | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == ENOENT && create)
		fd = create_file(path, map);
	fd = ma_fd_aside(fd);
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		fd = -1;
		errno = EINVAL;
	}
	saved = errno;
	free(path);
	errno = saved;
	return fd;
}

int ma_checkpoint_file(int map, bool create)
{
	MA_UNCANCELLED;

	return open_file(map, O_RDWR, create);
}

int ma_checkpoint_file_to_read(int map)
{
	MA_UNCANCELLED;

	return open_file(map, O_RDONLY, false);
}

int ma_checkpoint_fail_file(const char *name)
{
	if (errno == EACCES || errno == EPERM)
		return ma_fail(errno,
			       "%s: cannot make a checkpoint: permission denied; check the permissions of its "
			       "checkpoint file (" MA_CKPT_SUFFIX " beside it) and of its folder",
			       name);
	return ma_fail(errno,
		       "%s: cannot make a checkpoint: its checkpoint file cannot be opened or created; check its "
		       "folder, and that the map has a name",
		       name);
}

/* When the name's end does not reach the disk, a power cut may bring the file back. That does no harm. */
int ma_checkpoint_remove(int map)
{
	MA_UNCANCELLED;
	char *path = name_beside(map);
	int result, saved;

	if (!path)
		return -1;
	result = unlink(path) == 0 || errno == ENOENT ? 0 : -1;
	saved = errno;
	free(path);
	errno = saved;
	return result;
}

int ma_checkpoint_sync_folder(int map, const char *name)
{
	char *path = name_beside(map);
	int dir = path ? open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int result = dir >= 0 ? fsync(dir) : -1;

	if (path && dir < 0)
		ma_fail(errno,
			"%s: cannot make a checkpoint: its folder cannot be opened, to write the name of the "
			"checkpoint "
			"file to disk; check that the folder may be read",
			name);
	else if (result < 0)
		ma_fail(errno, "%s: cannot make a checkpoint: fsync(2) of its folder failed; check the disk", name);
	if (dir >= 0)
		close(dir);
	free(path);
	return result;
}

/* ---- a map made from it ---- */

/*
 * Page 0 is written last. Its phase and boot id say that recovery is not finished, so after a kill the next opener restores the file again. The
 * generation never decreases. Its place stays that of this file.
 */
static int write_page_0(struct ma_ckpt *c, int map, struct ma_header *h)
{
	const struct ma_place place = { h->device, h->inode, h->mount, h->filesystem };
	uint64_t generation = ma_load(&h->generation);

	if (ma_ckpt_page(c, 0, h) < 0)
		return -1;
	ma_header_put_place(h, &place);
	ma_store(&h->generation, ma_max(generation, ma_load(&h->generation)));
	if (ma_write_all(map, h, sizeof(*h), 0) < 0 || fsync(map) < 0)
		return ma_fail(
			errno,
			"%s: cannot be made as its last checkpoint was: pwrite(2) or fsync(2) failed; check its disk",
			c->name);
	ma_debug("%s: is as its last checkpoint was", c->name);
	return 0;
}

static int fail_begin(const struct ma_ckpt *c)
{
	return ma_fail(
		errno,
		"%s: cannot be made as its last checkpoint was: its checkpoint file cannot be locked, or its own first "
		"page cannot be written; check its disk and file system",
		c->name);
}

_Static_assert(offsetof(struct ma_header, phase) / 512 == (offsetof(struct ma_header, captures) - 1) / 512,
	       "one sector");

/*
 * Before the first page changes, mark the file on the disk as durable and not recovered, with the boot id of no boot. After a kill or a power
 * cut, the next opener restores it again. All these words lie in one sector.
 */
static int write_begun(const struct ma_ckpt *c, int map, struct ma_header *h)
{
	size_t from = offsetof(struct ma_header, phase), end = offsetof(struct ma_header, captures);

	ma_store(&h->phase, 0);
	ma_store(&h->state, MA_STATE_IN_USE);
	memset(h->boot_id, 0, sizeof(h->boot_id));
	h->mount = 0;
	ma_store(&h->durable, 1);
	return ma_write_all(map, (const char *)h + from, end - from, from) < 0 || fdatasync(map) < 0 ? fail_begin(c)
												     : 0;
}

/* Before the first write: a map that cannot go back to its checkpoint as a whole keeps every byte. */
static int check_all(struct ma_ckpt *c)
{
	uint64_t wrong = ma_ckpt_check(c);

	if (wrong == 0 || wrong == UINT64_MAX)
		return wrong ? -1 : 0;
	return ma_fail(EUCLEAN,
		       "%s: cannot go back to its last checkpoint: pages of that are damaged in the checkpoint file: "
		       "%" PRIu64 "; the map is as it was",
		       c->name, wrong);
}

static int restore(struct ma_ckpt *c, int map, struct ma_header *h)
{
	if (ma_file_lock(c->fd, F_OFD_SETLKW, F_WRLCK, 0, NULL) < 0)
		return fail_begin(c);
	if (ma_ckpt_read(c, true) < 0)
		return -1;
	if (c->number == 0)
		return 1;
	if (check_all(c) < 0)
		return -1;
	if (write_begun(c, map, h) < 0 || ma_ckpt_restore(c, map) < 0)
		return -1;
	return write_page_0(c, map, h);
}

static int fail_open(const char *name)
{
	return ma_fail(errno,
		       "%s: cannot open its checkpoint file (" MA_CKPT_SUFFIX
		       " beside it): open(2) failed; check the permissions of that file",
		       name);
}

static int restore_map(int map, const char *name, struct ma_header *h)
{
	MA_UNCANCELLED;
	int fd = ma_checkpoint_file(map, false), result, saved;
	struct ma_ckpt c;

	if (fd < 0 && errno == ENOENT)
		return 1;
	if (fd < 0)
		return fail_open(name);
	ma_ckpt_init(&c, h->uuid, name);
	result = ma_ckpt_use(&c, fd) < 0 ? -1 : restore(&c, map, h);
	saved = errno;
	ma_ckpt_forget(&c);
	errno = saved;
	return result;
}

static int fail_missing(const char *name)
{
	return ma_fail(EUCLEAN,
		       "%s: the machine died, and its checkpoint file %s" MA_CKPT_SUFFIX
		       " is missing; bring that back, or take what is there with: mapalloc repair",
		       name, name);
}

static int check_again(int map, const char *name, const struct ma_header *h, unsigned kinds)
{
	enum ma_refusal why;
	struct stat st;

	if (fstat(map, &st) < 0)
		return ma_fail(errno, "%s: cannot open it: fstat(2) failed; check the file system", name);
	why = ma_header_check(h, sizeof(*h), (uint64_t)st.st_size, kinds, true);
	return why == MA_OK ? 0 : ma_refuse(why, name, h);
}

int ma_checkpoint_roll_back(int map, const char *name, struct ma_header *h, const struct ma_place *place,
			    unsigned kinds)
{
	struct ma_certainty c = ma_header_certainty(h, place);
	int result;

	if (ma_load(&h->durable) != 1 || ma_is_certain(c))
		return 0;
	result = restore_map(map, name, h);
	if (result == 0)
		return check_again(map, name, h, kinds) < 0 ? -1 : 1;
	if (result < 0)
		return -1;
	ma_store(&h->durable, 0);
	return c.same_file ? fail_missing(name) : 0;
}

int ma_checkpoint_refuse_stale(int map, const char *name, const struct ma_header *h, const struct ma_place *place)
{
	MA_UNCANCELLED;
	struct ma_certainty c = ma_header_certainty(h, place);
	int fd;

	if (ma_load(&h->durable) != 1 || ma_is_certain(c))
		return 0;
	fd = ma_checkpoint_file_to_read(map);
	if (fd < 0 && errno != ENOENT)
		return fail_open(name);
	if (fd < 0)
		return c.same_file ? fail_missing(name) : 0;
	ma_fd_shut(fd);
	return ma_fail(EUCLEAN,
		       "%s: the machine died, or it is a copy, and it is not yet what its last checkpoint was; "
		       "open it once for writing, or run: mapalloc repair",
		       name);
}

/* ---- going back on purpose ---- */

static int go_back(int fd, const char *name, unsigned kinds)
{
	struct ma_header *h = calloc(1, sizeof(*h));
	struct stat st;
	enum ma_refusal why;
	ssize_t got;
	int result;

	if (!h || fstat(fd, &st) < 0) {
		free(h);
		return ma_fail(errno,
			       "%s: cannot go back to its last checkpoint: no memory, or fstat(2) failed; try again",
			       name);
	}
	got = pread(fd, h, sizeof(*h), 0);
	why = got < 0 ? MA_REFUSE_READ : ma_header_check(h, (size_t)got, (uint64_t)st.st_size, kinds, true);
	if (why == MA_REFUSE_SHORT) /* It gets its length back. */
		why = MA_OK;
	if (why != MA_OK)
		result = ma_refuse(why, name, h);
	else
		result = ma_load(&h->durable) == 1 ? restore_map(fd, name, h) : 1;
	free(h);
	if (result <= 0)
		return result;
	return ma_fail(ENOENT,
		       "%s: cannot go back to its last checkpoint: it is not durable, or its checkpoint file is "
		       "missing; bring that back, or make it durable with: mapalloc set FILE durable=on",
		       name);
}

int ma_checkpoint_go_back(const char *filename, unsigned kinds)
{
	MA_UNCANCELLED;
	int fd = open(filename, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), result, saved;

	if (fd < 0)
		return ma_file_fail_open(filename);
	if (ma_file_attach_exclusive(fd) == 0)
		result = go_back(fd, filename, kinds);
	else
		result = ma_fail(
			EBUSY, "%s: cannot go back to its last checkpoint: a process has it open; close it there first",
			filename);
	saved = errno;
	ma_fd_shut(fd);
	errno = saved;
	return result;
}
