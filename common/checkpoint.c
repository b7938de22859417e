/* SPDX-License-Identifier: BSD-3-Clause */
/* See checkpoint.h. */
#include "common/checkpoint.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/ckpt_map.h"
#include "common/error.h"
#include "common/page.h"
#include "common/pagelist.h"
#include "common/writes.h"

struct ma_checkpoint {
	struct ma_checkpointed of;
	pthread_mutex_t mutex;
	pthread_cond_t let_in;
	bool busy;     /* A thread makes a checkpoint, or has captured one. */
	bool captured; /* The second: this thread. */
	pthread_t owner;

	struct ma_ckpt file;
	struct ma_writes writes;
	uint32_t tracked; /* So many stretches are. */
	bool sure; /* All that changed since checkpoint `number` is known, but for what others with more attaches than these did. */
	uint64_t number, attaches;

	/* Of the capture. */
	uint64_t turn, length;
	struct ma_pagelist data;    /* What the file has. */
	struct ma_pagelist changed; /* What of it may have changed. */
	char *page;                 /* Room for MA_CKPT_BUFFER pages. */
};

/* ---- its life ---- */

static void reset(struct ma_checkpoint *c)
{
	pthread_mutex_init(&c->mutex, NULL);
	pthread_cond_init(&c->let_in, NULL);
	c->busy = c->captured = c->sure = false;
	c->tracked = 0;
	c->data = c->changed = (struct ma_pagelist){ 0 };
	c->page = NULL;
	ma_ckpt_init(&c->file, c->of.header->uuid, c->of.name);
}

struct ma_checkpoint *ma_checkpoint_new(const struct ma_checkpointed *of)
{
	struct ma_checkpoint *c = calloc(1, sizeof(*c));

	if (!c) {
		ma_fail(ENOMEM, "%s: cannot make checkpoints: no memory; free memory", of->name);
		return NULL;
	}
	c->of = *of;
	c->writes = (struct ma_writes)MA_WRITES_NONE;
	reset(c);
	return c;
}

static void forget_runs(struct ma_checkpoint *c)
{
	free(c->data.run);
	free(c->changed.run);
	free(c->page);
	c->data = c->changed = (struct ma_pagelist){ 0 };
	c->page = NULL;
}

void ma_checkpoint_end(struct ma_checkpoint *c)
{
	if (!c)
		return;
	ma_writes_end(&c->writes);
	ma_ckpt_forget(&c->file);
	forget_runs(c);
	free(c);
}

/* When another thread of the parent was inside a call here, the tables may be half changed, so they are left as they are. The lock is the parent's. */
void ma_checkpoint_fork(struct ma_checkpoint *c)
{
	if (!c)
		return;
	if (c->file.fd >= 0)
		ma_fd_close(c->file.fd, c->file.id);
	c->file.fd = -1;
	ma_writes_end(&c->writes);
	if (!c->busy || c->captured) {
		ma_ckpt_forget(&c->file);
		forget_runs(c);
	}
	reset(c);
}

/* ---- which pages ---- */

static int fail_memory(const struct ma_checkpoint *c)
{
	return ma_fail(ENOMEM, "%s: cannot make a checkpoint: no memory for the list of its pages; free memory",
		       c->of.name);
}

static int add(struct ma_checkpoint *c, struct ma_pagelist *to, uint64_t from, uint64_t end)
{
	return ma_pagelist_add(to, from, ma_min(end, c->length)) ? 0 : fail_memory(c);
}

static int list_data(struct ma_checkpoint *c, int fd)
{
	if (ma_pagelist_data(&c->data, fd, c->length) == 0)
		return 0;
	return errno == ENOMEM ? fail_memory(c)
			       : ma_fail(errno, "%s: cannot make a checkpoint: lseek(2) failed; check the file system",
					 c->of.name);
}

struct written {
	struct ma_checkpoint *c;
	struct ma_stretch stretch;
};

static int add_written(char *from, uint64_t bytes, void *arg)
{
	struct written *w = arg;
	uint64_t at = w->stretch.file + (uint64_t)(from - w->stretch.at);

	return add(w->c, &w->c->changed, at, at + bytes);
}

