/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See lost.h. From the first hole on one fallocate(2) takes all: holes and data may alternate in each page, and the kernel
 * passes over what is there faster than a call for each of them would.
 */
#include "common/lost.h"

#include <errno.h>
#include <unistd.h>

#include "common/file.h"

int ma_lost_take(int fd, uint64_t from, uint64_t to)
{
	int saved = errno;
	off_t hole;

	if (from >= to)
		return 0;
	hole = lseek(fd, (off_t)from, SEEK_HOLE);
	errno = saved;
	if (hole >= (off_t)to)
		return 0;
	return ma_file_take(fd, hole > (off_t)from ? ma_down((uint64_t)hole, MA_PAGE) : from, to);
}
