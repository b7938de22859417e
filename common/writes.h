/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages of a mapping this process has written to. The kernel (Linux 6.7) write-protects pages, lets the first store to each through by
 * itself, and tells which were stored to: userfaultfd(2) with asynchronous write protection, and ioctl(PAGEMAP_SCAN). What it does not know,
 * because the page was not in memory meanwhile, counts as written.
 *
 * It knows nothing of other processes, and of writes to the file by system calls.
 */
#ifndef MA_WRITES_H
#define MA_WRITES_H

#include "common/base.h"

struct ma_writes {
	int uffd; /* -1: nothing is tracked. */
};

#define MA_WRITES_NONE     \
	{                  \
		.uffd = -1 \
	}

/* Track shared mappings at these addresses from now on, too. False: this kernel does not, or may not. errno stays. */
bool ma_writes_add(struct ma_writes *w, char *at, uint64_t bytes);
/* No more. The program may have closed the descriptor. errno stays. */
void ma_writes_end(struct ma_writes *w);

/*
 * Each run of pages in [at, at + bytes) that may have been written to since the last scan, until fn returns something but 0: that. A page that is
 * stored to while the scan runs is reported by it or by the next one. -1 with errno: what is tracked is not known any more.
 */
int ma_writes_scan(const struct ma_writes *w, char *at, uint64_t bytes,
		   int (*fn)(char *from, uint64_t count, void *arg), void *arg);

#endif /* MA_WRITES_H */
