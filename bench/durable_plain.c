/* SPDX-License-Identifier: BSD-3-Clause */
/* What the disk can do: the blocks are written where they are, which a power cut leaves half done, and synced. */
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "durable.h"

#define PAGE 4096

static int fd = -1;
static char page[PAGE];

static void write_block(uint32_t block)
{
	if (pwrite(fd, page, PAGE, (off_t)block * PAGE) != PAGE)
		die("pwrite");
}

static void fill(const char *dir, uint32_t blocks)
{
	fd = open(path_in(dir, "plain"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		die("plain");
	memset(page, 1, PAGE);
	for (uint32_t i = 0; i < blocks; i++)
		write_block(i);
	if (fdatasync(fd) < 0)
		die("fdatasync");
}

static void change(const uint32_t *block, uint32_t count, const void *bytes)
{
	memcpy(page, bytes, BLOCK_BYTES);
	for (uint32_t i = 0; i < count; i++)
		write_block(block[i]);
	if (fdatasync(fd) < 0)
		die("fdatasync");
}

static void close_it(void)
{
	close(fd);
}

const struct store store_plain = { "pwrite, fdatasync (not atomic)", fill, change, close_it };
