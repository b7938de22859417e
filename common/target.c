/* SPDX-License-Identifier: BSD-3-Clause */
/* See target.h. */
#include "common/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base.h"
#include "common/error.h"

#define NAME_TRIES 100

int ma_target_find(struct ma_target *t, const char *filename)
{
	*t = (struct ma_target){ .dir = -1, .fd = -1 };
	if (!filename || !*filename || filename[strlen(filename) - 1] == '/') {
		errno = EINVAL;
		return -1;
	}
	t->part[0] = strdup(filename);
	t->part[1] = strdup(filename);
	if (!t->part[0] || !t->part[1])
		return -1;
	t->dirname = dirname(t->part[0]);
	t->name = basename(t->part[1]);
	t->dir = ma_fd_aside(open(t->dirname, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	return t->dir < 0 || !ma_fd_identify(t->dir, &t->dir_id) ? -1 : 0;
}

int ma_target_for_copy(struct ma_target *t, const char *map, uint64_t device, uint64_t inode, const char *filename)
{
	struct stat st;

	if (ma_target_find(t, filename) < 0)
		return errno == EINVAL
			       ? ma_fail(EINVAL, "%s: cannot make a snapshot: it has no file name; pass one", map)
			       : ma_fail(errno,
					 "%s: cannot make a snapshot: its folder cannot be opened; check that it "
					 "exists",
					 filename);
	if (fstatat(t->dir, t->name, &st, 0) < 0)
		return 0;
	if (!S_ISREG(st.st_mode))
		return ma_fail(S_ISDIR(st.st_mode) ? EISDIR : EINVAL,
			       "%s: cannot make a snapshot there: it is %s, not a regular file; choose another name",
			       filename, S_ISDIR(st.st_mode) ? "a directory" : "a device, a FIFO or a socket");
	if (inode && st.st_dev == device && st.st_ino == inode)
		return ma_fail(EINVAL, "%s: cannot make a snapshot there: it is the map itself; choose another name",
			       filename);
	return 0;
}

bool ma_target_is_there(const struct ma_target *t)
{
	struct stat st;

	if (fstatat(t->dir, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	errno = EEXIST;
	return true;
}

/* A name that no file has: make(it) fails with EEXIST when one does. */
static int with_new_name(struct ma_target *t, const char *kind, int (*make)(struct ma_target *t))
{
	int result = -1;

	for (unsigned i = 0; i < NAME_TRIES; i++) {
		struct timespec now;
		uint64_t number;

		clock_gettime(CLOCK_REALTIME, &now);
		number = ma_mix((uint64_t)getpid() << 32 ^ (uint64_t)now.tv_nsec ^ ma_mix((uint64_t)now.tv_sec + i));
		snprintf(t->temporary, sizeof(t->temporary), ".%.20s-%016" PRIx64, kind, number);
		result = make(t);
		if (result >= 0 || errno != EEXIST)
			break;
	}
	if (result < 0)
		t->temporary[0] = '\0';
	return result;
}

static int make_file(struct ma_target *t)
{
	return openat(t->dir, t->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static int link_as(struct ma_target *t, const char *name)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", t->fd);
	return linkat(AT_FDCWD, path, t->dir, name, AT_SYMLINK_FOLLOW);
}

static int make_link(struct ma_target *t)
{
	return link_as(t, t->temporary);
}

/* A file without a name vanishes with a killed process. Without /proc it could not be given one later. */
int ma_target_open(struct ma_target *t, const char *kind, mode_t mode)
{
	if (access("/proc/self/fd", X_OK) == 0)
		t->fd = openat(t->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (t->fd < 0)
		t->fd = with_new_name(t, kind, make_file);
	t->fd = ma_fd_aside(t->fd);
	if (t->fd < 0 || !ma_fd_identify(t->fd, &t->id))
		return -1;
	t->kind = kind;
	return mode == 0600 ? 0 : fchmod(t->fd, mode);
}

char *ma_target_path(const struct ma_target *t)
{
	char *path;
	int result = t->temporary[0] ? asprintf(&path, "%s/%s", t->dirname, t->temporary)
				     : asprintf(&path, "/proc/self/fd/%d", t->fd);

	return result < 0 ? NULL : path;
}

/* The temporary name becomes the one, and no other file is in its place. */
static int rename_new(struct ma_target *t)
{
	if (renameat2(t->dir, t->temporary, t->dir, t->name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (linkat(t->dir, t->temporary, t->dir, t->name, 0) < 0)
		return -1;
	return unlinkat(t->dir, t->temporary, 0);
}

static int take_name(struct ma_target *t, bool may_replace)
{
	if (!t->temporary[0]) {
		if (link_as(t, t->name) == 0)
			return 0;
		if (errno != EEXIST || !may_replace || with_new_name(t, t->kind, make_link) < 0)
			return -1;
	}
	if (may_replace ? renameat(t->dir, t->temporary, t->dir, t->name) : rename_new(t))
		return -1;
	t->temporary[0] = '\0';
	return 0;
}

int ma_target_commit(struct ma_target *t, bool may_replace)
{
	if (!ma_fd_is(t->fd, t->id) || !ma_fd_is(t->dir, t->dir_id)) { /* The program closed them. */
		errno = EBADF;
		return -1;
	}
	if (fsync(t->fd) < 0 || take_name(t, may_replace) < 0)
		return -1;
	return fsync(t->dir);
}

void ma_target_close(struct ma_target *t)
{
	int saved = errno;

	if (t->temporary[0] && ma_fd_is(t->dir, t->dir_id))
		unlinkat(t->dir, t->temporary, 0);
	ma_fd_close(t->fd, t->id);
	ma_fd_close(t->dir, t->dir_id);
	free(t->part[0]);
	free(t->part[1]);
	errno = saved;
}
