/* SPDX-License-Identifier: BSD-3-Clause */
/* How much is kept of freed blocks. */
#include "freed.h"
#include "kept.h"
#include "large.h"

#define ANYWAY ((int64_t)64 << 20) /* Also when fewer bytes are live. */

int64_t xmemory__freed(void)
{
	return xmemory__large_kept() + xmemory__kept_shared();
}

void xmemory__freed_fit(int64_t room, int64_t live)
{
	int64_t most = live > ANYWAY ? live : ANYWAY;

	if (most > room)
		most = room > 0 ? room : 0;
	if (most < xmemory__kept_shared())
		xmemory__kept_empty();
	xmemory__large_trim(most - xmemory__kept_shared());
	xmemory__kept_age();
	xmemory__large_age();
}

bool xmemory__freed_drop(void)
{
	bool any = xmemory__kept_shared() > 0;

	if (any)
		xmemory__kept_empty();
	return xmemory__large_trim(0) || any;
}
