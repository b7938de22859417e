/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc-compat.h
 * @brief Redirects malloc and its kin, in the source file that includes this, to a heap of
 * libmmalloc.
 *
 * To the default heap, or to the one that the macro MMALLOC_COMPAT_MD gives when it was defined
 * before: any expression, which is evaluated at each call. Include it after the system's headers.
 * `#define MMALLOC_COMPAT` before <mmalloc.h> does the same.
 *
 * What comes from here must be freed from here: a block of the C library's malloc, such as
 * getline() gives, is not a block of the heap. Names that are followed by no parenthesis, as in a
 * table of functions, stay the C library's.
 *
 * @par Old declarations
 * `extern char *malloc();` behind this header does not compile: the shim takes it for a call, and
 * stdlib.h, which this header includes, has declared malloc() already. Three cures:
 * - delete the declaration: it is not needed any more;
 * - when the source must stay as it is:
 *   `cc -DMMALLOC_COMPAT_OLD_DECLARATIONS -include mmalloc-compat.h`. Then malloc, calloc, realloc,
 *   free and strdup with empty parentheses declare a name that nothing uses, and calls are served
 *   as ever (gcc 8, clang 6 and later). Declarations with parameters, such as
 *   `extern void *malloc(unsigned);`, must be deleted all the same;
 * - `#undef malloc` behind the inclusion, when this file's blocks may be the C library's.
 *
 * @par C++ Include the standard library's headers first: some undo these macros, others have
 * members of these names. The macros do not cover `new`, containers and std::allocator, which
 * allocate without these names.
 */
#ifndef MMALLOC_COMPAT_H
#define MMALLOC_COMPAT_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <mmalloc.h>

#ifndef MMALLOC_COMPAT_MD
/**
 * @brief The descriptor that the calls below work on: the default heap, unless it was defined
 * before.
 */
#define MMALLOC_COMPAT_MD ((void *)0)
#endif

/**
 * @brief malloc(), which as the C library's, and unlike mmalloc(), gives a block for 0 bytes.
 * @param[in] md    A descriptor, or NULL.
 * @param[in] size  Bytes.
 * @return As mmalloc().
 * @since 1.0
 */
static __inline__ void *mmalloc_compat_malloc(void *md, size_t size)
{
	return mmalloc(md, size ? size : 1);
}

/**
 * @brief calloc(), which gives a block for 0 bytes.
 * @param[in] md     A descriptor, or NULL.
 * @param[in] nmemb  Number of elements.
 * @param[in] size   Bytes of each.
 * @return As mcalloc().
 * @since 1.0
 */
static __inline__ void *mmalloc_compat_calloc(void *md, size_t nmemb, size_t size)
{
	return nmemb && size ? mcalloc(md, nmemb, size) : mcalloc(md, 1, 1);
}

/**
 * @brief realloc(), which gives a block for NULL and 0 bytes.
 * @param[in] md    A descriptor, or NULL.
 * @param[in] ptr   A block of @p md, or NULL.
 * @param[in] size  Bytes; 0 with a block: it is freed, and NULL is returned.
 * @return As mrealloc().
 * @since 1.0
 */
static __inline__ void *mmalloc_compat_realloc(void *md, void *ptr, size_t size)
{
	return ptr ? mrealloc(md, ptr, size) : mmalloc_compat_malloc(md, size);
}

/**
 * @brief aligned_alloc(), which gives a block for 0 bytes.
 * @param[in] md         A descriptor, or NULL.
 * @param[in] alignment  A power of two.
 * @param[in] size       Bytes.
 * @return As mmemalign().
 * @since 1.0
 */
static __inline__ void *mmalloc_compat_aligned_alloc(void *md, size_t alignment, size_t size)
{
	return mmemalign(md, alignment, size ? size : 1);
}

/**
 * @brief realloc() to @p nmemb times @p size bytes.
 * @param[in] md     A descriptor, or NULL.
 * @param[in] ptr    A block of @p md, or NULL.
 * @param[in] nmemb  Number of elements.
 * @param[in] size   Bytes of each.
 * @return As mrealloc(); ENOMEM also when the product is more than there can be.
 * @since 1.0
 */
static __inline__ void *mmalloc_compat_reallocarray(void *md, void *ptr, size_t nmemb, size_t size)
{
	if (size && nmemb > (size_t)-1 / size) {
		errno = ENOMEM;
		return NULL;
	}
	return mmalloc_compat_realloc(md, ptr, nmemb * size);
}

/**
 * @brief posix_memalign(): errno stays.
 * @param[in] md         A descriptor, or NULL.
 * @param[out] out       Where the block's address goes; it stays as it is when there is none.
 * @param[in] alignment  A power of two, and a multiple of the size of a pointer.
 * @param[in] size       Bytes.
 * @return 0, or the error: EINVAL @p alignment is no such number; else as mmemalign().
 * @since 1.0
 */
static __inline__ int mmalloc_compat_posix_memalign(void *md, void **out, size_t alignment,
						    size_t size)
{
	int saved = errno;
	int result;
	void *block;

	if (alignment % sizeof(void *) || alignment == 0 || (alignment & (alignment - 1)))
		return EINVAL;
	block = mmemalign(md, alignment, size ? size : 1);
	result = block ? 0 : errno;
	errno = saved;
	if (block)
		*out = block;
	return result;
}

