/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What wordindex keeps in its map: plain structures and plain C pointers, found again through the
 * root "index".
 *
 *   index -- files --> [ file | file | ... ]          one block, sorted by path
 *     |                   claim, done --> attempt     who reads the file; who has read it all
 *     +---- buckets --> [ word* | word* | ... ]       one block, the hash table
 *                          +> word -next-> word       the words of one bucket
 *                              +> posting -next-> posting      "the word is in attempt->file"
 *
 * Any worker may be killed at any instruction, so nothing may ever need a second store to become
 * right:
 *
 * - A chain grows at its head, by one compare-exchange, after what it points to was filled in.
 *   Nothing that others can see is changed or freed afterwards.
 * - A posting counts only while attempt->file->done == attempt. A worker stores done last, by
 *   compare-exchange from NULL, when every word of the file has its posting. So what a killed
 *   worker has left counts for nothing, and the next attempt at the same file starts again.
 * - claim only saves work: two workers reading one file would be slow, but not wrong.
 *
 * Order of memory: storing a head or done releases; loading it acquires. Whoever has seen done set
 * finds, in the chains that it loads after that, every posting of the attempt.
 */
#ifndef WORDINDEX_H
#define WORDINDEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WORDINDEX_ROOT    "index"
#define WORDINDEX_STREAMS 8
#define WORDINDEX_BUCKETS ((size_t)1 << 18)

/* What became of a file. */
enum outcome { OUTCOME_TEXT, OUTCOME_BINARY, OUTCOME_UNREADABLE };

struct attempt {
	struct file *file;
	pid_t worker;
	uint32_t outcome;       /* enum outcome; stored before done */
	_Atomic uint64_t words; /* postings made so far: for the eye only */
};

struct file {
	const char *path;
	uint64_t bytes;                /* when the tree was walked: for the progress bar only */
	struct attempt *_Atomic claim; /* NULL: nobody is at it */
	struct attempt *_Atomic done;  /* NULL, then the attempt that counts, for ever */
};

struct posting {
	struct posting *next;
	struct attempt *attempt;
};

struct word {
	struct word *next;
	struct posting *_Atomic postings;
	size_t length;
	char text[]; /* [a-z0-9]+, closed with a zero */
};

struct index {
	struct file *files;
	uint64_t nfiles;
	struct word *_Atomic *buckets;
	uint64_t nbuckets;       /* a power of two */
	uint64_t compressed;     /* .gz files that were left out */
	_Atomic uint64_t cursor; /* workers look for an unclaimed file from here on */
};

/* How "build" was asked for. */
struct build {
	const char *path;  /* of the map */
	char *const *dirs; /* closed with NULL */
	uint64_t map_bytes;
	unsigned workers;
	bool kill_one;
};

static inline bool file_is_done(const struct file *file)
{
	return atomic_load_explicit(&file->done, memory_order_acquire) != NULL;
}

/* FNV-1a; the start value is WORDINDEX_HASH. */
#define WORDINDEX_HASH 0xcbf29ce484222325u

static inline uint64_t hash_step(uint64_t hash, unsigned char c)
{
	return (hash ^ c) * 0x100000001b3u;
}

static inline struct word *_Atomic *bucket_of(const struct index *index, uint64_t hash)
{
	return &index->buckets[(hash ^ hash >> 29) & (index->nbuckets - 1)];
}

/* Upper ASCII letters become lower; 0 for what is no part of a word. As in the C locale. */
static inline unsigned char fold(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return (unsigned char)(c + ('a' - 'A'));
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : 0;
}

double now_ms(void);

/* wordindex-work.c: index files until none is unclaimed; returns the worker's exit status. */
int work(void *map, struct index *index);

/* wordindex-build.c: the command "build"; returns the exit status. */
int build(const struct build *how);

#endif /* WORDINDEX_H */
