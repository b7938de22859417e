/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork() of a thread whose stack lies in shared memory. Parent and child would both go on on this stack, and each would return to where the
 * other one had been. It is the same when only the thread's control block lies there: at the end of a stack that pthread_attr_setstack() got. The
 * C library writes the child's thread id to it, and the parent's locks are then of a thread that does not exist.
 *
 * A fork handler cannot make fork() fail. So the child does not get this memory: it dies of SIGSEGV at once, a line says so, and the
 * parent is not touched.
 *
 * What is not noticed: a signal handler on a stack of its own (sigaltstack(2)) forks, and interrupted a function on such a stack that
 * makecontext(3) made.
 */
#ifndef MA_FORKSTACK_H
#define MA_FORKSTACK_H

#include <pthread.h>
#include <sys/mman.h>

#include "common/base.h"
#include "common/page.h"

/* What to say of it: the memory's name, and what to call the memory. */
#define MA_FORKSTACK_SAYS "%s: fork() on a stack that lies in %s: the child dies of SIGSEGV; use a stack outside it"

/* Does the stack of this thread, or its control block, lie in these bytes? */
MA_INLINE bool ma_forkstack_is_in(const void *base, uint64_t bytes)
{
	uintptr_t at = (uintptr_t)base;

	return (uintptr_t)__builtin_frame_address(0) - at < bytes || (uintptr_t)pthread_self() - at < bytes;
}

/* Before the fork, and after it in the parent. All pages that these bytes lie in. */
MA_INLINE void ma_forkstack_advise(const void *base, uint64_t bytes, int advice)
{
	uintptr_t first = ma_down((uintptr_t)base, ma_page()), end = ma_up((uintptr_t)base + bytes, ma_page());

	madvise((void *)first, end - first, advice);
}

MA_INLINE void ma_forkstack_bar(const void *base, uint64_t bytes)
{
	ma_forkstack_advise(base, bytes, MADV_DONTFORK);
}

MA_INLINE void ma_forkstack_unbar(const void *base, uint64_t bytes)
{
	ma_forkstack_advise(base, bytes, MADV_DOFORK);
}

#endif /* MA_FORKSTACK_H */
