/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc-compat.h
 * @brief Redirects malloc and its kin, in the source file that includes this, to a heap of libmmalloc.
 *
 * To the default heap, or to the one that the macro MMALLOC_COMPAT_MD gives when it was defined before: any expression, which
 * is evaluated at each call. Include it after the system's headers. `#define MMALLOC_COMPAT` before <mmalloc.h> does the same.
 *
 * What comes from here must be freed from here: a block of the C library's malloc, such as getline() gives, is not a block
 * of the heap. Names that are followed by no parenthesis, as in a table of functions, stay the C library's.
 */
#ifndef MMALLOC_COMPAT_H
#define MMALLOC_COMPAT_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <mmalloc.h>

#ifndef MMALLOC_COMPAT_MD
#define MMALLOC_COMPAT_MD ((void *)0)
#endif

/* As malloc(0) of the C library, these give a block for 0 bytes, which mmalloc() does not. */
static __inline__ void *mmalloc_compat_malloc(void *md, size_t size)
{
	return mmalloc(md, size ? size : 1);
}

static __inline__ void *mmalloc_compat_calloc(void *md, size_t nmemb, size_t size)
{
	return nmemb && size ? mcalloc(md, nmemb, size) : mcalloc(md, 1, 1);
}

static __inline__ void *mmalloc_compat_realloc(void *md, void *ptr, size_t size)
{
	return ptr ? mrealloc(md, ptr, size) : mmalloc_compat_malloc(md, size);
}

static __inline__ void *mmalloc_compat_aligned_alloc(void *md, size_t alignment, size_t size)
{
	return mmemalign(md, alignment, size ? size : 1);
}

static __inline__ void *mmalloc_compat_reallocarray(void *md, void *ptr, size_t nmemb, size_t size)
{
	if (size && nmemb > (size_t)-1 / size) {
		errno = ENOMEM;
		return NULL;
	}
	return mmalloc_compat_realloc(md, ptr, nmemb * size);
}

static __inline__ int mmalloc_compat_posix_memalign(void *md, void **out, size_t alignment, size_t size)
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
#define malloc(size)                   mmalloc_compat_malloc(MMALLOC_COMPAT_MD, (size))
#define calloc(nmemb, size)            mmalloc_compat_calloc(MMALLOC_COMPAT_MD, (nmemb), (size))
#define realloc(ptr, size)             mmalloc_compat_realloc(MMALLOC_COMPAT_MD, (ptr), (size))
#define free(ptr)                      mfree(MMALLOC_COMPAT_MD, (ptr))
#define reallocarray(ptr, nmemb, size) mmalloc_compat_reallocarray(MMALLOC_COMPAT_MD, (ptr), (nmemb), (size))
#define posix_memalign(out, alignment, size) \
	mmalloc_compat_posix_memalign(MMALLOC_COMPAT_MD, (out), (alignment), (size))
#define aligned_alloc(alignment, size) mmalloc_compat_aligned_alloc(MMALLOC_COMPAT_MD, (alignment), (size))
#define strdup(text)                   mmalloc_compat_strdup(MMALLOC_COMPAT_MD, (text))
#define strndup(text, most)            mmalloc_compat_strndup(MMALLOC_COMPAT_MD, (text), (most))

#endif /* MMALLOC_COMPAT_H */
