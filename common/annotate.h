/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What Valgrind and ASan are told of a map's blocks.
 *
 * Both keep their knowledge per process. A block that this process freed may be dealt out to another one and then be read
 * here, rightly. So by default only maps that no other process sees are annotated (private and anonymous ones, and
 * those whose fork child gets a copy);
 * <LIB>_ANNOTATE=1 in the environment says that this process has its shared maps for itself too. In an annotated map
 * the fast paths are off (map->annotated): these functions run in the slow paths only and cost a normal run nothing.
 *
 * The unused rest of a slot and every freed slot may not be touched (poisoned for ASan, no access for Valgrind), and what
 * malloc gives is undefined to Valgrind. Valgrind is not told of blocks as of malloc's own: what lives in a map is meant
 * to outlive the process, and its leak report would call all of it lost.
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
	VALGRIND_MAKE_MEM_NOACCESS(p, room);
	if (zeroed)
		VALGRIND_MAKE_MEM_DEFINED(p, size);
	else
		VALGRIND_MAKE_MEM_UNDEFINED(p, size);
#endif
}

MA_INLINE void ma_annotate_free(void *p, size_t room)
{
	(void)p, (void)room;
#if MA_ASAN
	ASAN_POISON_MEMORY_REGION(p, room);
#endif
#ifdef HAVE_VALGRIND_MEMCHECK_H
	VALGRIND_MAKE_MEM_NOACCESS(p, room);
#endif
}

/* The whole room may be read, for a copy; a free follows. */
MA_INLINE void ma_annotate_open(void *p, size_t room)
{
	(void)p, (void)room;
#if MA_ASAN
	ASAN_UNPOISON_MEMORY_REGION(p, room);
#endif
#ifdef HAVE_VALGRIND_MEMCHECK_H
	VALGRIND_MAKE_MEM_DEFINED(p, room);
#endif
}

/* May all of it be read, and was it written? The tool reports nothing when not. */
MA_INLINE bool ma_annotate_readable(const void *p, size_t bytes)
{
	(void)p, (void)bytes;
#if MA_ASAN
	if (__asan_region_is_poisoned((void *)(uintptr_t)p, bytes))
		return false;
#endif
#ifdef HAVE_VALGRIND_MEMCHECK_H
	for (size_t i = 0; i < bytes; i++) {
		unsigned char bits = 0;

		/* 0: no Valgrind. 1: had them; a bit that is set is undefined. */
		if (VALGRIND_GET_VBITS((const char *)p + i, &bits, 1) > 1 || bits)
			return false;
	}
#endif
	return true;
}

/* The same block, another size; its contents stay. */
MA_INLINE void ma_annotate_resize(void *p, size_t size, size_t room)
{
	ma_annotate_malloc(p, size, room, true);
}

/*
 * A new mapping that no block was ever dealt out of. Valgrind's leak check would read all of it, a page at a time. (ASan would
 * have to write to a shadow of an eighth of it.)
 */
MA_INLINE void ma_annotate_unused(void *p, size_t bytes)
{
	(void)p, (void)bytes;
#ifdef HAVE_VALGRIND_MEMCHECK_H
	VALGRIND_MAKE_MEM_NOACCESS(p, bytes);
#endif
}

/*
 * The part of a mapping that lies beyond the end of its file. Another process may extend the file and allocate blocks there before
 * this process has read the new length. So Valgrind reports no invalid access in this part.
 */
MA_INLINE void ma_annotate_beyond(void *p, size_t bytes)
{
	(void)p, (void)bytes;
#ifdef HAVE_VALGRIND_MEMCHECK_H
	VALGRIND_MAKE_MEM_NOACCESS(p, bytes);
	VALGRIND_DISABLE_ADDR_ERROR_REPORTING_IN_RANGE(p, bytes);
#endif
}

/* The file has these bytes now. */
MA_INLINE void ma_annotate_arrived(void *p, size_t bytes)
{
	(void)p, (void)bytes;
#ifdef HAVE_VALGRIND_MEMCHECK_H
	VALGRIND_MAKE_MEM_DEFINED(p, bytes);
	VALGRIND_ENABLE_ADDR_ERROR_REPORTING_IN_RANGE(p, bytes);
#endif
}

/* What ma_annotate_beyond() said of a mapping is void: it goes. */
MA_INLINE void ma_annotate_gone(void *p, size_t bytes)
{
	(void)p, (void)bytes;
#ifdef HAVE_VALGRIND_MEMCHECK_H
	VALGRIND_ENABLE_ADDR_ERROR_REPORTING_IN_RANGE(p, bytes);
#endif
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
