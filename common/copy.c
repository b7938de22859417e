/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See copy.h. copy_file_range(2) has been seen to return 0 before the end of a file, to fail with EPERM in containers, with EIO on network
 * file systems, and with EXDEV after a part was copied. None of these says that the bytes cannot be read and written: so that is
 * tried, from the first byte that is not known to be copied, and its result counts.
 */
#include "common/copy.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static bool is_zero(const char *bytes, size_t count)
{
	return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

/* A write may end early: at a signal, or shortly before the disk is full. */
int ma_write_all(int to, const void *from, size_t count, uint64_t at)
{
	const char *bytes = from;

	while (count > 0) {
		ssize_t done = pwrite(to, bytes, count, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done == 0)
			errno = ENOSPC;
		if (done <= 0)
			return -1;
		bytes += done;
		at += (uint64_t)done;
		count -= (size_t)done;
	}
	return 0;
}

/* A process that has changed its user may not open its own memory as a file. */
static ssize_t read_part(int from, char *page, size_t bytes, uint64_t at)
{
	struct iovec to = { page, bytes }, memory = { (void *)(uintptr_t)at, bytes };

	if (from < 0)
		return process_vm_readv(getpid(), &to, 1, &memory, 1, 0);
	return pread(from, page, bytes, (off_t)at);
}

int ma_copy_by_hand(int from, uint64_t shift, int to, uint64_t at, uint64_t end)
{
	char page[MA_PAGE];

	while (at < end) {
		ssize_t got = read_part(from, page, ma_min(sizeof(page), end - at), shift + at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0) /* It was cut meanwhile. */
			errno = ENODATA;
		if (got <= 0)
			return -1;
		if (!is_zero(page, (size_t)got) && ma_write_all(to, page, (size_t)got, at) < 0)
			return -1;
		at += (uint64_t)got;
	}
	return 0;
}

int ma_copy_range(int from, int to, uint64_t at, uint64_t end)
{
	while (at < end) {
		off_t in = (off_t)at, out = (off_t)at;
		ssize_t done = copy_file_range(from, &in, to, &out, end - at, 0);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return ma_copy_by_hand(from, 0, to, at, end);
		at += ma_min((uint64_t)done, end - at);
	}
	return 0;
}

int ma_copy_data(int from, int to, uint64_t at, uint64_t end)
{
	while (at < end) {
		off_t data = lseek(from, (off_t)at, SEEK_DATA);
		off_t hole;

		if (data < 0)
			return errno == ENXIO
				       ? 0
				       : ma_copy_range(from, to, at, end); /* No more, or no knowledge of holes. */
		if ((uint64_t)data >= end)
			return 0;
		hole = lseek(from, data, SEEK_HOLE);
		if (hole <= data)
			hole = (off_t)end;
		if (ma_copy_range(from, to, (uint64_t)data, ma_min((uint64_t)hole, end)) < 0)
			return -1;
		at = (uint64_t)hole;
	}
	return 0;
}
