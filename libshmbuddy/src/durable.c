/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checkpoints of a durable region: what common/checkpoint.c asks of it. Nothing is held during a capture, and no process waits for one. What
 * the words are that a capture copies, and why an opener that went back can settle them, says settle.c.
 *
 * The header is written to by a mapping of its own: where the region is mapped it can only be read.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/checkpoint.h"
#include "common/ckpt_map.h"
#include "common/error.h"
#include "common/fd.h"
#include "common/file.h"
#include "common/page.h"
#include "handle.h"

struct checkpoints {
	struct ma_header *header;
	struct ma_checkpoint *made;
};

/* ---- what common/checkpoint.c asks of a region ---- */

static int fd_of(void *arg)
{
	struct shmbuddy *h = arg;
	int fd = shmbuddy__region_fd(h);

	if (fd >= 0)
		return fd;
	return ma_fail(
		EBADF,
		"%s: cannot make a checkpoint: the program closed the region's descriptor, and its file cannot be "
		"opened again; open the region again",
		h->name);
}

/* All that is mapped, also beyond the end of the file. */
static bool stretch(void *arg, uint32_t i, struct ma_stretch *s)
{
	const struct shmbuddy *h = arg;

	*s = (struct ma_stretch){ h->base, 0, ma_up(h->mapped, ma_page()) };
	return i == 0;
}

/* A fork child that has no lock of its own has set a bit. */
static bool is_alone(void *arg)
{
	struct shmbuddy *h = arg;
	struct flock found;
	int fd = h->attached ? shmbuddy__region_fd(h) : -1;

	return fd >= 0 && !(ma_load(&region_header(h)->attaches) & MA_ATTACHES_UNLOCKED) &&
	       ma_file_lock(fd, F_OFD_GETLK, F_WRLCK, MA_FILE_MEMBER_BYTE, &found) == 0 && found.l_type == F_UNLCK;
}

static int hold(void *arg)
{
	(void)arg;
	return 0;
}

static void let_go(void *arg)
{
	(void)arg;
}

/* Roots go first: the blocks that they lead to were there before. Then the crown, and the metadata of parts. */
static int tables(void *arg, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *fn_arg)
{
	const struct shmbuddy *h = arg;

	return fn(0, h->lay.area_at, fn_arg);
}

/* ---- the header, for writing ---- */

