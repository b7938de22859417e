/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What the targets of the libraries with heaps share: from a file to calls, and what must hold of them.
 *
 * A file is refused with a documented errno, or it opens; then no call crashes, hangs or touches memory that is not the
 * map's, in any way of opening.
 *
 * A file that passed the check of its first opener must behave: no block that is dealt out overlaps another, and the map
 * passes the check again afterwards, and when it is opened anew. One that was opened without it (read-only, or because it
 * pretends that only processes died: see FUZZ_CERTAIN) may deal out nonsense, but only inside the map.
 */
#ifndef MA_TESTS_FUZZ_HEAP_H
#define MA_TESTS_FUZZ_HEAP_H

#include "common/map.h"
#include "tests/fuzz/fuzz.h"

#define FUZZ_MAKE          3 /* The fourth way of opening. */
#define FUZZ_COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define FUZZ_TEMPLATE_BASE ((void *)0x200000000000)

struct fuzz_library {
	const char *debug;     /* The variable that makes the library talk. */
	bool nothing_for_zero; /* Size 0 is NULL, and no error. */
	/* In one of its ways: 0 for writing, 1 read-only, 2 private, FUZZ_MAKE. */
	struct ma_image *(*open)(unsigned way);
	int (*close)(void *map);
	void *(*malloc)(void *map, size_t size);
	void *(*realloc)(void *map, void *block, size_t size);
	void *(*memalign)(void *map, size_t alignment, size_t size);
	void (*free)(void *map, void *block);
	size_t (*usable_size)(void *map, const void *block);
	int (*walk)(void *map, int (*fn)(void *block, size_t size, void *arg), void *arg);
	int (*check)(void *map, void (*report)(const char *text, void *arg), void *arg);
	int (*setroot)(void *map, const char *name, void *at);
	void *(*getroot)(void *map, const char *name);
	/* Count what is there; when the map is sound, require that the figures make sense. */
	void (*stats)(void *map, bool sound);
	/* For live maps only. */
	void *(*calloc)(void *map, size_t count, size_t size);
	int (*casroot)(void *map, const char *name, void **expected, void *desired);
	void *(*find_or_create)(void *map, const char *name, size_t size, int (*init)(void *block, size_t size, void *arg), void *arg,
				int *created);
	int (*walkroots)(void *map, int (*fn)(const char *name, void *at, void *arg), void *arg);
	int (*trylock)(void *map, void *lock);
	int (*unlock)(void *map, void *lock);
	/* So many kinds of calls that only this library has; make the one of this number. */
	unsigned others;
	void (*other)(void *map, unsigned which, bool sound, struct fuzz_in *in);
};

/* The target's own. */
extern const struct fuzz_library fuzz_library;

/* A new map gets blocks of all sizes and a root, and becomes a template. */
void fuzz_heap_template(void *map, size_t rounds);
/* The same for a live map (fuzz_live.h): its file, then the map that was made in it. An input for one: false, it is not. */
int fuzz_heap_live_file(char path[64]);
void fuzz_heap_live(void *map);
bool fuzz_heap_live_input(struct fuzz_in *in);
/* A golden map does. */
void fuzz_golden_template(const char *name);

#endif /* MA_TESTS_FUZZ_HEAP_H */
