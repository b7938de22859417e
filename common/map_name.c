/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a map's file: by its name, or by a descriptor of the caller's. */
#include "common/map_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fd.h"
#include "common/file.h"
#include "common/image_fd.h"

/* One that this process had to keep open, in place of another one. */
static int parked(const struct ma_open *how)
{
	int access_mode = how->flags & (MA_MAP_RDONLY | MA_MAP_PRIVATE) ? O_RDONLY : O_RDWR;
	struct stat st;
	int found = how->filename ? stat(how->filename, &st) : fstat(how->fd, &st);

	return found == 0 ? ma_fd_unpark(st.st_dev, st.st_ino, access_mode) : -1;
}

/* New files are made exclusively, which follows no symbolic link. */
static int open_name(const char *name, unsigned flags, bool *created)
{
	int how = (flags & (MA_MAP_RDONLY | MA_MAP_PRIVATE) ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd;

	*created = false;
	do {
		fd = open(name, how);
		if (fd >= 0 || errno != ENOENT || !(flags & MA_MAP_CREATE))
			return fd;
		fd = open(name, how | O_CREAT | O_EXCL, 0600);
	} while (fd < 0 && errno == EEXIST && access(name, F_OK) == 0);
	*created = fd >= 0;
	return fd;
}

int ma_map_open_file(struct ma_image *map, const struct ma_open *how, struct ma_opening *found, struct stat *st)
{
	map->mode = how->flags;
	map->punch_bytes = how->punch_bytes;
	if (how->filename)
		snprintf(map->name, sizeof(map->name), "%s", how->filename);
	else
		ma_file_name(how->fd, map->name, sizeof(map->name));
	map->fd = parked(how);
	if (map->fd < 0 && how->filename)
		map->fd = ma_fd_aside(open_name(how->filename, how->flags, &found->named));
	else if (map->fd < 0)
		map->fd = ma_image_reopen(how->fd, how->flags);
	if (map->fd < 0)
		return ma_file_fail_open(map->name);
	if (fstat(map->fd, st) < 0)
		return ma_fail(errno, "%s: cannot open it: fstat(2) failed; check the file system", map->name);
	if (!S_ISREG(st->st_mode))
		return ma_fail(S_ISDIR(st->st_mode) ? EISDIR : EINVAL,
			       "%s: cannot open it: it is %s, not a regular file; name a file", map->name,
			       S_ISDIR(st->st_mode) ? "a directory" : "a device, a FIFO or a socket");
	ma_image_set_file(map, map->fd, st->st_dev, st->st_ino);
	ma_image_set_fd(map, map->fd);
	if (!(how->flags & (MA_MAP_RDONLY | MA_MAP_PRIVATE)))
		ma_image_probe(map);
	return 0;
}
