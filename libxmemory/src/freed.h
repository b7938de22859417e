/* SPDX-License-Identifier: BSD-3-Clause */
/* All that is kept of freed blocks, but for what each thread keeps: pages of large blocks (large.h), and the store of small ones (kept.h). */
#ifndef XMEMORY_FREED_H
#define XMEMORY_FREED_H

#include "common/base.h"

/* In bytes. */
int64_t xmemory__freed(void);
/* Keep no more than there is room for in the budget, and than live blocks have; and nothing that was not used for two seconds. */
void xmemory__freed_fit(int64_t room, int64_t live);
/* Keep nothing. False: nothing could be returned. */
bool xmemory__freed_drop(void);

#endif /* XMEMORY_FREED_H */
