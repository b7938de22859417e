/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kinds of blocks that are not in RAM have in common: what is asked for, what a block is, figures. */
#ifndef XMEMORY_BLOCK_H
#define XMEMORY_BLOCK_H

#include "common/base.h"

/* What is asked for. */
struct xmemory__ask {
	size_t size;
	size_t alignment; /* 0: any. */
	bool zeroed;
	const char *file;
	int line;
};

/* What a live block is. */
struct xmemory__block {
	void *ptr;
	size_t size;
	uint32_t site;
	int kind; /* enum xmemory_kind */
	uint32_t vmfile;
};
typedef void xmemory__block_fn(const struct xmemory__block *block, void *arg);

/* Of VM files. */
struct xmemory__figures {
	uint64_t files;
	uint64_t bytes; /* Of blocks, as they were asked for. */
	uint64_t disk_bytes;
};

#endif /* XMEMORY_BLOCK_H */
