/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file image.h
 * @brief A file's bytes as they were at some instant, and all the states that a call leads a file through.
 *
 * The first state is kept whole, each later one as the pages in which it differs from the one before.
 */
#ifndef MA_TESTS_CRASH_IMAGE_H
#define MA_TESTS_CRASH_IMAGE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct image {
	bool exists;
	size_t size;
	size_t room; /**< Of bytes; zeros behind size. */
	char *bytes;
};

struct image image_new(size_t room);
void image_free(struct image *image);
void image_copy(struct image *to, const struct image *from);
/** What the file @p path holds now. */
void image_take(struct image *image, const char *path);
/** Make the file hold that, writing only what differs. The inode stays, also while the file does not exist. */
void image_put(const struct image *image, const char *path);
/** Another file of the same contents takes its place. */
void image_copy_file(const char *path);
#define IMAGE_EQUAL SIZE_MAX
/** Offset of the first byte that differs and does not vary from run to run, or IMAGE_EQUAL. */
size_t image_difference(const struct image *a, const struct image *b, bool (*varies)(size_t at));
/** There is no such byte. */
bool image_equal(const struct image *a, const struct image *b, bool (*varies)(size_t at));

struct states {
	const char *path;
	struct image first;
	struct image now; /**< The latest one that was noted. */
	GArray *state;
	GHashTable *seen; /**< Digests. */
	uint64_t digest;  /**< Of now, less that of first. */
	const char *view; /**< The mapped file; NULL while it does not exist. */
	size_t present;   /**< Which one is built in work. */
	struct image work;
	size_t distinct;
};

/** Begin with the file as it is now, before instruction 0. */
struct states *states_new(const char *path, size_t room);
void states_free(struct states *s);
/** After @p k instructions: note it when something has changed. True: it has. @p renamed: its length or name may have. */
bool states_note(struct states *s, size_t k, bool renamed);
/** The same, when only these bytes of the file can have changed. */
bool states_note_at(struct states *s, size_t k, size_t offset, size_t bytes);
/** Of the file whose states they are; 0: there is none now. */
ino_t states_inode(const struct states *s);
size_t states_count(const struct states *s);
/** An earlier one had the same bytes. */
bool states_is_repeated(const struct states *s, size_t index);
/** It lasts from states_begin() up to the next one's. */
size_t states_begin(const struct states *s, size_t index);
/** Which one a kill after @p k instructions leaves. */
size_t states_at(const struct states *s, size_t k);
/** Valid until the next call. */
const struct image *states_image(struct states *s, size_t index);

#endif /* MA_TESTS_CRASH_IMAGE_H */
