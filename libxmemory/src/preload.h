/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a preloaded shim builds on, beside the public calls: it puts its own functions into xmemory__ram before the first call, serves a
 * call that comes from within the library (xmemory__depth) all the same, and guards descriptors from the program.
 */
#ifndef XMEMORY_PRELOAD_H
#define XMEMORY_PRELOAD_H

#include "budget.h"
#include "directory.h"
#include "fork.h"
#include "state.h"

/* Once, with an environment. Keeps a descriptor of the directory for VM files, if one can be made there. */
void xmemory__preload_begin(void);
/* Descriptors that the library keeps: the shared VM file's, its side file's, the directory's. Where descriptor i is, or NULL. */
#define XMEMORY__FOLDER 2u
int *xmemory__descriptor(unsigned i);
/* Is it one of the shared VM file's, still open, and that file's? */
bool xmemory__descriptor_is_ours(unsigned i);
/* Does this address lie in memory that a fork copies? */
bool xmemory__is_elsewhere(const void *address);

#endif /* XMEMORY_PRELOAD_H */
