/* SPDX-License-Identifier: BSD-3-Clause */
/* A command that is killed at many places, and what its file's name may lead to then. */
#ifndef MA_TESTS_TOOLS_KILLED_SCENE_H
#define MA_TESTS_TOOLS_KILLED_SCENE_H

#include "tests/tools/heaps.h"
#include "tests/tools/victim.h"

struct scene {
	const struct heap *heap;
	victim_line line;
	const char *made; /* The name that is to be taken. */
	bool replaces;    /* It leads to a file before. */
	const char *from; /* The command's input, which must not change, unless it is `made` or in use. NULL: none. */
	bool in_use;
	/* What the name may lead to afterwards; false: to what was there before. Asserts that it is whole. */
	bool (*judge)(const struct scene *s);
	bool resets; /* `from` is changed by the command, and is restored each time. */
	bool named;  /* The file has a temporary name. */
	int again;   /* Status of the same command once more when it had come to its end. */
	char *before;
	size_t before_bytes;
	size_t places, whole, left;
};

/* For judge: the file under the name is an empty map, ... */
bool scene_is_empty_map(const struct scene *s);
/* ... a sound map with the whole list, ... */
bool scene_is_whole_map(const struct scene *s);
/* ... a dump with its last line, ... */
bool scene_is_whole_dump(const struct scene *s);
/* ... what remember() has read. */
bool scene_is_backup(const struct scene *s);
/* A map with a list of blocks. */
void scene_make_map(const struct heap *heap, const char *path);
/* Kill the command at sampled places, check the result each time, and run the command again. */
void scene_kill_at_each(struct scene *s);
/* Read the bytes that the file must have afterwards. */
void scene_remember(struct scene *s, const char *path);
/* Call fn for each kind of map, with names in a folder of their own. */
void scene_with_each(void (*fn)(const struct heap *heap, const char *map, const char *other));
/* The same, unless victims cannot be traced. */
void scene_with_each_heap(void (*fn)(const struct heap *heap, const char *map, const char *other));
/* Small, so that a command makes few calls. */
size_t scene_block_size(const struct heap *heap, struct support_rand *r);

#endif /* MA_TESTS_TOOLS_KILLED_SCENE_H */