static struct ma_header *map_header(int fd)
{
	void *at = mmap(NULL, MA_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* Others can see the lock of a process that has its own; else a bit says, for this generation, that no process knows to be alone. */
static void note_attach(struct ma_header *header, bool locked)
{
	/* Pairs with common/checkpoint.c:list_changed. */
	if (locked)
		atomic_fetch_add(&header->attaches, 1);
	else
		atomic_fetch_or(&header->attaches, MA_ATTACHES_UNLOCKED);
}

static int count_attach(int fd, bool locked)
{
	struct ma_header *header = map_header(fd);

	if (!header)
		return -1;
	note_attach(header, locked);
	munmap(header, MA_PAGE);
	return 0;
}

/* Before the first capture of this generation there is nothing to count for: a later capture finds the lock of this process. */
static bool is_captured(const struct shmbuddy *h)
{
	return atomic_load(&region_header(h)->captures) > 0; /* Pairs with common/checkpoint.c:capture. */
}

int shmbuddy__checkpoint_attach(struct shmbuddy *h)
{
	if (!is_captured(h) || count_attach(h->fd, true) == 0)
		return 0;
	return ma_fail(errno, "%s: cannot open it: mmap(2) of its first page failed; free memory", h->name);
}

/* ---- a region's checkpoints ---- */

static struct checkpoints *checkpoints_new(struct shmbuddy *h)
{
	struct ma_checkpointed of = {
		.map = h,
		.name = h->name,
		.fd = fd_of,
		.stretch = stretch,
		.is_alone = is_alone,
		.hold = hold,
		.let_go = let_go,
		.tables = tables,
	};
	struct checkpoints *c = calloc(1, sizeof(*c));
	int fd = fd_of(h), saved;

	if (fd < 0) {
		saved = errno;
		free(c);
		errno = saved;
		return NULL;
	}
	of.header = c ? map_header(fd) : NULL;
	if (!of.header) {
		free(c);
		return ma_fail_null(ENOMEM, "%s: cannot make a checkpoint: no memory; free memory", h->name);
	}
	c->header = of.header;
	c->made = ma_checkpoint_new(&of);
	if (c->made)
		return c;
	munmap(c->header, MA_PAGE);
	free(c);
	errno = ENOMEM;
	return NULL;
}

static void checkpoints_end(struct checkpoints *c)
{
	ma_checkpoint_end(c->made);
	munmap(c->header, MA_PAGE);
	free(c);
}

/* A child that fork's handlers know nothing of (_Fork(), clone()) has its parent's capture, and no lock of its own. */
static void notice_child(struct shmbuddy *h)
{
	int32_t was = ma_load(&h->process);

	if (was != getpid() && ma_cas_relaxed(&h->process, &was, getpid()))
		shmbuddy__checkpoint_fork(h, false);
}

/* Made at the first use. Of two threads that make them at once, one is too late. */
static struct checkpoints *checkpoints_of(struct shmbuddy *h)
{
	struct checkpoints *c, *was = NULL;

	notice_child(h);
	c = atomic_load(&h->checkpoints); /* Pairs with libshmbuddy/src/durable.c:checkpoints_of. */
	if (c)
		return c;
	c = checkpoints_new(h);
	if (!c || atomic_compare_exchange_strong(&h->checkpoints, &was, c))
		return c;
	checkpoints_end(c);
	return was;
}

void shmbuddy__checkpoint_end(struct shmbuddy *h)
{
	/* Pairs with libshmbuddy/src/durable.c:checkpoints_of. */
	struct checkpoints *c = atomic_exchange(&h->checkpoints, NULL);

	if (c)
		checkpoints_end(c);
}

/* The child of a process that makes checkpoints has the header mapped already. */
void shmbuddy__checkpoint_fork(struct shmbuddy *h, bool locked)
{
	/* Pairs with libshmbuddy/src/durable.c:checkpoints_of. */
	struct checkpoints *c = atomic_load(&h->checkpoints);

	ma_store(&h->process, getpid());
	if (c) {
		ma_checkpoint_fork(c->made);
		note_attach(c->header, locked);
	} else if (h->attached && (!locked || is_captured(h)) && count_attach(shmbuddy__region_fd(h), locked) < 0) {
		ma_debug("%s: checkpoints may miss what this fork child writes: mmap(2) failed; free memory", h->name);
	}
}

/* ---- the calls ---- */

static bool has_file(const struct shmbuddy *h)
{
	return h->mapped && h->writable;
}

bool shmbuddy__checkpoint_is_on(const struct shmbuddy *h)
{
	return has_file(h) && ma_load(&region_header(h)->durable) == 1;
}

int shmbuddy__checkpoint_sync(struct shmbuddy *h)
{
	struct checkpoints *c = checkpoints_of(h);
	int saved = errno;

	if (!c || ma_checkpoint_sync(c->made, true) < 0)
		return -1;
	errno = saved;
	return 0;
}

static int fail_no_file(const struct shmbuddy *h)
{
	return ma_fail(EROFS,
		       "%s: cannot make checkpoints: it is read-only, or in memory of the program's; open its file for "
		       "writing",
		       h->name);
}

int shmbuddy_durable(shmbuddy_t *h)
{
	MA_UNCANCELLED;
	int saved = errno;
	struct ma_header *header;

	if (!region_is_open(h))
		return shmbuddy__fail_closed(h);
	if (!has_file(h))
		return fail_no_file(h);
	if (shmbuddy__checkpoint_sync(h) < 0)
		return -1;
	header = checkpoints_of(h)->header;
	ma_store(&header->durable, 1);
	if (msync(header, MA_PAGE, MS_SYNC) < 0)
		return ma_fail(errno, "%s: cannot be durable: msync(2) of its first page failed; check the disk",
			       h->name);
	errno = saved;
	return 0;
}

/* NULL with errno: this region has no checkpoints. */
static struct checkpoints *durable(struct shmbuddy *h)
{
	if (!region_is_open(h))
		shmbuddy__fail_closed(h);
	else if (!has_file(h))
		fail_no_file(h);
	else if (!shmbuddy__checkpoint_is_on(h))
		ma_fail(EINVAL,
			"%s: cannot make a checkpoint in two steps: the region is not durable; make it durable first",
			h->name);
	else
		return checkpoints_of(h);
	return NULL;
}

int shmbuddy_capture(shmbuddy_t *h)
{
	MA_UNCANCELLED;
	struct checkpoints *c = durable(h);
	int saved = errno;

	if (!c || ma_checkpoint_capture(c->made) < 0)
		return -1;
	errno = saved;
	return 0;
}

int shmbuddy_commit(shmbuddy_t *h)
{
	MA_UNCANCELLED;
	struct checkpoints *c = durable(h);
	int saved = errno;

	if (!c || ma_checkpoint_commit(c->made) < 0)
		return -1;
	errno = saved;
	return 0;
}

int shmbuddy_restore(const char *filename)
{
	int saved = errno;

	if (!filename)
		return ma_fail(EINVAL, "cannot go back to a checkpoint: the file name is NULL; pass a name");
	if (ma_checkpoint_go_back(filename, 1u << MA_KIND_SHMBUDDY) < 0)
		return -1;
	errno = saved;
	return 0;
}
