/* SPDX-License-Identifier: BSD-3-Clause */
/* See inuse.h. */
#include "common/inuse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/boot.h"
#include "common/cancel.h"
#include "common/error.h"

#define FIRST  offsetof(struct ma_header, state)
#define SECOND offsetof(struct ma_header, boot_id)
#define END    offsetof(struct ma_header, tag)

/* All of it lies in one sector of the disk. */
_Static_assert(FIRST / 512 == (END - 1) / 512, "one sector");

static int put(int fd, const struct ma_header *h, size_t from, size_t to)
{
	return pwrite(fd, (const char *)h + from, to - from, (off_t)from) == (ssize_t)(to - from) ? 0 : -1;
}

/*
 * Who was here comes first, then that it is in use: between the two the file is certain for both reasons. The data of the file are on the
 * disk already, so fdatasync(2) writes this page alone.
 */
static int write_down(int fd, const struct ma_header *h)
{
	if (put(fd, h, SECOND, END) < 0 || put(fd, h, FIRST, SECOND) < 0)
		return -1;
	return fdatasync(fd);
}

/* Of *now, which becomes what the header is to be, only the bytes that are written count. */
static int begin(int fd, const struct ma_header *h, const struct ma_place *place, struct ma_header *now)
{
	int saved;

	memcpy((char *)now + FIRST, (const char *)h + FIRST, END - FIRST);
	ma_store(&now->state, MA_STATE_IN_USE);
	ma_boot_id(now->boot_id);
	now->mount = place->mount;
	if (write_down(fd, now) == 0)
		return 0;
	saved = errno;
	put(fd, h, FIRST, END); /* Nothing was changed: on the disk either is right. */
	errno = saved;
	return -1;
}

int ma_inuse_begin(int fd, const char *name, const struct ma_header *h, const struct ma_place *place)
{
	MA_UNCANCELLED;
	struct ma_certainty c = ma_header_certainty(h, place);
	struct ma_header *now; /* Callers' stacks are small, and have one header already. */
	int saved = errno, result;

	/* On another device too: it may have the number that the header has when the machine starts again. */
	if (!c.synced || h->inode != place->inode)
		return 0;
	now = malloc(sizeof(*now));
	result = now ? begin(fd, h, place, now) : -1;
	if (result == 0)
		errno = saved;
	else
		ma_fail(errno,
			"%s: cannot open it: \"in use\" cannot be written to its first page on the disk; check the "
			"disk and its "
			"free space, or open it read-only",
			name);
	saved = errno;
	free(now);
	errno = saved;
	return result;
}
