/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions in files: what common/regfile.c calls. Creation and recovery are done under the exclusive lock of the attach byte, which the kernel
 * gives back when its holder dies; all else needs no lock. The header is only ever written with pwrite(2): no mapping of it can be.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/boot.h"
#include "common/ckpt_map.h"
#include "common/error.h"
#include "common/fd.h"
#include "common/file.h"
#include "common/inuse.h"
#include "common/lost.h"
#include "inspect.h"
#include "opening.h"

#define FILE_FLAGS (SHMBUDDY_EXISTING | SHMBUDDY_NEW | SHMBUDDY_RDONLY | SHMBUDDY_EXCLUSIVE)

/* ---- an old one ---- */

static void complain(const char *text, void *arg)
{
	struct shmbuddy *h = arg;

	ma_debug("%s: region is damaged: %s", h->name, text);
}

static int take(const struct shmbuddy *h, uint64_t from, uint64_t to)
{
	int result = ma_lost_take(h->fd, from, to);

	if (result < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) /* Then it was made without, all of it written. */
		result = ma_file_take_by_writing(h->fd, from, to);
	return result;
}

/* Space of the parts that say they have it, neighbours together. */
static int take_parts(const struct shmbuddy *h)
{
	uint64_t parts = layout_parts(&h->lay, ma_load(&h->area)), part = 0, from;
	const struct layout *lay = &h->lay;

	while (part < parts) {
		from = part;
		while (part < parts && region_is_backed(h, part))
			part++;
		if (part > from &&
		    (take(h, lay->meta_at + from * lay->meta_bytes, lay->meta_at + part * lay->meta_bytes) < 0 ||
		     take(h, lay->area_at + (from << lay->part_shift),
			  lay->area_at + ma_min(part << lay->part_shift, ma_load(&h->area))) < 0))
			return -1;
		part += part == from;
	}
	return 0;
}

/*
 * There may be holes where zeros were: in a copy, or in a file that was written again in place. What is said of the parts stays as it is:
 * killed here, the next one does all of it again.
 */
static int back_again(struct shmbuddy *h)
{
	int result = h->lay.sparse ? take(h, 0, h->lay.meta_at) : take(h, 0, h->lay.area_at + ma_load(&h->area));

	if (result == 0 && h->lay.sparse)
		result = take_parts(h);
	return result < 0 ? ma_fail(errno,
				    "%s: cannot open it: no disk space for the blocks in use, which its file has lost; "
				    "free "
				    "space on its file system",
				    h->name)
			  : 0;
}

static int check_whole(struct shmbuddy *h)
{
	int result;

	h->opening.verified = 1;
	shmbuddy__handle_open(h);
	result = shmbuddy_check(h, complain, h);
	ma_store(&h->id, 0);
	if (result == 0 && !shmbuddy__handle_no_part_was_lost(h))
		return ma_fail(EUCLEAN,
			       "%s: region is damaged: a part without disk space is in use; restore a copy, or keep "
			       "what can be proved: mapalloc repair --salvage",
			       h->name);
	return result;
}

/* ---- one that is damaged ---- */

/* From here on the next opener checks all of it. */
static int forget_run(const struct shmbuddy *h)
{
	static const uint8_t none[MA_BOOT_ID];
	off_t at = offsetof(struct ma_header, boot_id);

	if (pwrite(h->fd, none, sizeof(none), at) == sizeof(none))
		return 0;
	return ma_fail(errno, "%s: cannot write its header: pwrite(2) failed; check the disk", h->name);
}

static int salvage(struct shmbuddy *h, const struct ma_reporter *to)
{
	if (forget_run(h) < 0)
		return -1;
	return shmbuddy__salvage(h, to) < 0 ? -1 : check_whole(h);
}

/* What cannot be salvaged keeps every byte, also of its header. So the rehearsal comes before the header says "in use". */
static int check_and_salvage(struct shmbuddy *h, const struct ma_header *header, const struct ma_reporter *to)
{
	int result = check_whole(h);
	bool damaged = result < 0 && errno == EUCLEAN;

	if (damaged)
		result = shmbuddy__salvage_rehearse(h, header);
	if (result < 0 || ma_inuse_begin(h->fd, h->name, header, &h->place) < 0)
		return -1;
	return damaged ? salvage(h, to) : 0;
}

static int do_without_checkpoint(const struct shmbuddy *h, struct ma_header *header, const struct ma_reporter *to)
{
	if (to->report)
		to->report("its last checkpoint is missing or damaged: the region has what the machine's death left, "
			   "and is not durable "
			   "any more",
			   to->arg);
	ma_store(&header->durable, 0);
	if (ma_checkpoint_remove(h->fd) == 0)
		return 0;
	return ma_fail(errno, "%s: cannot salvage it: unlink(2) of its checkpoint file failed; check permissions",
		       h->name);
}

/* ---- a durable one, of which nothing is certain ---- */

/*
 * It becomes what its last checkpoint was, before anything of its body is believed. The words of that are not settled yet: killed in between, the
 * header still says that nothing is certain, and the next one begins again.
 */
