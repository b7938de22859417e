/* SPDX-License-Identifier: BSD-3-Clause */
/* For the tests of power cuts: files of maps of all kinds as a cut may have left them, and what their next opener found. */
#ifndef MA_TESTS_TOOLS_CUTTING_H
#define MA_TESTS_TOOLS_CUTTING_H

#include <qalloc.h>

#include "common/header.h"
#include "tests/tools/heaps.h"

/* Bytes of the file. */
void put(const char *path, off_t at, const void *bytes, size_t count);
void get(const char *path, off_t at, void *bytes, size_t count);
/* It was last opened by another mount, or before another boot. */
void forget_mount(const char *path);
void forget_boot(const char *path);
/* Its disk got another number. False: it did not, as its file system has no id that stays the same, and the file would pass for a copy. */
bool renumber_device(const char *path);
void put_state(const char *path, uint32_t state);

bool is_of(const struct heap *heap, const char *library);
/* The three libraries' reports have the same members. */
struct qalloc_opening found(const struct heap *heap, void *map);
void *open_to_read(const struct heap *heap, const char *path);
/* Not regions. */
void *open_privately(const struct heap *heap, const char *path);

/* A few blocks with contents, closed in order. */
const char *make(const struct heap *heap);
/* It opens, as the caller says: whether all of it was checked. The blocks are there. */
#define opens(heap, path, verified) opens_at(heap, path, verified, __LINE__)
void opens_at(const struct heap *heap, const char *path, bool verified, int line);

#endif /* MA_TESTS_TOOLS_CUTTING_H */
