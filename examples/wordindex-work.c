/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker of wordindex: claims a file, reads it, gives each word in it one posting, marks the file
 * done; and again.
 *
 * It may be killed at any instruction. See wordindex.h for why that harms nothing; what is lost is
 * the work on one file, and in the map the blocks of its attempt.
 */
#define _GNU_SOURCE 1
#include "wordindex.h"

#include <errno.h>
#include <fcntl.h>
#include <qalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a worker has in its own memory. */
struct worker {
	void *map;
	struct index *index;
	unsigned char *text; /* the file that is being read */
	size_t text_bytes, text_room;
	struct word **seen;      /* the words that have their posting of this attempt: an open hash set */
	size_t nseen, seen_room; /* the room is a power of two */
};

/* Read a whole file. false with errno when it cannot be read. */
static bool slurp(struct worker *me, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t got = -1;

	if (fd < 0)
		return false;
	me->text_bytes = 0;
	do {
		if (me->text_room - me->text_bytes < 65536) {
			size_t room = me->text_room * 2 + 131072;
			void *text = realloc(me->text, room);

			if (text == NULL)
				break;
			me->text = text;
			me->text_room = room;
		}
		got = read(fd, me->text + me->text_bytes, me->text_room - me->text_bytes);
		me->text_bytes += got > 0 ? (size_t)got : 0;
	} while (got > 0);
	close(fd);
	return got == 0;
}

static size_t seen_place(const struct worker *me, const struct word *word)
{
	size_t i = (size_t)((uintptr_t)word >> 4) * 0x9e3779b1u & (me->seen_room - 1);

	while (me->seen[i] != NULL && me->seen[i] != word)
		i = (i + 1) & (me->seen_room - 1);
	return i;
}

static bool seen_grow(struct worker *me)
{
	struct word **old = me->seen;
	size_t room = me->seen_room;

	me->seen_room = room == 0 ? 4096 : room * 2;
	me->seen = calloc(me->seen_room, sizeof(*me->seen));
	if (me->seen == NULL) {
		me->seen = old;
		me->seen_room = room;
		return false;
	}
	for (size_t i = 0; i < room; i++)
		if (old[i] != NULL)
			me->seen[seen_place(me, old[i])] = old[i];
	free(old);
	return true;
}

/* The word in a chain, of which the part from end on was searched before. */
static struct word *find(struct word *chain, const struct word *end, const unsigned char *text, size_t length)
{
	for (; chain != end; chain = chain->next)
		if (chain->length == length && memcmp(chain->text, text, length) == 0)
			return chain;
	return NULL;
}

/* The one word of the map with this text. Whoever loses the race for a new one takes the winner's.
 */
static struct word *intern(struct worker *me, const unsigned char *text, size_t length, uint64_t hash)
{
	struct word *_Atomic *bucket = bucket_of(me->index, hash);
	struct word *head = atomic_load_explicit(bucket, memory_order_acquire);
	struct word *searched = NULL, *fresh = NULL, *word;

	while ((word = find(head, searched, text, length)) == NULL) {
		if (fresh == NULL) {
			fresh = qalloc_calloc(me->map, 1, sizeof(*fresh) + length + 1);
			if (fresh == NULL)
				return NULL;
			fresh->length = length;
			memcpy(fresh->text, text, length);
		}
		fresh->next = searched = head;
		if (atomic_compare_exchange_strong_explicit(bucket, &head, fresh, memory_order_release,
							    memory_order_acquire))
			return fresh;
	}
	qalloc_free(fresh, me->map);
	return word;
}

static bool post(struct worker *me, struct word *word, struct attempt *attempt)
{
	struct posting *posting = qalloc_malloc(me->map, sizeof(*posting));

	if (posting == NULL)
		return false;
	posting->attempt = attempt;
	posting->next = atomic_load_explicit(&word->postings, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&word->postings, &posting->next, posting, memory_order_release,
						      memory_order_relaxed))
		;
	atomic_fetch_add_explicit(&attempt->words, 1, memory_order_relaxed);
	return true;
}

/* One word of the text: its first time in this attempt makes a posting. */
static bool take_word(struct worker *me, struct attempt *attempt, const unsigned char *text, size_t length,
		      uint64_t hash)
{
	struct word *word = intern(me, text, length, hash);
	size_t place;

	if (word == NULL || ((me->nseen + 1) * 2 > me->seen_room && !seen_grow(me)))
		return false;
	place = seen_place(me, word);
	if (me->seen[place] == word)
		return true;
	me->seen[place] = word;
	me->nseen++;
	return post(me, word, attempt);
}

/* Folds the text in place and takes each word of it. */
static bool take_text(struct worker *me, struct attempt *attempt)
{
	unsigned char *text = me->text, *end = text + me->text_bytes;

	me->nseen = 0;
	if (me->seen != NULL)
		memset(me->seen, 0, me->seen_room * sizeof(*me->seen));
	while (text < end) {
		unsigned char *start = text, c;
		uint64_t hash = WORDINDEX_HASH;

		for (; text < end && (c = fold(*text)) != 0; text++) {
			*text = c;
			hash = hash_step(hash, c);
		}
		if (text == start)
			text++;
		else if (!take_word(me, attempt, start, (size_t)(text - start), hash))
			return false;
	}
	return true;
}

/* Reads one file, and makes its postings count. A file with a zero byte in it is no text, as with
 * grep -I. */
static bool take_file(struct worker *me, struct attempt *attempt)
{
	struct attempt *nobody = NULL;

	if (!slurp(me, attempt->file->path)) {
		if (errno == ENOMEM)
			return false;
		attempt->outcome = OUTCOME_UNREADABLE;
	} else if (memchr(me->text, 0, me->text_bytes) != NULL) {
		attempt->outcome = OUTCOME_BINARY;
	} else if (!take_text(me, attempt)) {
		return false;
	}
	/* [commit] */
	/* The commit. It fails when another process has finished the file: then its postings count,
	 * and ours do not. */
	atomic_compare_exchange_strong_explicit(&attempt->file->done, &nobody, attempt, memory_order_release,
						memory_order_relaxed);
	/* [commit] */
	return true;
}

/* Claims the next file that no process works on. 1: got one; 0: there is none; -1: the map is full. */
static int claim(struct worker *me, struct attempt **claimed)
{
	struct attempt *attempt = qalloc_calloc(me->map, 1, sizeof(*attempt));
	uint64_t i;

	if (attempt == NULL)
		return -1;
	attempt->worker = getpid();
	while ((i = atomic_fetch_add_explicit(&me->index->cursor, 1, memory_order_relaxed)) < me->index->nfiles) {
		struct attempt *nobody = NULL;

		attempt->file = &me->index->files[i];
		if (!file_is_done(attempt->file) &&
		    atomic_compare_exchange_strong_explicit(&attempt->file->claim, &nobody, attempt,
							    memory_order_release, memory_order_relaxed)) {
			*claimed = attempt;
			return 1;
		}
	}
	qalloc_free(attempt, me->map);
	return 0;
}

int work(void *map, struct index *index)
{
	struct worker me = { .map = map, .index = index };
	struct attempt *attempt = NULL;
	int got;

	while ((got = claim(&me, &attempt)) > 0)
		if (!take_file(&me, attempt))
			break;
	if (got != 0)
		fprintf(stderr, "wordindex: %s: %s\n", got > 0 ? attempt->file->path : "worker",
			errno == ENOMEM ? "no room left in the map; give build a larger --size" : strerror(errno));
	free(me.text);
	free(me.seen);
	return got != 0;
}
