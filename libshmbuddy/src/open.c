/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions in files. Creation and recovery are done under the exclusive lock of the attach byte, which the kernel gives back
 * when its holder dies; all else needs no lock. The header is only ever written with pwrite(2): no mapping of it can be.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/error.h"
#include "common/fd.h"
#include "common/file.h"
#include "common/lost.h"
#include "inspect.h"
#include "opening.h"

#define WAIT_MS      10000
#define WAIT_BUSY_MS 100 /* For processes that are about to go. */
#define FILE_FLAGS   (SHMBUDDY_EXISTING | SHMBUDDY_NEW | SHMBUDDY_RDONLY | SHMBUDDY_EXCLUSIVE)

enum step { STEP_DONE, STEP_FAILED, STEP_AGAIN };

/* Its name was taken away while we waited, and leads elsewhere now, or nowhere. */
static bool lost_its_name(const struct shmbuddy *h, const struct opening *how)
{
	return how->st.st_nlink == 0 && how->filename && !shmbuddy__opening_leads_here(h, how);
}

/* ---- what the header says ---- */

static enum ma_refusal read_header(struct shmbuddy *h, struct opening *how, struct ma_header *header)
{
	ssize_t got = pread(h->fd, header, sizeof(*header), 0);

	if (got < 0 || fstat(h->fd, &how->st) < 0)
		return MA_REFUSE_READ;
	how->was_empty = got == 0;
	return ma_header_check(header, (size_t)got, (uint64_t)how->st.st_size, 1u << MA_KIND_SHMBUDDY, h->writable);
}

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
 * There may be holes where zeros were: in a copy, or in a file that was written anew in place. What is said of the parts stays as it is:
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
			       "%s: region is damaged: a part without disk space is in use; run: mapalloc repair, or "
			       "restore a copy",
			       h->name);
	return result;
}

static enum step take_existing(struct shmbuddy *h, struct opening *how, struct ma_header *header, bool locked)
{
	bool certain = shmbuddy__handle_is_certain(h, header);

	if (wants(how, SHMBUDDY_NEW)) {
		ma_fail(EEXIST,
			"%s: cannot create it: the file is a region already; open it without SHMBUDDY_NEW, or choose "
			"another name",
			h->name);
		return STEP_FAILED;
	}
	if (!certain && h->writable && !locked)
		return STEP_AGAIN;
	shmbuddy__handle_note_opening(h, header, locked);
	if (shmbuddy__handle_accept(h, header, MA_OK, &how->options) < 0 ||
	    shmbuddy__handle_map(h, how->options.address) < 0)
		return STEP_FAILED;
	if (h->writable && locked && back_again(h) < 0)
		return STEP_FAILED;
	if (certain)
		return STEP_DONE;
	if (check_whole(h) < 0 || (h->writable && shmbuddy__handle_make_certain(h, header) < 0))
		return STEP_FAILED;
	return STEP_DONE;
}

/* Is this a file of zeros, or one that was, and that a region was about to be made in? */
static bool is_given(struct shmbuddy *h, struct opening *how, const struct ma_header *header, enum ma_refusal why)
{
	bool half = why == MA_REFUSE_HALF && memcmp(header->magic, MA_MAGIC_GIVEN, sizeof(header->magic)) == 0;

	how->given = 0;
	if (!half && (why != MA_REFUSE_MAGIC || !ma_file_is_zero(h->fd, 0, (uint64_t)how->st.st_size)))
		return false;
	how->given = (uint64_t)how->st.st_size;
	return how->given > 0;
}

static enum step examine(struct shmbuddy *h, struct opening *how, bool locked)
{
	struct ma_header header;
	enum ma_refusal why = read_header(h, how, &header);
	bool empty = how->st.st_size == 0;
	bool may_make = !wants(how, SHMBUDDY_EXISTING | SHMBUDDY_RDONLY) && why != MA_REFUSE_READ;
	bool given = may_make && is_given(h, how, &header, why);
	bool new = may_make && (empty || given || why == MA_REFUSE_HALF) && !ma_file_is_special(h->fd);

	if (how->was_empty && how->st.st_size > 0) /* Something has come since: read that. */
		return STEP_AGAIN;
	if (why == MA_OK)
		return take_existing(h, how, &header, locked);
	if (new && !locked)
		return STEP_AGAIN;
	if (!new) {
		shmbuddy__handle_accept(h, &header, why, NULL);
		return STEP_FAILED;
	}
	if (shmbuddy__create(h, how, &header) == 0)
		return STEP_DONE;
	shmbuddy__create_undo(h, how);
	return STEP_FAILED;
}

