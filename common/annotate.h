/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What Valgrind and ASan are told. Under either, the fast paths are off (map->watched), so these run in the slow
 * paths only and cost a normal run nothing but a test there.
 *
 * Valgrind hears of each block as of one that malloc gave out. ASan has the unused rest of a slot and every free
 * slot poisoned, once that slot has been dealt out in this process.
 */
#ifndef MA_ANNOTATE_H
#define MA_ANNOTATE_H

#include "common/base.h"

#if MA_ASAN
#include <sanitizer/asan_interface.h>
#endif
#ifdef HAVE_VALGRIND_MEMCHECK_H
#include <valgrind/memcheck.h>
#endif

MA_INLINE bool ma_under_valgrind(void)
{
#ifdef HAVE_VALGRIND_MEMCHECK_H
	return RUNNING_ON_VALGRIND != 0;
#else
	return false;
#endif
}

/* size bytes at p were dealt out; room is what the slot has. */
MA_INLINE void ma_annotate_malloc(void *p, size_t size, size_t room, bool zeroed)
{
	(void)p, (void)size, (void)room, (void)zeroed;
#if MA_ASAN
	ASAN_POISON_MEMORY_REGION(p, room);
	ASAN_UNPOISON_MEMORY_REGION(p, size);
#endif
#ifdef HAVE_VALGRIND_MEMCHECK_H
	VALGRIND_MALLOCLIKE_BLOCK(p, size, 0, zeroed);
#endif
}

MA_INLINE void ma_annotate_free(void *p, size_t room)
{
	(void)p, (void)room;
#if MA_ASAN
	ASAN_POISON_MEMORY_REGION(p, room);
#endif
#ifdef HAVE_VALGRIND_MEMCHECK_H
	VALGRIND_FREELIKE_BLOCK(p, 0);
#endif
}

/* The same block, another size. */
MA_INLINE void ma_annotate_resize(void *p, size_t size, size_t room)
{
	ma_annotate_free(p, room);
	ma_annotate_malloc(p, size, room, true);
}

/* A mapping comes or goes: forget what was said about these addresses. */
MA_INLINE void ma_annotate_reset(void *p, size_t bytes)
{
	(void)p, (void)bytes;
#if MA_ASAN
	ASAN_UNPOISON_MEMORY_REGION(p, bytes);
#endif
}

#endif /* MA_ANNOTATE_H */
