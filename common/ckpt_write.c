/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing a checkpoint file; see ckpt.h. */
#include "common/ckpt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/copy.h"
#include "common/error.h"
#include "common/file.h"
#include "common/header.h"
#include "common/stamp.h"

#define JOURNAL_LEAST 64 /* Places for records behind the whole one. */

static int fail_write(const struct ma_ckpt *c)
{
	return ma_fail(errno,
		       "%s: cannot make a checkpoint: its checkpoint file cannot be written; free disk space, or check "
		       "the disk",
		       c->name);
}

static int fail_memory(const struct ma_ckpt *c)
{
	return ma_fail(ENOMEM, "%s: cannot make a checkpoint: no memory for its pages; free memory", c->name);
}

/* The program may have closed the descriptor, and have another file there. */
static int check_fd(const struct ma_ckpt *c)
{
	if (ma_fd_is(c->fd, c->id))
		return 0;
	return ma_fail(EBADF, "%s: cannot make a checkpoint: the program closed its descriptor meanwhile; try again",
		       c->name);
}

static int sync_file(const struct ma_ckpt *c)
{
	int result;

	do
		result = fdatasync(c->fd);
	while (result < 0 && errno == EINTR);
	return result;
}

/* Where the kernel would send SIGXFSZ, errno is EFBIG. */
static int write_at(const struct ma_ckpt *c, const void *bytes, size_t count, uint64_t place)
{
	uint64_t at = place * MA_PAGE;

	return ma_file_allowed(at + count) && ma_write_all(c->fd, bytes, count, at) == 0 ? 0 : fail_write(c);
}

/*
 * The file could not be synced, and the next fdatasync(2) would not say so again: what was written last is taken back, so that no process
 * finds it in the page cache and believes that the disk has it. errno stays.
 */
static void take_back(struct ma_ckpt *c, uint64_t place)
{
	static const char zeros[sizeof(struct ma_ckpt_head)];
	int saved = errno;

	ma_write_all(c->fd, zeros, sizeof(zeros), place * MA_PAGE);
	c->known = false;
	errno = saved;
}

/* ---- beginning ---- */

int ma_ckpt_begin(struct ma_ckpt *c, uint64_t durable)
{
	MA_UNCANCELLED;

	if (ma_file_lock(c->fd, F_OFD_SETLKW, F_WRLCK, 0, NULL) < 0)
		return ma_fail(errno,
			       "%s: cannot make a checkpoint: fcntl(2) cannot lock its checkpoint file; use a local "
			       "file system",
			       c->name);
	if (ma_ckpt_read(c, false) < 0)
		return -1;
	if (c->number <= durable || sync_file(c) == 0)
		return 0;
	take_back(c, c->last == c->journal ? c->turn & 1 : c->last);
	return fail_write(c);
}

/* ---- pages ---- */

static int flush(struct ma_ckpt *c)
{
	uint64_t count = c->buffered;

	c->buffered = 0;
	if (count == 0)
		return 0;
	if (check_fd(c) < 0)
		return -1;
	return write_at(c, c->buffer, count * MA_PAGE, c->buffer_place);
}

static int write_page(struct ma_ckpt *c, uint64_t place, const void *bytes)
{
	if (!ma_ckpt_buffer(c))
		return -1;
	if ((c->buffered == MA_CKPT_BUFFER || place != c->buffer_place + c->buffered) && flush(c) < 0)
		return -1;
	if (c->buffered == 0)
		c->buffer_place = place;
	memcpy(c->buffer + c->buffered++ * MA_PAGE, bytes, MA_PAGE);
	return 0;
}

/* The page is marked, so its entry in the table can be set without memory. */
static int add(struct ma_ckpt *c, const struct ma_page_entry *e)
{
	uint64_t room = c->room ? 2 * c->room : 256;
	struct ma_page_entry *longer;

	if (c->count == c->room) {
		longer = realloc(c->batch, room * sizeof(*longer));
		if (!longer)
			return fail_memory(c);
		c->batch = longer;
		c->room = room;
	}
	c->batch[c->count++] = *e;
	return 0;
}

