/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading a checkpoint file; see ckpt.h. */
#include "common/ckpt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/copy.h"
#include "common/error.h"
#include "common/file.h"

/* ---- use ---- */

void ma_ckpt_init(struct ma_ckpt *c, const uint8_t uuid[16], const char *name)
{
	*c = (struct ma_ckpt){ .fd = -1, .name = name };
	memcpy(c->uuid, uuid, sizeof(c->uuid));
}

static void forget_table(struct ma_ckpt *c)
{
	ma_pagetable_clear(&c->table);
	ma_places_clear(&c->places);
	c->turn = c->journal = c->journal_places = c->next = c->last = 0;
	c->number = c->length = c->time = c->changed = 0;
	c->run_left = 0;
	c->known = false;
}

int ma_ckpt_use(struct ma_ckpt *c, int fd)
{
	struct ma_fd_id id;

	if (!ma_fd_identify(fd, &id))
		return ma_fail(errno, "%s: cannot be used as a checkpoint file: fstat(2) failed; check the file system",
			       c->name);
	if (c->known && (id.device != c->id.device || id.inode != c->id.inode))
		forget_table(c);
	c->fd = fd;
	c->id = id;
	return 0;
}

void ma_ckpt_end_run(struct ma_ckpt *c)
{
	ma_places_free(&c->places, c->run_place, c->run_left);
	c->run_left = 0;
}

void ma_ckpt_abandon(struct ma_ckpt *c)
{
	for (uint64_t i = 0; i < c->count; i++)
		if (c->batch[i].place)
			ma_places_free(&c->places, c->batch[i].place, 1);
	c->count = c->buffered = 0;
	ma_ckpt_end_run(c);
	ma_pagetable_unmark(&c->table);
}

char *ma_ckpt_buffer(struct ma_ckpt *c)
{
	if (!c->buffer)
		c->buffer = malloc(MA_CKPT_BUFFER * MA_PAGE);
	if (!c->buffer)
		ma_fail(ENOMEM, "%s: cannot use its checkpoint file: no memory; free memory", c->name);
	return c->buffer;
}

void ma_ckpt_close(struct ma_ckpt *c)
{
	ma_ckpt_abandon(c);
	free(c->buffer);
	free(c->batch);
	c->buffer = NULL;
	c->batch = NULL;
	c->room = 0;
	/* A fork child may have the descriptor, too, for a moment or until it ends: closing it would not let go of the lock. */
	if (c->fd >= 0 && ma_fd_is(c->fd, c->id))
		ma_file_lock(c->fd, F_OFD_SETLK, F_UNLCK, 0, NULL);
	if (c->fd >= 0)
		ma_fd_close(c->fd, c->id);
	c->fd = -1;
}

void ma_ckpt_forget(struct ma_ckpt *c)
{
	ma_ckpt_close(c);
	forget_table(c);
}

static int fail_damaged(const struct ma_ckpt *c, const char *what, uint64_t at)
{
	return ma_fail(EUCLEAN,
		       "%s: the checkpoint file is damaged: %s %" PRIu64
		       "; restore the map from a copy, or give its checkpoints up with: mapalloc repair",
		       c->name, what, at);
}

/* Of what must be there. */
static int read_all(const struct ma_ckpt *c, void *to, size_t count, uint64_t at)
{
	ssize_t got;

	do
		got = pread(c->fd, to, count, (off_t)at);
	while (got < 0 && errno == EINTR);
	if (got == (ssize_t)count)
		return 0;
	if (got < 0)
		return ma_fail(errno, "%s: the checkpoint file cannot be read: pread(2) failed; check the disk",
			       c->name);
	return 1;
}

/* ---- the head ---- */

struct ma_hash ma_ckpt_head_hash(const struct ma_ckpt_head *head)
{
	return ma_hash_of(head, offsetof(struct ma_ckpt_head, hash));
}

static bool is_head(const struct ma_ckpt_head *head)
{
	return memcmp(head->magic, MA_CKPT_MAGIC, sizeof(head->magic)) == 0 &&
	       ma_hash_equal(head->hash, ma_ckpt_head_hash(head));
}