/* ---- the attach byte ---- */

/* We have it exclusively: make or take the region, then let the others in, or keep them out. */
static enum step be_first(struct shmbuddy *h, struct opening *how)
{
	enum step step;

	if (fstat(h->fd, &how->st) == 0 && lost_its_name(h, how)) {
		shmbuddy__handle_close_fd(h);
		return STEP_AGAIN;
	}
	step = examine(h, how, true);
	if (step == STEP_DONE && !h->opening.created && shmbuddy__handle_begin_generation(h) < 0)
		step = STEP_FAILED;
	if (step == STEP_DONE) {
		h->attached = true;
		h->exclusive = wants(how, SHMBUDDY_EXCLUSIVE) && ma_file_stay_exclusive(h->fd) == 0;
	}
	if (step == STEP_AGAIN)
		ma_file_detach(h->fd);
	else if (!h->exclusive)
		ma_file_attach_shared(h->fd);
	return step;
}

/* Others have it, shared: come in beside them, unless there is something to make or to check first. */
static enum step be_another(struct shmbuddy *h, struct opening *how)
{
	enum step step;

	if (ma_file_attach_shared(h->fd) < 0)
		return STEP_AGAIN;
	step = examine(h, how, false);
	h->attached = step == STEP_DONE;
	if (step == STEP_AGAIN)
		ma_file_detach(h->fd);
	return step;
}

/* No locks here: what needs none can be done. */
static enum step be_blind(struct shmbuddy *h, struct opening *how)
{
	int error = errno;
	enum step step = wants(how, SHMBUDDY_EXCLUSIVE) ? STEP_AGAIN : examine(h, how, false);

	if (step != STEP_AGAIN)
		return step;
	ma_fail(error,
		"%s: cannot lock it: its file system has no open-file-description locks; use another file system",
		h->name);
	return STEP_FAILED;
}

/* After so long, is there a reason not to wait any longer for those who have it? Then -1 with errno. */
static int impatience(struct shmbuddy *h, const struct opening *how, unsigned ms)
{
	if (ma_file_is_kept(h->fd))
		return ma_fail(EBUSY,
			       "%s: cannot open it: another process has it open exclusively; wait for it to close it",
			       h->name);
	if (ms >= WAIT_BUSY_MS && ma_file_blame_self(h->fd, h->name))
		return -1;
	if (ms >= WAIT_MS && ma_file_blame(h->fd, MA_FILE_ATTACH_BYTE, h->name, "cannot open it"))
		return -1;
	if (wants(how, SHMBUDDY_EXCLUSIVE) && ms >= WAIT_BUSY_MS)
		return ma_fail(EBUSY,
			       "%s: cannot open it exclusively: another process has it open; wait for it to close it",
			       h->name);
	if (ms >= WAIT_MS)
		return ma_fail(EAGAIN,
			       "%s: cannot open it: another process has been creating or checking it for 10 seconds; "
			       "try again",
			       h->name);
	return 0;
}

static enum step attach(struct shmbuddy *h, struct opening *how)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	enum step step;

	for (unsigned ms = 0;; ms++) {
		if (ma_file_attach_exclusive(h->fd) == 0) {
			step = be_first(h, how);
		} else {
			if (errno != EAGAIN)
				return be_blind(h, how);
			if (impatience(h, how, ms) < 0)
				return STEP_FAILED;
			step = wants(how, SHMBUDDY_EXCLUSIVE) ? STEP_AGAIN : be_another(h, how);
		}
		if (step != STEP_AGAIN || h->fd < 0) /* With its name gone, another file is opened. */
			return step;
		nanosleep(&pause, NULL);
	}
}

/* A reader takes no lock, and keeps out of what another process has to itself. */
static enum step read_only(struct shmbuddy *h, struct opening *how)
{
	struct flock found;
	enum step step;

	if (ma_file_is_kept(h->fd)) {
		ma_fail(EBUSY, "%s: cannot open it: another process has it open exclusively; wait for it to close it",
			h->name);
		return STEP_FAILED;
	}
	do
		step = examine(h, how, false);
	while (step == STEP_AGAIN);
	if (step == STEP_DONE)
		h->opening.first = ma_file_lock(h->fd, F_OFD_GETLK, F_WRLCK, MA_FILE_ATTACH_BYTE, &found) == 0 &&
				   found.l_type == F_UNLCK;
	return step;
}