bool ma_ckpt_has(const struct ma_ckpt *c, uint64_t page)
{
	return ma_pagetable_is_marked(&c->table, page);
}

/* 1: the first time; 0: it was put before. */
static int mark(struct ma_ckpt *c, uint64_t page)
{
	bool failed, first = ma_pagetable_mark(&c->table, page, &failed);

	return failed ? fail_memory(c) : first;
}

static int put_zero(struct ma_ckpt *c, uint64_t page)
{
	struct ma_page_entry e = { .page = (uint32_t)page };

	return ma_pagetable_get(&c->table, page).place ? add(c, &e) : 0;
}

int ma_ckpt_put_zero(struct ma_ckpt *c, uint64_t page)
{
	int first = mark(c, page);

	return first > 0 ? put_zero(c, page) : first;
}

static bool is_zero(const uint64_t *word)
{
	uint64_t any = 0;

	for (size_t i = 0; i < MA_PAGE / sizeof(*word); i += 8) {
		for (size_t k = 0; k < 8; k++)
			any |= word[i + k];
		if (any)
			return false;
	}
	return true;
}

/*
 * A place for a page. In runs, as a disk writes those faster than single places, while for that the file need not become more than a quarter
 * longer than its pages; 0: errno.
 */
static uint64_t take_place(struct ma_ckpt *c)
{
	uint64_t used = c->table.pages + c->count;

	if (c->run_left == 0) {
		c->run_place = ma_places_take_below(&c->places, MA_CKPT_BUFFER, used + used / 4 + JOURNAL_LEAST);
		c->run_left = c->run_place ? MA_CKPT_BUFFER : 0;
	}
	if (c->run_left == 0)
		return ma_places_take(&c->places, 1);
	c->run_left--;
	return c->run_place++;
}

int ma_ckpt_put(struct ma_ckpt *c, uint64_t page, const void *bytes)
{
	struct ma_page_entry e = { .page = (uint32_t)page }, old = ma_pagetable_get(&c->table, page);
	int first = mark(c, page);

	if (first <= 0)
		return first;
	if (is_zero(bytes))
		return put_zero(c, page);
	e.hash = ma_hash_of(bytes, MA_PAGE);
	if (old.place && ma_hash_equal(old.hash, e.hash))
		return 0;
	e.place = (uint32_t)take_place(c);
	if (!e.place)
		return fail_memory(c);
	if (write_page(c, e.place, bytes) == 0 && add(c, &e) == 0)
		return 0;
	ma_places_free(&c->places, e.place, 1);
	return -1;
}

/* ---- records ---- */

struct written {
	struct ma_ckpt_record record; /* The entries follow. */
	struct ma_page_entry entries[];
};

/* A record of so many entries, in whole places, which are zeros. NULL: no memory. */
static struct written *record_new(struct ma_ckpt *c, uint64_t count, struct ma_hash chain, uint64_t length, bool whole)
{
	struct written *w = calloc(ma_ckpt_record_places(count), MA_PAGE);

	if (!w) {
		fail_memory(c);
		return NULL;
	}
	w->record = (struct ma_ckpt_record){
		.magic = MA_CKPT_RECORD,
		.chain = chain,
		.number = c->number + 1,
		.length = length,
		.time = ma_now_ns(CLOCK_REALTIME),
		.count = count,
		.whole = whole,
	};
	return w;
}

static int record_write(struct ma_ckpt *c, struct written *w, uint64_t place)
{
	w->record.hash = ma_ckpt_record_hash(&w->record, w->entries);
	if (write_at(c, w, ma_ckpt_record_places(w->record.count) * MA_PAGE, place) < 0)
		return -1;
	return sync_file(c) == 0 ? 0 : fail_write(c);
}

/* From here on the record is the last one. */
static void adopt(struct ma_ckpt *c, const struct written *w, uint64_t place)
{
	c->last = place;
	c->next = place + ma_ckpt_record_places(w->record.count);
	c->chain = w->record.hash;
	c->number = w->record.number;
	c->length = w->record.length;
	c->time = w->record.time;
	c->changed = c->count;
}

