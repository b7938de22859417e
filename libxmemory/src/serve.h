/* SPDX-License-Identifier: BSD-3-Clause */
/* What the fast paths cannot do. The library is set up. */
#ifndef XMEMORY_SERVE_H
#define XMEMORY_SERVE_H

#include "block.h"
#include "warn.h"

/* A new block, or NULL with errno, which is kept otherwise. */
void *xmemory__get(const struct xmemory__ask *ask);
/* A block in RAM, with its entry, goes. */
void xmemory__ram_free(void *ptr, _Atomic uint64_t *place, uint64_t entry);
/* A block that is not in RAM goes. False: it is none. */
bool xmemory__elsewhere_free(void *ptr);
/* A block, of whatever kind, gets another size, and may move. NULL: it stays as it was. */
void *xmemory__resize(void *ptr, const struct xmemory__ask *ask);
/* What is no block: nothing happens but a warning, and a failure for xmemory_errmsg(). */
void xmemory__refuse(enum xmemory__warning kind, const char *call, const void *ptr, const char *file, int line);
/* At debug level 3: one line for each call. */
void xmemory__trace(const char *what, const struct xmemory__ask *ask, const void *ptr);

#endif /* XMEMORY_SERVE_H */
