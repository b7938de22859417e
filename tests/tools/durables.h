/* SPDX-License-Identifier: BSD-3-Clause */
/* For the tests of durable maps: maps, and what is in them. */
#ifndef MA_TESTS_TOOLS_DURABLES_H
#define MA_TESTS_TOOLS_DURABLES_H

#include "tests/tools/cutting.h"

#define DURABLE HEAPS

/* The name of the checkpoint file, until the next call. */
const char *beside(const char *path);
bool is_there(const char *path);

/* With 0x5a in its first block at the checkpoint. */
const char *make_durable(const struct heap *heap);
/* The first byte of that block. */
void put_byte(const struct heap *heap, const char *path, char byte);
char get_byte(const struct heap *heap, const char *path);
/* 1 was stored there after the checkpoint, and the machine died. */
const char *make_stale(const struct heap *heap);
/* A page of the first checkpoint. */
void damage(const char *path);

#endif /* MA_TESTS_TOOLS_DURABLES_H */
