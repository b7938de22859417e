/* SPDX-License-Identifier: BSD-3-Clause */
/* See file.h. */
#include "common/file.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

int ma_file_lock(int fd, int command, short type, off_t byte, struct flock *out)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
	int result;

	do
		result = fcntl(fd, command, &lock);
	while (result < 0 && errno == EINTR);
	if (out)
		*out = lock;
	return result;
}

static int attach(int fd, short type)
{
	if (ma_file_lock(fd, F_OFD_SETLK, type, MA_FILE_ATTACH_BYTE, NULL) == 0)
		return 0;
	if (errno == EACCES)
		errno = EAGAIN;
	if (errno != EAGAIN)
		errno = ENOLCK;
	return -1;
}

int ma_file_attach_exclusive(int fd)
{
	return attach(fd, F_WRLCK);
}

int ma_file_attach_shared(int fd)
{
	return attach(fd, F_RDLCK);
}

void ma_file_detach(int fd)
{
	ma_file_lock(fd, F_OFD_SETLK, F_UNLCK, MA_FILE_ATTACH_BYTE, NULL);
}

int ma_file_take(int fd, uint64_t from, uint64_t to)
{
	int result;

	do
		result = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from));
	while (result < 0 && errno == EINTR);
	return result;
}

/*
 * File systems without fallocate: write one zero a page. Only pages that begin inside the range: the byte written is then
 * one that nobody uses yet. The page that the range begins in was taken with what lies before it.
 */
int ma_file_take_by_writing(int fd, uint64_t from, uint64_t to)
{
	for (uint64_t at = ma_up(from, MA_PAGE); at < to; at += MA_PAGE) {
		char byte;

		if (pread(fd, &byte, 1, (off_t)at) < 0)
			return -1;
		if (byte == 0 && pwrite(fd, &byte, 1, (off_t)at) != 1)
			return -1;
	}
	return 0;
}

bool ma_file_allowed(uint64_t length)
{
	struct rlimit limit;

	if (length <= INT64_MAX &&
	    (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY || length <= limit.rlim_cur))
		return true;
	errno = EFBIG;
	return false;
}

int ma_file_set_length(int fd, uint64_t length)
{
	int result;

	if (!ma_file_allowed(length))
		return -1;
	do
		result = ftruncate(fd, (off_t)length);
	while (result < 0 && errno == EINTR);
	return result;
}

int ma_file_above_standard(int fd)
{
	int above, error;

	if (fd < 0 || fd > STDERR_FILENO)
		return fd;
	above = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	error = errno;
	close(fd);
	errno = error;
	return above;
}