/* The batch goes into the table, and what was there into the batch. Twice: nothing happened. */
static void swap_batch(struct ma_ckpt *c)
{
	for (uint64_t i = 0; i < c->count; i++) {
		struct ma_page_entry old = ma_pagetable_get(&c->table, c->batch[i].page);

		ma_pagetable_set(&c->table, &c->batch[i]);
		c->batch[i] = old;
	}
}

/* Behind the last record. When it does not reach the disk, no process is to find it. */
static int append(struct ma_ckpt *c, uint64_t length)
{
	struct written *w = record_new(c, c->count, c->chain, length, false);
	int result;

	if (!w)
		return -1;
	memcpy(w->entries, c->batch, c->count * sizeof(*c->batch));
	result = record_write(c, w, c->next);
	if (result == 0) {
		adopt(c, w, c->next);
		swap_batch(c);
	} else {
		take_back(c, c->next);
	}
	free(w);
	return result;
}

/* ---- another journal ---- */

static int head_write(struct ma_ckpt *c, uint64_t journal, uint64_t places, struct ma_hash chain)
{
	struct ma_ckpt_head head = { .magic = MA_CKPT_MAGIC,
				     .format = 1,
				     .turn = c->turn + 1,
				     .journal = journal,
				     .places = places,
				     .chain = chain };

	memcpy(head.uuid, c->uuid, sizeof(head.uuid));
	head.hash = ma_ckpt_head_hash(&head);
	if (write_at(c, &head, sizeof(head), head.turn & 1) == 0 && sync_file(c) == 0)
		return 0;
	fail_write(c);
	take_back(c, head.turn & 1);
	return -1;
}

static struct written *record_whole(struct ma_ckpt *c, struct ma_hash chain, uint64_t length)
{
	struct written *w = record_new(c, c->table.pages, chain, length, true);
	uint64_t n = 0;

	for (uint64_t page = 0; w && (page = ma_pagetable_next(&c->table, page)) < MA_PAGES_MOST; page++)
		w->entries[n++] = ma_pagetable_get(&c->table, page);
	return w;
}

static int renew_at(struct ma_ckpt *c, uint64_t journal, uint64_t places, const struct written *w)
{
	if (head_write(c, journal, places, w->record.chain) < 0)
		return -1;
	ma_places_free(&c->places, c->journal, c->journal_places);
	c->turn++;
	c->journal = journal;
	c->journal_places = places;
	adopt(c, w, journal);
	return 0;
}

/* Begin another journal with all pages as they are with the batch. */
static int renew(struct ma_ckpt *c, uint64_t length)
{
	struct ma_hash chain;
	struct written *w;
	uint64_t whole, journal, places;
	int result = -1;

	ma_ckpt_end_run(c);
	ma_header_uuid((uint8_t *)&chain); /* Some number that no other journal has. */
	swap_batch(c);
	whole = ma_ckpt_record_places(c->table.pages);
	places = whole + ma_max(whole, JOURNAL_LEAST);
	journal = ma_places_take(&c->places, places);
	w = journal ? record_whole(c, chain, length) : NULL;
	if (w && record_write(c, w, journal) == 0)
		result = renew_at(c, journal, places, w);
	if (result < 0) {
		swap_batch(c);
		ma_places_free(&c->places, journal, places);
	}
	free(w);
	return result;
}

int ma_ckpt_commit(struct ma_ckpt *c, uint64_t length)
{
	MA_UNCANCELLED;
	uint64_t end = c->journal + c->journal_places;
	int result;

	if (check_fd(c) < 0 || flush(c) < 0) {
		result = -1;
	} else if (c->number && c->count == 0 && length == c->length) {
		return 0;
	} else if (c->number && c->next + ma_ckpt_record_places(c->count) <= end) {
		result = append(c, length);
	} else {
		result = renew(c, length);
	}
	/* After a success the batch has what was replaced. */
	ma_ckpt_abandon(c);
	return result;
}
