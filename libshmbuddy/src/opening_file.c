/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a region's file: by its name, or by a descriptor of the caller's. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fd.h"
#include "common/file.h"
#include "opening.h"

static int open_name(struct opening *how, int flags)
{
	mode_t mode = how->options.mode ? how->options.mode : 0600;
	int fd;

	how->created = false;
	do {
		fd = ma_fd_aside(open(how->filename, flags));
		if (fd >= 0 || errno != ENOENT || wants(how, SHMBUDDY_EXISTING | SHMBUDDY_RDONLY))
			return fd;
		fd = ma_fd_aside(open(how->filename, flags | O_CREAT | O_EXCL, mode));
	} while (fd < 0 && errno == EEXIST && access(how->filename, F_OK) == 0);
	how->created = fd >= 0;
	return fd;
}

/* An open file description of our own, for the lock. */
static int reopen(const struct opening *how, int flags)
{
	int had = fcntl(how->fd, F_GETFL);

	if (had < 0)
		return -1;
	if ((flags & O_ACCMODE) == O_RDWR && (had & O_ACCMODE) != O_RDWR) {
		errno = EACCES;
		return -1;
	}
	return shmbuddy__handle_reopen(how->fd, flags);
}

/* One that this process had to keep open, in place of another one. */
static int parked(const struct opening *how, int flags)
{
	struct stat st;
	int found = how->filename ? stat(how->filename, &st) : fstat(how->fd, &st);

	return found == 0 ? ma_fd_unpark((uint64_t)st.st_dev, (uint64_t)st.st_ino, flags & O_ACCMODE) : -1;
}

int shmbuddy__opening_file(struct shmbuddy *h, struct opening *how)
{
	int flags = (h->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

	h->fd = parked(how, flags);
	if (h->fd < 0)
		h->fd = how->filename ? open_name(how, flags) : reopen(how, flags);
	if (h->fd < 0)
		return ma_file_fail_open(h->name);
	if (fstat(h->fd, &how->st) < 0)
		return ma_fail(errno, "%s: cannot open it: fstat(2) failed; check the file system", h->name);
	if (!S_ISREG(how->st.st_mode))
		return ma_fail(S_ISDIR(how->st.st_mode) ? EISDIR : EINVAL,
			       "%s: cannot open it: it is %s, not a regular file; name a file", h->name,
			       S_ISDIR(how->st.st_mode) ? "a directory" : "a device, a FIFO or a socket");
	h->device = (uint64_t)how->st.st_dev;
	h->inode = (uint64_t)how->st.st_ino;
	h->mark = ma_fd_mark(h->fd);
	return 0;
}

bool shmbuddy__opening_leads_here(const struct shmbuddy *h, const struct opening *how)
{
	struct stat now;

	return stat(how->filename, &now) == 0 && (uint64_t)now.st_ino == h->inode && (uint64_t)now.st_dev == h->device;
}