static int roll_back(struct ma_regfile *f, struct shmbuddy *h, const struct ma_reporter *to)
{
	int back = ma_checkpoint_roll_back(h->fd, h->name, &f->header, &h->place, f->kinds);

	if (back < 0 && to && errno == EUCLEAN)
		back = do_without_checkpoint(h, &f->header, to);
	if (back <= 0)
		return back;
	ma_regfile_is_whole(f);
	h->opening.restored = 1;
	h->opening.generation = ma_load(&f->header.generation) + 1;
	return 0;
}

/* A reader does not go back, and must not believe what is there. One that went back is not settled in phase 0. */
static int refuse_torn(const struct shmbuddy *h, const struct ma_header *header)
{
	if (ma_load(&header->phase) == 1)
		return ma_checkpoint_refuse_stale(h->fd, h->name, header, &h->place);
	return ma_fail(
		EUCLEAN,
		"%s: cannot open it read-only: the machine died while it was in use, and it is not yet as its last "
		"checkpoint was; open it once for writing, which does that",
		h->name);
}

/* ---- the steps ---- */

/*
 * Space first: to read a hole may take some. Settled, what went back is as a snapshot: all of it is checked later. Any other region that is
 * to be salvaged stays as it is until the rehearsal is over.
 */
static int prepare(struct shmbuddy *h, const struct ma_header *header, bool salvages)
{
	if (back_again(h) < 0)
		return -1;
	if (salvages && !h->opening.restored)
		return 0;
	if (ma_inuse_begin(h->fd, h->name, header, &h->place) < 0)
		return -1;
	if (h->opening.restored)
		shmbuddy__settle(h);
	return 0;
}

/* locked: we have the attach byte exclusively. */
static enum ma_visit take_existing(struct ma_regfile *f, bool locked)
{
	struct opening *how = f->arg;
	struct ma_header *header = &f->header;
	struct shmbuddy *h = how->h;
	bool certain;

	h->place = f->place;
	certain = !how->salvage && shmbuddy__handle_is_certain(h, header);

	if (how->salvage && !locked) {
		ma_fail(EBUSY, "%s: cannot salvage it: another process has it open; close it there first", h->name);
		return MA_VISIT_FAILED;
	}
	if (wants(how, SHMBUDDY_NEW)) {
		ma_fail(EEXIST,
			"%s: cannot create it: the file is a region already; open it without SHMBUDDY_NEW, or choose "
			"another name",
			h->name);
		return MA_VISIT_FAILED;
	}
	/* Beside a reader there may be no first opener yet, who has to take back that it was synced. */
	if ((!certain || ma_load(&header->state) == MA_STATE_SYNCED) && h->writable && !locked)
		return MA_VISIT_AGAIN;
	shmbuddy__handle_note_opening(h, header, locked);
	if ((h->writable && locked && roll_back(f, h, how->salvage) < 0) ||
	    (!h->writable && refuse_torn(h, header) < 0))
		return MA_VISIT_FAILED;
	if (shmbuddy__handle_accept(h, header, MA_OK, &how->options) < 0 ||
	    shmbuddy__handle_map(h, how->options.address) < 0)
		return MA_VISIT_FAILED;
	if (h->writable && locked && prepare(h, header, how->salvage) < 0)
		return MA_VISIT_FAILED;
	if (certain)
		return MA_VISIT_DONE;
	if ((how->salvage ? check_and_salvage(h, header, how->salvage) : check_whole(h)) < 0 ||
	    (h->writable && shmbuddy__handle_make_certain(h, header) < 0))
		return MA_VISIT_FAILED;
	return MA_VISIT_DONE;
}

/* ---- the calls of common/regfile.c ---- */

static enum ma_visit opened(struct ma_regfile *f)
{
	struct shmbuddy *h = ((struct opening *)f->arg)->h;

	h->place = f->place;
	h->mark = ma_fd_mark(h->fd);
	return MA_VISIT_AGAIN;
}

static void lose(struct ma_regfile *f)
{
	shmbuddy__handle_close_fd(((struct opening *)f->arg)->h);
}

static int create(struct ma_regfile *f)
{
	return shmbuddy__create(f->arg, f);
}

static enum ma_visit recover(struct ma_regfile *f)
{
	struct opening *how = f->arg;
	enum ma_visit visit = take_existing(f, true);

	if (visit == MA_VISIT_DONE && shmbuddy__handle_begin_generation(how->h, &f->header) < 0)
		return MA_VISIT_FAILED;
	return visit;
}

static enum ma_visit join(struct ma_regfile *f)
{
	struct opening *how = f->arg;
	enum ma_visit visit = take_existing(f, false);

	return visit == MA_VISIT_DONE && shmbuddy__checkpoint_attach(how->h) < 0 ? MA_VISIT_FAILED : visit;
}

static enum ma_visit look(struct ma_regfile *f)
{
	struct opening *how = f->arg;
	enum ma_visit visit = take_existing(f, false);

	if (visit == MA_VISIT_DONE)
		how->h->opening.first = ma_regfile_is_unused(f);
	return visit;
}

/* ---- open ---- */

