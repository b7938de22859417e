/* SPDX-License-Identifier: BSD-3-Clause */
/* The debug channel of calls that a signal handler may make: one write(2) of fixed texts. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "region.h"

int shmbuddy__fail(const struct shmbuddy *h, int err, const char *text)
{
	static const char name[] = "shmbuddy: ";
	char line[160];
	size_t bytes = strlen(text);

	if (h && h->debug && bytes < sizeof(line) - sizeof(name)) {
		memcpy(line, name, sizeof(name) - 1);
		memcpy(line + sizeof(name) - 1, text, bytes);
		bytes += sizeof(name) - 1;
		line[bytes++] = '\n';
		if (write(STDERR_FILENO, line, bytes) < 0)
			bytes = 0; /* Nobody to tell. */
	}
	errno = err;
	return -1;
}

bool shmbuddy__region_may_write(const struct shmbuddy *h)
{
	if (!region_is_open(h))
		shmbuddy__fail(NULL, EBADF, "");
	else if (!h->writable)
		shmbuddy__fail(h, EROFS, "the region is open for reading only");
	else
		return true;
	return false;
}