/**
 * @brief Copy at most so many bytes of a string into a new block.
 * @param[in] md    A descriptor, or NULL.
 * @param[in] text  The string; it needs no closing zero within @p most bytes.
 * @param[in] most  Bytes, without the closing zero that the copy gets.
 * @return The copy; NULL with errno as mmalloc().
 * @since 1.0
 */
static __inline__ char *mmalloc_compat_strndup(void *md, const char *text, size_t most)
{
	size_t length = 0; /* Not by strnlen(), which strict C90 and C99 do not declare. */
	char *copy;

	while (length < most && text[length])
		length++;
	copy = (char *)mmalloc(md, length + 1);
	if (copy) {
		memcpy(copy, text, length);
		copy[length] = '\0';
	}
	return copy;
}

/**
 * @brief Copy a string into a new block.
 * @param[in] md    A descriptor, or NULL.
 * @param[in] text  The string.
 * @return The copy; NULL with errno as mmalloc().
 * @since 1.0
 */
static __inline__ char *mmalloc_compat_strdup(void *md, const char *text)
{
	return mmalloc_compat_strndup(md, text, strlen(text));
}

#undef malloc
#undef calloc
#undef realloc
#undef free
#undef reallocarray
#undef posix_memalign
#undef aligned_alloc
#undef strdup
#undef strndup
#ifdef MMALLOC_COMPAT_OLD_DECLARATIONS
/* The fourth of them: with no argument the name to declare, with one or two the call. */
#define MMALLOC__FOURTH(a, b, c, d, ...) d
#define MMALLOC__PICK(call, name, ...) \
	MMALLOC__FOURTH(0 __VA_OPT__(, ) __VA_ARGS__, call, call, name, 0)(__VA_ARGS__)
#define MMALLOC__MALLOC(size) mmalloc_compat_malloc(MMALLOC_COMPAT_MD, (size))
#define MMALLOC__CALLOC(nmemb, size) mmalloc_compat_calloc(MMALLOC_COMPAT_MD, (nmemb), (size))
#define MMALLOC__REALLOC(ptr, size) mmalloc_compat_realloc(MMALLOC_COMPAT_MD, (ptr), (size))
#define MMALLOC__FREE(ptr) mfree(MMALLOC_COMPAT_MD, (ptr))
#define MMALLOC__STRDUP(text) mmalloc_compat_strdup(MMALLOC_COMPAT_MD, (text))
#define malloc(...) MMALLOC__PICK(MMALLOC__MALLOC, mmalloc_old_malloc, __VA_ARGS__)
#define calloc(...) MMALLOC__PICK(MMALLOC__CALLOC, mmalloc_old_calloc, __VA_ARGS__)
#define realloc(...) MMALLOC__PICK(MMALLOC__REALLOC, mmalloc_old_realloc, __VA_ARGS__)
#define free(...) MMALLOC__PICK(MMALLOC__FREE, mmalloc_old_free, __VA_ARGS__)
#define strdup(...) MMALLOC__PICK(MMALLOC__STRDUP, mmalloc_old_strdup, __VA_ARGS__)
#else
/** @brief mmalloc_compat_malloc() on #MMALLOC_COMPAT_MD. */
#define malloc(size)                   mmalloc_compat_malloc(MMALLOC_COMPAT_MD, (size))
/** @brief mmalloc_compat_calloc() on #MMALLOC_COMPAT_MD. */
#define calloc(nmemb, size)            mmalloc_compat_calloc(MMALLOC_COMPAT_MD, (nmemb), (size))
/** @brief mmalloc_compat_realloc() on #MMALLOC_COMPAT_MD. */
#define realloc(ptr, size)             mmalloc_compat_realloc(MMALLOC_COMPAT_MD, (ptr), (size))
/** @brief mfree() on #MMALLOC_COMPAT_MD. */
#define free(ptr)                      mfree(MMALLOC_COMPAT_MD, (ptr))
/** @brief mmalloc_compat_strdup() on #MMALLOC_COMPAT_MD. */
#define strdup(text)                   mmalloc_compat_strdup(MMALLOC_COMPAT_MD, (text))
#endif
/** @brief mmalloc_compat_reallocarray() on #MMALLOC_COMPAT_MD. */
#define reallocarray(ptr, nmemb, size) \
	mmalloc_compat_reallocarray(MMALLOC_COMPAT_MD, (ptr), (nmemb), (size))
/** @brief mmalloc_compat_posix_memalign() on #MMALLOC_COMPAT_MD. */
#define posix_memalign(out, alignment, size) \
	mmalloc_compat_posix_memalign(MMALLOC_COMPAT_MD, (out), (alignment), (size))
/** @brief mmalloc_compat_aligned_alloc() on #MMALLOC_COMPAT_MD. */
#define aligned_alloc(alignment, size) \
	mmalloc_compat_aligned_alloc(MMALLOC_COMPAT_MD, (alignment), (size))
/** @brief mmalloc_compat_strndup() on #MMALLOC_COMPAT_MD. */
#define strndup(text, most)            mmalloc_compat_strndup(MMALLOC_COMPAT_MD, (text), (most))

#endif /* MMALLOC_COMPAT_H */
