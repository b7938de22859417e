/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The shim that xmemory-run and mmalloc-run preload into a program: the C library's allocation calls (shim.c) and calls on
 * descriptors (descriptors.c), above, and a back end (shim_xmemory.c or shim_mmalloc.c), below.
 *
 * Calls come at any time: from the dynamic linker before the C library is set up, from within a back end that opens its
 * heap, from destructors after the last one of ours, in fork handlers. RAM is always there: the C library's own
 * allocator under the names that it exports for it, which nobody interposes.
 */
#ifndef SHIM_H
#define SHIM_H

#include "common/base.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t nmemb, size_t size);
void *__libc_realloc(void *ptr, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *ptr);

#define SHIM_EXPORT __attribute__((visibility("default")))
#define SHIM_TLS    _Thread_local __attribute__((tls_model("initial-exec")))

/* ---- what a back end is; no size is 0, every alignment is a power of two ---- */

extern const char shim_name[]; /* Of the program that started this one. */
/* Before any other call, and cheap: there may be no environment yet. */
void shim_prepare(void);
/* Once, with an environment. Calls from within are served as those before. */
void shim_begin(void);

void *shim_new(size_t size);
void *shim_zeroed(size_t size);
void *shim_resize(void *ptr, size_t size);
void *shim_aligned(size_t alignment, size_t size);
void shim_give(void *ptr);
size_t shim_room(void *ptr);

/* Descriptors that are kept open, by number from 0 to SHIM_KEPT - 1: where its value is, or NULL. */
#define SHIM_KEPT 2
int *shim_kept(unsigned i);
/* What there was to be had, as text behind the program's name and the number of calls. */
int shim_figures(char *text, size_t size);

/* ---- what shim.c has for the others ---- */

/* This process as of start or fork; a child by vfork() has another one, and the same memory. */
bool shim_is_this_process(void);
/* Is the summary wanted? Its descriptor, or -1. */
extern int shim_stats_fd;
/* One line on stderr, errno kept. */
void shim_say(const char *format, ...) MA_PRINTF(1, 2);
/* The same descriptor under a number that programs do not use. */
int shim_move(int fd);

#endif /* SHIM_H */