/* What this process wrote in these pages of the file. Not in holes: to mark each of their pages would take memory. */
static int scan_run(struct written *w, const struct ma_pages *run)
{
	struct ma_checkpoint *c = w->c;
	uint64_t from, to;

	for (uint32_t i = 0; c->of.stretch(c->of.map, i, &w->stretch); i++) {
		from = ma_max(run->from * MA_PAGE, w->stretch.file);
		to = ma_min(run->end * MA_PAGE, w->stretch.file + w->stretch.bytes);
		if (from < to && ma_writes_scan(&c->writes, w->stretch.at + (from - w->stretch.file),
						ma_up(to - from, ma_page()), add_written, w) != 0)
			return -1;
	}
	return 0;
}

enum knowledge {
	NOTHING, /* The kernel does not tell. */
	BEGUN,   /* From now on. */
	ALL,
};

/* Stretches that came since the last time are tracked, too. */
static enum knowledge track(struct ma_checkpoint *c)
{
	enum knowledge know = ALL;
	struct ma_stretch s;

	for (; c->of.stretch(c->of.map, c->tracked, &s); c->tracked++) {
		know = BEGUN;
		if (!ma_writes_add(&c->writes, s.at, s.bytes))
			return NOTHING;
	}
	return know;
}

static enum knowledge list_written(struct ma_checkpoint *c)
{
	enum knowledge know = track(c);
	struct written w = { .c = c };

	for (size_t i = 0; know != NOTHING && i < c->data.count; i++)
		if (scan_run(&w, &c->data.run[i]) < 0)
			know = NOTHING;
	if (know == NOTHING) {
		ma_writes_end(&c->writes);
		c->tracked = 0;
	}
	return know;
}

/* The pages that may have changed: what this process wrote when that is all, else all that the file has. */
static int list_changed(struct ma_checkpoint *c)
{
	uint64_t attaches =
		ma_load_acquire(&c->of.header->attaches); /* Pairs with common/recover.c:ma_image_count_attach. */
	bool alone = c->of.is_alone(c->of.map);
	bool sure = c->sure && alone && attaches == c->attaches && c->number == c->file.number && c->number > 0;
	enum knowledge know = list_written(c);

	c->attaches = attaches;
	c->sure = alone && know != NOTHING;
	/* The header may be written to by pwrite(2), or by another mapping. */
	if (add(c, &c->changed, 0, MA_PAGE) < 0)
		return -1;
	if (!sure || know != ALL) {
		c->changed.count = 0;
		for (size_t i = 0; i < c->data.count; i++)
			if (add(c, &c->changed, c->data.run[i].from * MA_PAGE, c->data.run[i].end * MA_PAGE) < 0)
				return -1;
	}
	ma_pagelist_merge(&c->changed);
	return 0;
}

/* ---- copying ---- */

/*
 * A checkpoint must not contain the words that describe the running processes: the next opener recovers the map from these values. A region
 * can grow during the capture, so the header gets the length with which the capture began.
 */
static void normalize(struct ma_header *h, uint64_t length)
{
	ma_store(&h->length, length);
	ma_store(&h->phase, 0);
	ma_store(&h->state, 0);
	ma_store(&h->durable, 1);
	ma_store(&h->captures, 0);
	ma_store(&h->covered, 0);
	ma_store(&h->committed, 0);
	ma_store(&h->attaches, 0);
	memset(h->boot_id, 0, sizeof(h->boot_id));
	ma_header_put_place(h, &(struct ma_place){ .inode = 0 });
}

static int put(struct ma_checkpoint *c, uint64_t page, char *bytes)
{
	if (page == 0)
		normalize((struct ma_header *)(void *)bytes, c->length);
	return ma_ckpt_put(&c->file, page, bytes);
}

/* Each word whole, as others may be storing to it. One after the other: what a root leads to was there before it. */
static int put_words(struct ma_checkpoint *c, const struct ma_stretch *s, uint64_t page)
{
	_Atomic uint64_t *from = (_Atomic uint64_t *)(void *)(s->at + (page * MA_PAGE - s->file));
	uint64_t *to = (uint64_t *)(void *)c->page;

	for (size_t i = 0; i < MA_PAGE / sizeof(*to); i++)
		to[i] = ma_load_acquire(&from[i]); /* Pairs with libshmbuddy/src/roots.c:change_unnamed. */
	return put(c, page, c->page);
}