static unsigned flags_of(const struct opening *how)
{
	if (wants(how, SHMBUDDY_RDONLY))
		return MA_REGFILE_READ | MA_REGFILE_UNLOCKED;
	return MA_REGFILE_UNLOCKED | (wants(how, SHMBUDDY_EXISTING) ? 0 : MA_REGFILE_CREATE) |
	       (wants(how, SHMBUDDY_EXCLUSIVE) ? MA_REGFILE_EXCLUSIVE : 0);
}

static bool enter(struct opening *how, const char *filename, int fd)
{
	static const struct ma_regfile_calls calls = { opened, lose, create, recover, join, look };
	struct shmbuddy *h = how->h;
	struct ma_regfile f = {
		.filename = filename,
		.from = fd,
		.flags = flags_of(how),
		.kinds = 1u << MA_KIND_SHMBUDDY,
		.mode = how->options.mode,
		.name = h->name,
		.calls = &calls,
		.arg = how,
		.fd = &h->fd,
	};

	if (ma_regfile_enter(&f) != MA_VISIT_DONE)
		return false;
	h->attached = f.attached;
	h->exclusive = f.attached && wants(how, SHMBUDDY_EXCLUSIVE);
	return true;
}

static bool options_fit(const struct opening *how)
{
	if (wants(how, SHMBUDDY_NEW) && wants(how, SHMBUDDY_EXISTING | SHMBUDDY_RDONLY))
		ma_fail(EINVAL, "options contradict each other: SHMBUDDY_NEW with SHMBUDDY_EXISTING or "
				"SHMBUDDY_RDONLY; use one of them");
	else if (wants(how, SHMBUDDY_RDONLY) && wants(how, SHMBUDDY_EXCLUSIVE))
		ma_fail(EINVAL,
			"options contradict each other: SHMBUDDY_RDONLY with SHMBUDDY_EXCLUSIVE; use one of them");
	else
		return true;
	return false;
}

static struct shmbuddy *open_region(const char *filename, int fd, const struct shmbuddy_options *options,
				    const struct ma_reporter *to)
{
	MA_UNCANCELLED;
	struct opening how = { .salvage = to };
	unsigned small, large;
	struct shmbuddy *h;

	if (!shmbuddy__handle_options(options, FILE_FLAGS, &small, &large))
		return NULL;
	if (options)
		how.options = *options;
	if (!options_fit(&how))
		return NULL;
	h = how.h = shmbuddy__handle_new();
	if (!h)
		return NULL;
	h->writable = !wants(&how, SHMBUDDY_RDONLY);
	if (filename)
		snprintf(h->name, sizeof(h->name), "%s", filename);
	else
		ma_file_name(fd, h->name, sizeof(h->name));
	if (!enter(&how, filename, fd)) {
		shmbuddy__handle_drop(h);
		return NULL;
	}
	shmbuddy__handle_open(h);
	return h;
}

shmbuddy_t *shmbuddy_open(const char *filename, const struct shmbuddy_options *options)
{
	int saved = errno;
	shmbuddy_t *h;

	if (!filename)
		return ma_fail_null(EINVAL, "cannot open a region: the file name is NULL; pass a name");
	h = open_region(filename, -1, options, NULL);
	if (h)
		errno = saved;
	return h;
}

shmbuddy_t *shmbuddy_open_fd(int fd, const struct shmbuddy_options *options)
{
	int saved = errno;
	shmbuddy_t *h = open_region(NULL, fd, options, NULL);

	if (h)
		errno = saved;
	return h;
}

shmbuddy_t *shmbuddy_salvage(const char *filename, shmbuddy_report_fn *report, void *arg)
{
	const struct shmbuddy_options options = { .flags = SHMBUDDY_EXISTING };
	const struct ma_reporter to = { report, arg };
	int saved = errno;
	shmbuddy_t *h;

	if (!filename)
		return ma_fail_null(EINVAL, "cannot salvage a region: the file name is NULL; pass a name");
	h = open_region(filename, -1, &options, &to);
	if (h) {
		shmbuddy__salvage_roots(h, &to);
		errno = saved;
	}
	return h;
}

int shmbuddy_unlink(const char *filename)
{
	MA_UNCANCELLED;
	struct ma_header header;
	enum ma_refusal why;
	ssize_t got;
	int fd;

	if (!filename)
		return ma_fail(EINVAL, "cannot unlink a region: the file name is NULL; pass a name");
	fd = ma_fd_open(filename, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return ma_file_fail_open(filename);
	got = pread(fd, &header, sizeof(header), 0);
	ma_fd_shut(fd);
	if (got < 0)
		return ma_fail(errno, "%s: cannot unlink it: its header cannot be read; check the disk", filename);
	why = ma_header_check(&header, (size_t)got, UINT64_MAX, 1u << MA_KIND_SHMBUDDY, false);
	if (why == MA_REFUSE_MAGIC || why == MA_REFUSE_ORDER || why == MA_REFUSE_KIND)
		return ma_refuse(why, filename, &header);
	if (unlink(filename) == 0)
		return 0;
	return ma_fail(errno, "%s: cannot unlink it: unlink(2) failed; check the permissions of its folder", filename);
}
