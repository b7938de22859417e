/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An adapter tells the harness how to use one allocator. It is two files:
 *
 *   adapter_NAME.h   how blocks are allocated and freed, for loops.c, which is compiled with it: ad_heap, a pointer, and static inline
 *                    ad_malloc(heap, size) and ad_free(heap, block)
 *   adapter_NAME.c   how heaps are made: `adapter`, below
 *
 * Allocators with one heap per process, in private memory, share adapter_private.c; allocators that differ little share both
 * files.
 */
#ifndef BENCH_ADAPTER_H
#define BENCH_ADAPTER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	AD_FIXED = 1,  /* gives blocks of FIXED_SIZE only */
	AD_FILE = 2,   /* lies in a file or in shared memory; else in the process's private memory */
	AD_AGAIN = 4,  /* can be opened again */
	AD_SHARED = 8, /* serves several processes at a time */
	AD_WHOLE = 16, /* takes all of its file when it is made */
};

struct adapter {
	unsigned traits;
	size_t largest; /* bytes of the largest block that it gives, 0: any; workloads with larger ones are left out */
	/* A new heap, in this file if it is AD_FILE; NULL when it cannot. */
	void *(*create)(const char *path, uint64_t bytes);
	/* The same heap, from another process or after it was closed. */
	void *(*open)(const char *path);
	void (*close)(void *heap);
	/* These may be NULL. Another handle of the heap, for one lane alone; NULL: all lanes use the same one. */
	void *(*lane)(void *heap);
	/* Bytes that the heap has now of its file or of the memory; NULL: what memory.c finds. */
	uint64_t (*space)(const char *path);
	/* Give back what is free, as far as the allocator offers that. */
	void (*collect)(void *heap);
};
extern const struct adapter adapter;

#ifdef __cplusplus
}
#endif

#endif /* BENCH_ADAPTER_H */
