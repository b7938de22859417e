/* SPDX-License-Identifier: BSD-3-Clause */
/* See copy.h. */
#include "tools/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/target.h"

#define BUFFER 65536

static int copy_by_hand(int from, int to, off_t at, off_t end)
{
	static char buffer[BUFFER];

	while (at < end) {
		size_t want = end - at < BUFFER ? (size_t)(end - at) : BUFFER;
		ssize_t got = pread(from, buffer, want, at);

		if (got == 0)
			return 0; /* It was cut meanwhile. */
		if (got < 0 || pwrite(to, buffer, (size_t)got, at) != got)
			return -1;
		at += got;
	}
	return 0;
}

static int copy_extent(int from, int to, off_t at, off_t end)
{
	while (at < end) {
		off_t in = at, out = at;
		ssize_t done = copy_file_range(from, &in, to, &out, (size_t)(end - at), 0);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS))
			return copy_by_hand(from, to, at, end);
		if (done <= 0)
			return (int)done;
		at += done;
	}
	return 0;
}

static int copy_extents(int from, int to, off_t end)
{
	off_t at = 0;

	while (at < end) {
		off_t data = lseek(from, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			return 0;
		if (data < 0)
			return copy_extent(from, to, at, end);
		hole = lseek(from, data, SEEK_HOLE);
		if (hole <= data || hole > end)
			hole = end;
		if (data < end && copy_extent(from, to, data, hole) < 0)
			return -1;
		at = hole;
	}
	return 0;
}

int copy_contents(int from, int to, uint64_t bytes, bool *is_reflink)
{
	*is_reflink = ioctl(to, FICLONE, from) == 0;
	if (*is_reflink)
		return 0;
	return ftruncate(to, (off_t)bytes) < 0 ? -1 : copy_extents(from, to, (off_t)bytes);
}

int copy_to_name(int from, const char *name)
{
	struct ma_target target;
	struct stat st;
	bool is_reflink;
	int result;

	if (fstat(from, &st) < 0)
		return -1;
	result = ma_target_find(&target, name);
	if (result == 0 && ma_target_is_there(&target))
		result = -1;
	if (result == 0)
		result = ma_target_open(&target, "mapalloc", st.st_mode & 0777);
	if (result == 0)
		result = copy_contents(from, target.fd, (uint64_t)st.st_size, &is_reflink);
	if (result == 0)
		result = ma_target_commit(&target, false);
	ma_target_close(&target);
	return result;
}
