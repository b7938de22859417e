/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a thread's cache for a map is found (thread.h): in one of a few thread-local places, which thread.c defines. */
#ifndef MA_TLS_H
#define MA_TLS_H

#include "common/base.h"

#define MA_TLS_SLOTS   8
#define MA_TLS_WATCHED MA_TLS_SLOTS /* The place of maps whose every call must be seen: no cache is ever in it. */

struct ma_tcache;

/* Initial-exec: one load from the thread pointer. The model costs static TLS space, so this array is all that we keep. */
extern _Thread_local struct ma_tcache *ma_tls[MA_TLS_SLOTS + 1] __attribute__((tls_model("initial-exec")));

/*
 * Every thread has the array at the same distance from what its fs register points to; a map knows the distance of its
 * place. So a look at it is two loads, where going by way of the array is three and an index. (The sanitizers take the
 * distance for an address.)
 */
#if defined(__x86_64__) && defined(__SEG_FS) && !MA_ASAN && !MA_TSAN
#define ma_tcache_slot(at) ((struct ma_tcache * __seg_fs *)(intptr_t)(at))

MA_INLINE int32_t ma_tls_at(uint32_t index)
{
	char *self;

	__asm__("mov %%fs:0, %0" : "=r"(self));
	return (int32_t)((char *)&ma_tls[index] - self);
}
#else
#define ma_tcache_slot(at) (&ma_tls[at])

MA_INLINE int32_t ma_tls_at(uint32_t index)
{
	return (int32_t)index;
}
#endif

#endif /* MA_TLS_H */