static bool stretch_of(struct ma_checkpoint *c, uint64_t at, struct ma_stretch *s)
{
	for (uint32_t i = 0; c->of.stretch(c->of.map, i, s); i++)
		if (at >= s->file && at - s->file < s->bytes)
			return true;
	return false;
}

/* Of the pages that may have changed, those that lie in this part of the file. */
static int put_tables(uint64_t from, uint64_t bytes, void *arg)
{
	struct ma_checkpoint *c = arg;
	uint64_t first = from / MA_PAGE, end = (from + bytes + MA_PAGE - 1) / MA_PAGE;
	struct ma_stretch s = { 0 };

	for (size_t i = 0; i < c->changed.count && c->changed.run[i].from < end; i++)
		for (uint64_t page = ma_max(first, c->changed.run[i].from); page < ma_min(end, c->changed.run[i].end);
		     page++) {
			if ((page * MA_PAGE < s.file || page * MA_PAGE - s.file >= s.bytes) &&
			    !stretch_of(c, page * MA_PAGE, &s))
				return 0;
			if (put_words(c, &s, page) < 0)
				return -1;
		}
	return 0;
}

/* Some pages at once. Those that were put with the tables stay as they were then. What lies behind the file's end is zero. */
static int put_some(struct ma_checkpoint *c, int fd, uint64_t first, uint64_t count)
{
	ssize_t got = pread(fd, c->page, count * MA_PAGE, (off_t)(first * MA_PAGE));

	if (got < 0)
		return ma_fail(errno, "%s: cannot make a checkpoint: pread(2) of the map failed; check its disk",
			       c->of.name);
	memset(c->page + got, 0, count * MA_PAGE - (size_t)got);
	for (uint64_t i = 0; i < count; i++)
		if (!ma_ckpt_has(&c->file, first + i) && put(c, first + i, c->page + i * MA_PAGE) < 0)
			return -1;
	return 0;
}

static int put_blocks(struct ma_checkpoint *c, int fd)
{
	uint64_t count;

	for (size_t i = 0; i < c->changed.count; i++)
		for (uint64_t page = c->changed.run[i].from; page < c->changed.run[i].end; page += count) {
			count = ma_min(c->changed.run[i].end - page, MA_CKPT_BUFFER);
			if (put_some(c, fd, page, count) < 0)
				return -1;
		}
	return 0;
}

/* Pages that the checkpoint file has, and the map's file does not any more. */
static int put_holes(struct ma_checkpoint *c)
{
	uint64_t at = 0, end;

	for (size_t i = 0; i <= c->data.count; i++) {
		end = i < c->data.count ? c->data.run[i].from : MA_PAGES_MOST;
		for (uint64_t page = at; (page = ma_pagetable_next(&c->file.table, page)) < end; page++)
			if (ma_ckpt_put_zero(&c->file, page) < 0)
				return -1;
		at = i < c->data.count ? c->data.run[i].end : end;
	}
	return 0;
}

static int copy_tables(struct ma_checkpoint *c, int fd)
{
	c->length = ma_load_acquire(&c->of.header->length); /* Pairs with common/space.c:grow. */
	if (list_data(c, fd) < 0 || list_changed(c) < 0)
		return -1;
	return c->of.tables(c->of.map, put_tables, c);
}

static int copy(struct ma_checkpoint *c)
{
	int fd = c->of.fd(c->of.map), result;

	c->page = malloc(MA_CKPT_BUFFER * MA_PAGE);
	if (!c->page)
		return fail_memory(c);
	if (fd < 0 || c->of.hold(c->of.map) < 0)
		return -1;
	result = copy_tables(c, fd);
	c->of.let_go(c->of.map);
	return result < 0 || put_blocks(c, fd) < 0 ? -1 : put_holes(c);
}

/* ---- one checkpoint ---- */

static int open_file(struct ma_checkpoint *c)
{
	int map = c->of.fd(c->of.map), fd = map < 0 ? -1 : ma_checkpoint_file(map, true);

	if (map < 0)
		return -1;
	if (fd < 0)
		return ma_checkpoint_fail_file(c->of.name);
	if (ma_ckpt_use(&c->file, fd) < 0)
		return -1;
	return ma_ckpt_begin(&c->file,
			     ma_load_acquire(&c->of.header->committed)); /* Pairs with common/checkpoint.c:commit. */
}

static void end(struct ma_checkpoint *c)
{
	int saved = errno;

	ma_ckpt_close(&c->file);
	forget_runs(c);
	errno = saved;
}

