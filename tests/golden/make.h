/* SPDX-License-Identifier: BSD-3-Clause */
/* What the makers of golden files share: a file's bytes in memory, changed there and saved. */
#ifndef MA_TESTS_GOLDEN_MAKE_H
#define MA_TESTS_GOLDEN_MAKE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/body.h"
#include "common/header.h"
#include "common/map.h"

#define GOLDEN_BASE ((void *)0x200000000000)
#define FIELD(name) offsetof(struct ma_header, name)

static char page[2 << 20];

static size_t load(const char *name)
{
	int fd = open(name, O_RDONLY);
	ssize_t got = read(fd, page, sizeof(page));

	close(fd);
	if (got <= 0)
		abort();
	return (size_t)got;
}

static void save(const char *name, size_t bytes)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	for (size_t at = 0; at < bytes; at += 4096) {
		size_t part = bytes - at < 4096 ? bytes - at : 4096;
		size_t i = 0;

		while (i < part && !page[at + i])
			i++;
		if (i < part && pwrite(fd, page + at, part, (off_t)at) != (ssize_t)part)
			abort();
	}
	if (ftruncate(fd, (off_t)bytes) != 0)
		abort();
	close(fd);
}

static void seal(void)
{
	struct ma_header *h = (struct ma_header *)(void *)page;

	h->crc = ma_header_crc(h);
}

/* What lies there in the range, in the file that was loaded. */
__attribute__((unused)) static uint64_t *word_at(const struct ma_layout *lay, uint64_t at)
{
	uint64_t file;

	if (ma_segment_run(lay, at, 8, &file) == 0 || file >= sizeof(page))
		abort();
	return (uint64_t *)(void *)(page + file);
}

#endif /* MA_TESTS_GOLDEN_MAKE_H */