static void take_head(struct ma_ckpt *c, const struct ma_ckpt_head *head)
{
	if (!is_head(head) || head->turn <= c->turn)
		return;
	c->turn = head->turn;
	c->journal = c->next = head->journal;
	c->journal_places = head->places;
	c->chain = head->chain;
}

/* Heads of another format, or of another map, are not for us. */
static int refuse_head(const struct ma_ckpt *c, const struct ma_ckpt_head *head)
{
	if (!is_head(head))
		return 0;
	if (head->format != 1)
		return ma_fail(ENOTSUP, "%s: the checkpoint file has format %" PRIu32 ", not 1; use a newer mapalloc",
			       c->name, head->format);
	if (memcmp(head->uuid, c->uuid, sizeof(c->uuid)) != 0)
		return ma_fail(EUCLEAN,
			       "%s: the checkpoint file beside it belongs to another map; move it away, or bring back "
			       "the right one",
			       c->name);
	return 0;
}

static int read_heads(struct ma_ckpt *c)
{
	struct ma_ckpt_head head[2] = { 0 };

	for (unsigned i = 0; i < 2; i++)
		if (read_all(c, &head[i], sizeof(head[i]), i * MA_PAGE) < 0 || refuse_head(c, &head[i]) < 0)
			return -1;
	forget_table(c);
	take_head(c, &head[0]);
	take_head(c, &head[1]);
	if (c->journal_places && (c->journal < 2 || c->journal + c->journal_places > MA_PAGES_MOST))
		return fail_damaged(c, "no journal can begin at place", c->journal);
	if (!ma_places_use(&c->places, 0, 2) || !ma_places_use(&c->places, c->journal, c->journal_places))
		return ma_fail(ENOMEM, "%s: cannot read the checkpoint file: no memory; free memory", c->name);
	c->known = true;
	return 0;
}

/* ---- records ---- */

struct ma_hash ma_ckpt_record_hash(const struct ma_ckpt_record *record, const struct ma_page_entry *entries)
{
	return ma_hash_of_two(record, offsetof(struct ma_ckpt_record, hash), entries, record->count * sizeof(*entries));
}

struct read {
	struct ma_ckpt_record record;
	struct ma_page_entry *entries; /* To be freed. */
};

/* Of a record that follows the last one. Its numbers were not checked, but for its hash. */
static bool is_next(const struct ma_ckpt *c, const struct ma_ckpt_record *r)
{
	uint64_t room = c->journal + c->journal_places - c->next;

	return r->magic == MA_CKPT_RECORD && ma_hash_equal(r->chain, c->chain) && r->count <= MA_PAGES_MOST &&
	       ma_ckpt_record_places(r->count) <= room;
}

/* 1: the next record; 0: there is none that is whole; -1 with errno. */
static int read_record(struct ma_ckpt *c, struct read *r)
{
	uint64_t at = c->next * MA_PAGE;
	size_t bytes;
	int result;

	r->entries = NULL;
	if (c->next >= c->journal + c->journal_places)
		return 0;
	result = read_all(c, &r->record, sizeof(r->record), at);
	if (result != 0 || !is_next(c, &r->record))
		return result < 0 ? -1 : 0;
	bytes = r->record.count * sizeof(*r->entries);
	r->entries = malloc(bytes + 1);
	if (!r->entries)
		return ma_fail(ENOMEM, "%s: cannot read the checkpoint file: no memory; free memory", c->name);
	result = read_all(c, r->entries, bytes, at + sizeof(r->record));
	if (result == 0 && ma_hash_equal(r->record.hash, ma_ckpt_record_hash(&r->record, r->entries)))
		return 1;
	free(r->entries);
	r->entries = NULL;
	return result < 0 ? -1 : 0;
}