/* The capture's turn is counted before anything is read: who finds it covered knows that its stores were. */
static int capture(struct ma_checkpoint *c)
{
	c->turn = atomic_fetch_add(&c->of.header->captures, 1) +
		  1; /* Pairs with common/checkpoint.c:ma_checkpoint_sync. */
	if (copy(c) == 0)
		return 0;
	c->sure = false;
	return -1;
}

/* Before the first checkpoint: when this fails, the next commit tries it again. */
static int sync_name(struct ma_checkpoint *c)
{
	int map = c->file.number == 0 ? c->of.fd(c->of.map) : 0;

	return map < 0 || (c->file.number == 0 && ma_checkpoint_sync_folder(map, c->of.name) < 0) ? -1 : 0;
}

static int commit(struct ma_checkpoint *c)
{
	struct ma_header *h = c->of.header;

	if (sync_name(c) < 0 || ma_ckpt_commit(&c->file, c->length) < 0) {
		c->sure = false;
		return -1;
	}
	c->number = c->file.number;
	ma_store_release(&h->committed, c->number); /* Pairs with common/checkpoint.c:open_file. */
	ma_store_release(&h->covered, c->turn);     /* Pairs with common/checkpoint.c:is_covered. */
	return 0;
}

static bool is_covered(const struct ma_checkpoint *c, uint64_t turn)
{
	return ma_load_acquire(&c->of.header->covered) >= turn; /* Pairs with common/checkpoint.c:commit. */
}

/* ---- one after the other ---- */

/*
 * -1 with EBUSY: this thread has captured already, and would wait for itself. waits: false for who holds what the thread that captured may need
 * before its commit.
 */
static int enter(struct ma_checkpoint *c, bool waits)
{
	bool refused = false;

	pthread_mutex_lock(&c->mutex);
	while (c->busy && !refused) {
		refused = c->captured && (!waits || pthread_equal(c->owner, pthread_self()));
		if (!refused)
			pthread_cond_wait(&c->let_in, &c->mutex);
	}
	if (!refused)
		c->busy = true;
	pthread_mutex_unlock(&c->mutex);
	if (!refused)
		return 0;
	return ma_fail(EBUSY,
		       "%s: cannot make a checkpoint: this thread, or another one, has captured one; commit that first",
		       c->of.name);
}

static void set_captured(struct ma_checkpoint *c)
{
	pthread_mutex_lock(&c->mutex);
	c->owner = pthread_self();
	c->captured = true;
	pthread_mutex_unlock(&c->mutex);
}

/* True for one commit per capture. Any thread of the process can commit. */
static bool take_captured(struct ma_checkpoint *c)
{
	bool had;

	pthread_mutex_lock(&c->mutex);
	had = c->captured;
	c->captured = false;
	pthread_mutex_unlock(&c->mutex);
	return had;
}

static void leave(struct ma_checkpoint *c)
{
	end(c);
	pthread_mutex_lock(&c->mutex);
	c->busy = c->captured = false;
	pthread_cond_broadcast(&c->let_in);
	pthread_mutex_unlock(&c->mutex);
}

int ma_checkpoint_sync(struct ma_checkpoint *c, bool waits)
{
	MA_UNCANCELLED;
	uint64_t turn = atomic_load(&c->of.header->captures) + 1; /* Pairs with common/checkpoint.c:capture. */
	int result;

	if (enter(c, waits) < 0)
		return -1;
	result = is_covered(c, turn) ? 0 : open_file(c);
	if (result == 0 && !is_covered(c, turn))
		result = capture(c) < 0 ? -1 : commit(c);
	leave(c);
	return result;
}

int ma_checkpoint_capture(struct ma_checkpoint *c)
{
	MA_UNCANCELLED;

	if (enter(c, true) < 0)
		return -1;
	if (open_file(c) < 0 || capture(c) < 0) {
		leave(c);
		return -1;
	}
	set_captured(c);
	return 0;
}

int ma_checkpoint_commit(struct ma_checkpoint *c)
{
	MA_UNCANCELLED;
	int result;

	if (!take_captured(c))
		return ma_fail(EINVAL, "%s: cannot commit a checkpoint: nothing was captured; capture first",
			       c->of.name);
	result = commit(c);
	leave(c);
	return result;
}
