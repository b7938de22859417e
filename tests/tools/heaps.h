/* SPDX-License-Identifier: BSD-3-Clause */
/* For the tests of the command: running it, and maps of all kinds by one set of calls. */
#ifndef MA_TESTS_TOOLS_HEAPS_H
#define MA_TESTS_TOOLS_HEAPS_H

#include "tests/support/support.h"

struct heap {
	const char *kind; /* As mapalloc calls it. */
	/* The file, made when it is not there. NULL with errno. */
	void *(*open)(const char *path);
	int (*close)(void *map);
	/* An address, or in regions an offset; 0: no room. */
	uint64_t (*malloc)(void *map, size_t size);
	void (*free)(void *map, uint64_t block);
	void *(*at)(void *map, uint64_t block);
	int (*setroot)(void *map, const char *name, uint64_t block);
	uint64_t (*getroot)(void *map, const char *name);
	/* Offset from the start of the file. */
	uint64_t (*offset)(void *map, uint64_t block);
	/* Calls fn(offset, size, arg) for each block. */
	void (*walk)(void *map, int (*fn)(uint64_t offset, size_t size, void *arg), void *arg);
	bool is_locked; /* The kernel knows who is attached. */
};

#define HEAPS 4
extern const struct heap heaps[HEAPS];

/* Run mapalloc with these arguments, NULL at the end; its status. What it said is in run_out and run_err until the next one. */
int run(const char *first, ...) G_GNUC_NULL_TERMINATED;
extern char *run_out, *run_err;

/* The number behind "key": in run_out; the test fails when there is none. */
uint64_t run_number(const char *key);
#define assert_said(text)       assert_contains(run_out, text, __FILE__, __LINE__)
#define assert_complained(text) assert_contains(run_err, text, __FILE__, __LINE__)
void assert_contains(const char *where, const char *text, const char *file, int line);
#define assert_status(wanted, ...) assert_status_is(wanted, run(__VA_ARGS__, NULL), __FILE__, __LINE__)
void assert_status_is(int wanted, int status, const char *file, int line);

/* Sizes as programs have them, small and large; the item's of static maps. */
size_t heap_size(const struct heap *heap, struct support_rand *r);
/* Allocate until it is full, or so many blocks. Returns how many; the root "last" points to the last one. */
unsigned heap_fill(const struct heap *heap, void *map, unsigned most);
/* Allocate and free for ever, as a child. */
int heap_load(const struct heap *heap, const char *path, _Atomic unsigned *rounds);

#endif /* MA_TESTS_TOOLS_HEAPS_H */