static bool apply_entry(struct ma_ckpt *c, const struct ma_page_entry *e)
{
	struct ma_page_entry old = ma_pagetable_get(&c->table, e->page);

	if (old.place)
		ma_places_free(&c->places, old.place, 1);
	return ma_pagetable_set(&c->table, e) && (!e->place || ma_places_use(&c->places, e->place, 1));
}

static int apply(struct ma_ckpt *c, const struct read *r)
{
	for (uint64_t i = 0; i < r->record.count; i++)
		if (!apply_entry(c, &r->entries[i]))
			return ma_fail(ENOMEM, "%s: cannot read the checkpoint file: no memory; free memory", c->name);
	c->last = c->next;
	c->next += ma_ckpt_record_places(r->record.count);
	c->chain = r->record.hash;
	c->number = r->record.number;
	c->length = r->record.length;
	c->time = r->record.time;
	c->changed = r->record.count;
	return 0;
}

/* All records from here on, or those before this place. */
static int replay(struct ma_ckpt *c, uint64_t end)
{
	struct read r;
	int result;

	while (c->next < end && (result = read_record(c, &r)) != 0) {
		if (result > 0)
			result = apply(c, &r);
		free(r.entries);
		if (result < 0) {
			forget_table(c);
			return -1;
		}
	}
	if (c->journal_places && !c->number)
		return fail_damaged(c, "no checkpoint is at place", c->journal);
	return 0;
}

/* ---- after a cut ---- */

/* Is what a page's place holds what its hash says? -1: it cannot be read. */
static int page_is_right(struct ma_ckpt *c, const struct ma_page_entry *e, void *bytes)
{
	int result = read_all(c, bytes, MA_PAGE, (uint64_t)e->place * MA_PAGE);

	if (result < 0)
		return -1;
	return result == 0 && ma_hash_equal(e->hash, ma_hash_of(bytes, MA_PAGE));
}

/* Pages of the last record, which was read with the table as it is now. */
static int last_is_right(struct ma_ckpt *c)
{
	struct ma_hash chain = c->chain;
	uint64_t next = c->next;
	struct read r = { .entries = NULL };
	char *page = ma_ckpt_buffer(c);
	int right;

	if (!page)
		return -1;
	c->next = c->last;
	if (read_all(c, &r.record, sizeof(r.record), c->last * MA_PAGE) == 0)
		c->chain = r.record.chain;
	right = read_record(c, &r);
	for (uint64_t i = 0; right > 0 && i < r.record.count; i++)
		if (r.entries[i].place)
			right = page_is_right(c, &r.entries[i], page);
	free(r.entries);
	c->next = next;
	c->chain = chain;
	return right;
}

/* It was not on disk whole, so its call had not returned. Never again is it to be taken for one. */
static int drop_last(struct ma_ckpt *c)
{
	static const char zeros[sizeof(struct ma_ckpt_record)];
	uint64_t end = c->last;

	if (read_heads(c) < 0 || replay(c, end) < 0)
		return -1;
	if (c->only_reads)
		return 0;
	if (ma_write_all(c->fd, zeros, sizeof(zeros), end * MA_PAGE) < 0 || fdatasync(c->fd) < 0)
		return ma_fail(errno, "%s: the checkpoint file cannot be written to; check disk and permissions",
			       c->name);
	return 0;
}

int ma_ckpt_read(struct ma_ckpt *c, bool after_cut)
{
	MA_UNCANCELLED;
	struct ma_ckpt_head head = { 0 };
	int right;

	/* Another journal may have begun meanwhile. */
	if (c->known && read_all(c, &head, sizeof(head), ((c->turn + 1) & 1) * MA_PAGE) < 0)
		return -1;
	if ((!c->known || head.turn > c->turn || after_cut) && read_heads(c) < 0)
		return -1;
	if (replay(c, UINT64_MAX) < 0)
		return -1;
	if (!after_cut || c->last == c->journal)
		return 0; /* The first record of a journal was on disk before the head named it. */
	right = last_is_right(c);
	return right > 0 ? 0 : right < 0 ? -1 : drop_last(c);
}

/* ---- the map's pages ---- */