/* A file of ours that never came to be a region goes, unless somebody else is making one of it. */
static void take_name_back(struct shmbuddy *h, struct opening *how)
{
	int saved = errno;
	bool others;

	if (!how->created || h->fd < 0)
		return;
	others = ma_file_attach_exclusive(h->fd) < 0 && errno == EAGAIN;
	if (!others && fstat(h->fd, &how->st) == 0 && how->st.st_size == 0 && shmbuddy__opening_leads_here(h, how))
		unlink(how->filename);
	errno = saved;
}

static enum step attempt(struct shmbuddy *h, struct opening *how)
{
	if (shmbuddy__opening_file(h, how) < 0)
		return STEP_FAILED;
	return h->writable ? attach(h, how) : read_only(h, how);
}

static struct shmbuddy *open_region(struct opening *how, const struct shmbuddy_options *options)
{
	MA_UNCANCELLED;
	unsigned small, large;
	struct shmbuddy *h;
	enum step step;

	if (!shmbuddy__handle_options(options, FILE_FLAGS, &small, &large))
		return NULL;
	if (options)
		how->options = *options;
	if (wants(how, SHMBUDDY_NEW) && wants(how, SHMBUDDY_EXISTING | SHMBUDDY_RDONLY))
		return ma_fail_null(EINVAL, "options contradict each other: SHMBUDDY_NEW with SHMBUDDY_EXISTING or "
					    "SHMBUDDY_RDONLY; use one of them");
	if (wants(how, SHMBUDDY_RDONLY) && wants(how, SHMBUDDY_EXCLUSIVE))
		return ma_fail_null(EINVAL,
				    "options contradict each other: SHMBUDDY_RDONLY with SHMBUDDY_EXCLUSIVE; use one "
				    "of them");
	h = shmbuddy__handle_new();
	if (!h)
		return NULL;
	h->writable = !wants(how, SHMBUDDY_RDONLY);
	if (how->filename)
		snprintf(h->name, sizeof(h->name), "%s", how->filename);
	else
		ma_file_name(how->fd, h->name, sizeof(h->name));
	do
		step = attempt(h, how);
	while (step == STEP_AGAIN);
	if (step == STEP_FAILED) {
		take_name_back(h, how);
		shmbuddy__handle_drop(h);
		return NULL;
	}
	shmbuddy__handle_open(h);
	return h;
}

shmbuddy_t *shmbuddy_open(const char *filename, const struct shmbuddy_options *options)
{
	struct opening how = { .filename = filename, .fd = -1 };
	int saved = errno;
	shmbuddy_t *h;

	if (!filename)
		return ma_fail_null(EINVAL, "cannot open a region: the file name is NULL; pass a name");
	h = open_region(&how, options);
	if (h)
		errno = saved;
	return h;
}

shmbuddy_t *shmbuddy_open_fd(int fd, const struct shmbuddy_options *options)
{
	struct opening how = { .fd = fd };
	int saved = errno;
	shmbuddy_t *h = open_region(&how, options);

	if (h)
		errno = saved;
	return h;
}

int shmbuddy_unlink(const char *filename)
{
	MA_UNCANCELLED;
	struct shmbuddy h = { .fd = -1 };
	struct ma_header header;
	enum ma_refusal why;
	ssize_t got;

	if (!filename)
		return ma_fail(EINVAL, "cannot unlink a region: the file name is NULL; pass a name");
	h.fd = ma_fd_open(filename, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (h.fd < 0)
		return ma_file_fail_open(filename);
	got = pread(h.fd, &header, sizeof(header), 0);
	ma_fd_shut(h.fd);
	if (got < 0)
		return ma_fail(errno, "%s: cannot unlink it: its header cannot be read; check the disk", filename);
	why = ma_header_check(&header, (size_t)got, UINT64_MAX, 1u << MA_KIND_SHMBUDDY, false);
	if (why == MA_REFUSE_MAGIC || why == MA_REFUSE_ORDER || why == MA_REFUSE_KIND)
		return ma_refuse(why, filename, &header);
	if (unlink(filename) == 0)
		return 0;
	return ma_fail(errno, "%s: cannot unlink it: unlink(2) failed; check the permissions of its folder", filename);
}