/* Pages that lie one behind the other in both files, for one read and one write. */
static uint64_t run_of(const struct ma_ckpt *c, const struct ma_page_entry *first)
{
	uint64_t n = 1;

	while (n < MA_CKPT_BUFFER && ma_pagetable_get(&c->table, first->page + n).place == first->place + n)
		n++;
	return n;
}

static int restore_run(struct ma_ckpt *c, int to, const struct ma_page_entry *first, uint64_t count)
{
	char *buffer = c->buffer;

	if (read_all(c, buffer, count * MA_PAGE, (uint64_t)first->place * MA_PAGE) != 0)
		return fail_damaged(c, "it ends before place", first->place + count);
	for (uint64_t i = 0; i < count; i++)
		if (!ma_hash_equal(ma_pagetable_get(&c->table, first->page + i).hash,
				   ma_hash_of(buffer + i * MA_PAGE, MA_PAGE)))
			return fail_damaged(c, "wrong contents at place", first->place + i);
	if (ma_write_all(to, buffer, count * MA_PAGE, (uint64_t)first->page * MA_PAGE) < 0)
		return ma_fail(
			errno,
			"%s: cannot be made as its last checkpoint was: pwrite(2) failed; free space on its disk",
			c->name);
	return 0;
}

/* Pages [from, end) are zeros. */
static int restore_zeros(struct ma_ckpt *c, int to, uint64_t from, uint64_t end)
{
	end = ma_min(end, (c->length + MA_PAGE - 1) / MA_PAGE);
	if (from >= end)
		return 0;
	if (fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(from * MA_PAGE),
		      (off_t)((end - from) * MA_PAGE)) == 0)
		return 0;
	if (ma_file_make_zero(to, from * MA_PAGE, ma_min(end * MA_PAGE, c->length)) == 0)
		return 0;
	return ma_fail(errno, "%s: cannot be made as its last checkpoint was: pwrite(2) failed; free space on its disk",
		       c->name);
}

static int restore_from(struct ma_ckpt *c, int to, uint64_t page)
{
	uint64_t next;

	for (; (next = ma_pagetable_next(&c->table, page)) < MA_PAGES_MOST; page = next) {
		struct ma_page_entry e = ma_pagetable_get(&c->table, next);
		uint64_t run = run_of(c, &e);

		if (restore_zeros(c, to, page, next) < 0 || restore_run(c, to, &e, run) < 0)
			return -1;
		next += run;
	}
	return restore_zeros(c, to, page, MA_PAGES_MOST);
}

static int set_length(struct ma_ckpt *c, int to)
{
	if (ma_file_set_length(to, c->length) == 0)
		return 0;
	return ma_fail(errno,
		       "%s: cannot be made as long as its last checkpoint was: ftruncate(2) failed; check `ulimit -f`",
		       c->name);
}

int ma_ckpt_restore(struct ma_ckpt *c, int to)
{
	MA_UNCANCELLED;

	if (!ma_ckpt_buffer(c) || set_length(c, to) < 0 || restore_from(c, to, 1) < 0)
		return -1;
	return set_length(c, to); /* The last page was written whole. */
}

int ma_ckpt_page(struct ma_ckpt *c, uint64_t page, void *bytes)
{
	struct ma_page_entry e = ma_pagetable_get(&c->table, page);
	int right;

	memset(bytes, 0, MA_PAGE);
	if (!e.place)
		return 0;
	right = page_is_right(c, &e, bytes);
	return right > 0 ? 0 : right < 0 ? -1 : fail_damaged(c, "wrong contents at place", e.place);
}

uint64_t ma_ckpt_check(struct ma_ckpt *c)
{
	char *page = ma_ckpt_buffer(c);
	uint64_t wrong = 0;

	for (uint64_t at = 0; page && (at = ma_pagetable_next(&c->table, at)) < MA_PAGES_MOST; at++) {
		struct ma_page_entry e = ma_pagetable_get(&c->table, at);

		wrong += page_is_right(c, &e, page) != 1;
	}
	return page ? wrong : UINT64_MAX;
}
