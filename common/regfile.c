/* SPDX-License-Identifier: BSD-3-Clause */
/* See regfile.h. */
#include "common/regfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fd.h"
#include "common/file.h"
#include "common/stamp.h"

#define WAIT_MS      10000
#define WAIT_BUSY_MS 100 /* For processes that only look, or are about to go. */

static bool wants(const struct ma_regfile *f, unsigned flag)
{
	return f->flags & flag;
}

static enum ma_visit failed(int result)
{
	return result < 0 ? MA_VISIT_FAILED : MA_VISIT_DONE;
}

/* ---- the file ---- */

static int open_flags(bool reading)
{
	return (reading ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
}

int ma_regfile_reopen(int fd, bool reading)
{
	int had = fcntl(fd, F_GETFL);
	char path[64];

	if (had < 0)
		return -1;
	/* A descriptor that is not open for writing gives no right to open the file for writing. */
	if (!reading && (had & O_ACCMODE) != O_RDWR) {
		errno = EACCES;
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return ma_fd_aside(open(path, open_flags(reading)));
}

/* One that this process had to keep open, in place of another one. */
static int parked(const struct ma_regfile *f)
{
	struct stat st;
	int found = f->filename ? stat(f->filename, &st) : fstat(f->from, &st);

	return found == 0 ? ma_fd_unpark(st.st_dev, st.st_ino, open_flags(wants(f, MA_REGFILE_READ)) & O_ACCMODE) : -1;
}

/* New files are made exclusively, which follows no symbolic link. */
static int open_name(struct ma_regfile *f)
{
	int flags = open_flags(wants(f, MA_REGFILE_READ)), fd;

	f->named = false;
	do {
		fd = open(f->filename, flags);
		if (fd >= 0 || errno != ENOENT || !wants(f, MA_REGFILE_CREATE))
			return fd;
		fd = open(f->filename, flags | O_CREAT | O_EXCL, f->mode ? f->mode : 0600);
	} while (fd < 0 && errno == EEXIST && access(f->filename, F_OK) == 0);
	f->named = fd >= 0;
	return fd;
}

static int open_file(struct ma_regfile *f)
{
	int fd = parked(f);

	if (fd < 0)
		fd = f->filename ? ma_fd_aside(open_name(f)) : ma_regfile_reopen(f->from, wants(f, MA_REGFILE_READ));
	*f->fd = fd;
	if (fd < 0)
		return ma_file_fail_open(f->name);
	if (fstat(fd, &f->st) < 0)
		return ma_fail(errno, "%s: cannot open it: fstat(2) failed; check the file system", f->name);
	if (!S_ISREG(f->st.st_mode))
		return ma_fail(S_ISDIR(f->st.st_mode) ? EISDIR : EINVAL,
			       "%s: cannot open it: it is %s, not a regular file; name a file", f->name,
			       S_ISDIR(f->st.st_mode) ? "a directory" : "a device, a FIFO or a socket");
	f->place = ma_place_of(fd, &f->st);
	f->mount = f->place.mount;
	return 0;
}

/* Does the name lead to the file that was opened? */
static bool leads_here(const struct ma_regfile *f)
{
	struct stat now;

	return f->filename && stat(f->filename, &now) == 0 && now.st_ino == f->st.st_ino && now.st_dev == f->st.st_dev;
}

/* Its name was taken away while we waited, and leads elsewhere now, or nowhere. (/proc/self/fd/N still leads here.) */
static bool lost_its_name(const struct ma_regfile *f)
{
	return f->st.st_nlink == 0 && f->filename && !leads_here(f);
}

bool ma_regfile_is_unused(const struct ma_regfile *f)
{
	struct flock found;

	return ma_file_lock(*f->fd, F_OFD_GETLK, F_WRLCK, MA_FILE_ATTACH_BYTE, &found) == 0 && found.l_type == F_UNLCK;
}

/* A process that is attached has found the file in order, and keeps its file system mounted: then it is no matter by which mount we came. */
static void find_place(struct ma_regfile *f)
{
	f->place.mount = f->mount;
	if (f->mount != f->header.mount && ma_file_has_members(*f->fd))
		f->place.mount = f->header.mount;
}

/* The whole header is there, and all else is right with it. */
static bool is_short(const struct ma_regfile *f)
{
	return f->why == MA_REFUSE_SHORT && f->st.st_size >= (off_t)sizeof(f->header);
}

static bool was_cut(const struct ma_regfile *f)
{
	return is_short(f) && ma_header_was_cut(&f->header, &f->place);
}

/* A disk that fails: errno says how. False: it was empty, and is not any more: something has come since. */
static bool read_header(struct ma_regfile *f)
{
	ssize_t got = pread(*f->fd, &f->header, sizeof(f->header), 0);

	f->why = MA_REFUSE_READ;
	if (got < 0 || fstat(*f->fd, &f->st) < 0)
		return true;
	f->why =
		ma_header_check(&f->header, (size_t)got, (uint64_t)f->st.st_size, f->kinds, !wants(f, MA_REGFILE_READ));
	if (f->why == MA_OK || is_short(f))
		find_place(f);
	return got > 0 || f->st.st_size == 0;
}

static enum ma_visit refuse(const struct ma_regfile *f)
{
	if (was_cut(f))
		ma_fail(ma_refusal_errno(f->why),
			"%s: cannot open it: it is shorter than its header says, because the machine died while it "
			"grew; open it once "
			"for writing, which makes it longer and verifies it",
			f->name);
	else
		ma_refuse(f->why, f->name, &f->header);
	return MA_VISIT_FAILED;
}

/* ---- a new one ---- */

static bool is_magic(const struct ma_regfile *f, const char *magic)
{
	return f->st.st_size >= 8 && memcmp(f->header.magic, magic, 8) == 0;
}

/* May it be made of this file? Anything but zeros and an unfinished creation is the program's data. The attach byte is ours. */
static bool may_be_made(struct ma_regfile *f)
{
	f->given = 0;
	if (!wants(f, MA_REGFILE_CREATE) || (f->why != MA_REFUSE_MAGIC && f->why != MA_REFUSE_HALF) ||
	    ma_file_is_special(*f->fd))
		return false;
	f->half = f->why == MA_REFUSE_HALF;
	if (f->st.st_size == 0 || (f->half && !is_magic(f, MA_MAGIC_GIVEN)))
		return true;
	f->given = (uint64_t)f->st.st_size;
	return f->half || ma_file_is_zero(*f->fd, 0, f->given);
}

/* The first eight bytes are written first and last; what is between them a killed creator may have left. */
static int size_given(const struct ma_regfile *f, uint64_t length)
{
	if (f->half && ma_file_make_zero(*f->fd, 8, f->given) < 0)
		return ma_fail(errno,
			       "%s: cannot create it: cannot clear what an unfinished creation left; remove the file",
			       f->name);
	if (!ma_file_allowed(length) || pwrite(*f->fd, MA_MAGIC_GIVEN, 8, 0) != 8 ||
	    (length > f->given && ma_file_set_length(*f->fd, length) < 0))
		return ma_fail(errno, "%s: cannot make it %" PRIu64 " bytes long", f->name, length);
	return 0;
}

/* Empty, then marked as half made, then long. Killed in between: the next creator begins again. */
int ma_regfile_size(const struct ma_regfile *f, uint64_t length)
{
	if (f->given)
		return size_given(f, length);
	if (ma_file_allowed(length) && ma_file_set_length(*f->fd, 0) == 0 && pwrite(*f->fd, MA_MAGIC_HALF, 8, 0) == 8 &&
	    ma_file_set_length(*f->fd, length) == 0)
		return 0;
	return ma_fail(errno,
		       "%s: cannot create it: the file cannot be %" PRIu64
		       " bytes long; check `ulimit -f`, disk space and quota",
		       f->name, length);
}

/* The mark goes last: killed before, the next creator begins again. */
static int make_zeros(const struct ma_regfile *f)
{
	struct stat st;

	if (fstat(*f->fd, &st) == 0 && (uint64_t)st.st_size > f->given && ma_file_set_length(*f->fd, f->given) < 0)
		return -1;
	if (ma_file_make_zero(*f->fd, 8, f->given) < 0)
		return -1;
	return ma_file_make_zero(*f->fd, 0, 8);
}

/* Leave no trace of a creation that failed: the zeros, an empty file, or none when it was us who made it. */
static void undo(const struct ma_regfile *f)
{
	int saved = errno;

	if (f->given && make_zeros(f) < 0)
		ma_debug("%s: cannot make it zeros again after a failed creation", f->name);
	else if (!f->given && ma_file_set_length(*f->fd, 0) < 0)
		ma_debug("%s: cannot empty it after a failed creation; remove the file", f->name);
	if (!f->given && f->named && leads_here(f))
		unlink(f->filename);
	errno = saved;
}

static enum ma_visit create(struct ma_regfile *f)
{
	if (f->calls->create(f) == 0)
		return MA_VISIT_DONE;
	undo(f);
	return MA_VISIT_FAILED;
}

/* A file of ours that never came to be anything goes, unless another process is making something of it. */
static void take_name_back(struct ma_regfile *f)
{
	int saved = errno;
	bool others;

	if (!f->named || *f->fd < 0)
		return;
	others = ma_file_attach_exclusive(*f->fd) < 0 && errno == EAGAIN;
	if (!others && fstat(*f->fd, &f->st) == 0 && f->st.st_size == 0 && leads_here(f))
		unlink(f->filename);
	errno = saved;
}

/* ---- one that a power cut left too short ---- */

/* As long as it says, of zeros: whether these will do the whole check decides, for nothing is certain in such a file. */
static bool make_whole(struct ma_regfile *f)
{
	uint64_t length = ma_load(&f->header.length);

	f->cut_at = (uint64_t)f->st.st_size;
	if (ma_file_allowed(length) && ma_file_lengthen(*f->fd, length) == 0) {
		ma_debug("%s: it was shorter than its header says, because the machine died while it grew: %" PRIu64
			 " bytes, now %" PRIu64,
			 f->name, f->cut_at, length);
		f->why = MA_OK;
		return true;
	}
	ma_fail(errno,
		"%s: cannot open it: the machine died while it grew, and it cannot be made %" PRIu64
		" bytes long again; check `ulimit -f`, disk space and quota",
		f->name, length);
	return false;
}

/* It is refused: it stays as it was. */
static void leave_short(const struct ma_regfile *f)
{
	int saved = errno;

	if (f->cut_at && *f->fd >= 0 && ma_file_set_length(*f->fd, f->cut_at) < 0)
		ma_debug("%s: cannot make it as short again as it was", f->name);
	errno = saved;
}

/* ---- the ways in ---- */

/* We are the first: let the others in, or keep them out. */
static enum ma_visit settle(struct ma_regfile *f)
{
	int result = wants(f, MA_REGFILE_EXCLUSIVE) ? ma_file_stay_exclusive(*f->fd) : ma_file_attach_shared(*f->fd);

	f->attached = result == 0;
	return failed(result);
}

/* It is a map, or refused. */
static enum ma_visit use(struct ma_regfile *f)
{
	enum ma_visit visit = MA_VISIT_FAILED;

	f->cut_at = 0;
	if (!was_cut(f) && f->why != MA_OK)
		return refuse(f);
	if (f->why == MA_OK || make_whole(f))
		visit = f->calls->recover(f);
	if (visit != MA_VISIT_DONE)
		leave_short(f);
	return visit;
}

static enum ma_visit be_first(struct ma_regfile *f)
{
	enum ma_visit visit = MA_VISIT_AGAIN;

	if (fstat(*f->fd, &f->st) < 0)
		return failed(ma_fail(errno, "%s: cannot open it: fstat(2) failed; check the file system", f->name));
	if (lost_its_name(f)) {
		f->calls->lose(f);
		return MA_VISIT_REOPEN;
	}
	if (read_header(f))
		visit = may_be_made(f) ? create(f) : use(f);
	if (visit == MA_VISIT_AGAIN)
		ma_file_detach(*f->fd);
	return visit == MA_VISIT_DONE ? settle(f) : visit;
}

/*
 * The magic number is written last: a file without it may still become what it is to be. One that was cut short is made longer by the first opener, which
 * may be us: beside us may be a reader. Any other refusal is final.
 */
static bool is_pending(const struct ma_regfile *f)
{
	return f->why == MA_REFUSE_MAGIC || f->why == MA_REFUSE_HALF || was_cut(f);
}

static enum ma_visit join(struct ma_regfile *f)
{
	if (!read_header(f))
		return MA_VISIT_AGAIN;
	if (f->why != MA_OK)
		return is_pending(f) ? MA_VISIT_AGAIN : refuse(f);
	return f->calls->join(f);
}

static enum ma_visit be_another(struct ma_regfile *f)
{
	enum ma_visit visit;

	if (ma_file_visit(*f->fd) < 0)
		return MA_VISIT_AGAIN;
	visit = join(f);
	f->attached = visit == MA_VISIT_DONE;
	if (f->attached)
		ma_file_attach_shared(*f->fd);
	if (visit == MA_VISIT_AGAIN)
		ma_file_detach(*f->fd);
	return visit;
}

/* No locks here: what needs none can be done. */
static enum ma_visit be_blind(struct ma_regfile *f)
{
	int error = errno;
	bool may = wants(f, MA_REGFILE_UNLOCKED) && !wants(f, MA_REGFILE_EXCLUSIVE);
	enum ma_visit visit = may ? join(f) : MA_VISIT_AGAIN;

	if (visit != MA_VISIT_AGAIN)
		return visit;
	return failed(ma_fail(
		error,
		"%s: cannot lock it: its file system has no open-file-description locks; use another file system",
		f->name));
}

static enum ma_visit look(struct ma_regfile *f)
{
	if (!read_header(f))
		return MA_VISIT_AGAIN;
	return f->why == MA_OK ? f->calls->look(f) : refuse(f);
}

/* ---- waiting ---- */

static int64_t now_ms(void)
{
	return (int64_t)(ma_now_ns(CLOCK_MONOTONIC) / 1000000);
}

static void nap(unsigned turn)
{
	struct timespec t = { .tv_nsec = 200000 + (long)(ma_mix((uint64_t)getpid() + turn) % 2000000) };

	nanosleep(&t, NULL);
}

/*
 * Another process has the attach byte. An open does not wait for one that keeps it, and an exclusive open waits for none. True: -1 with errno
 * is the answer.
 */
static bool is_hopeless(const struct ma_regfile *f, int64_t began)
{
	int64_t ms = now_ms() - began;

	if (ma_file_is_kept(*f->fd)) {
		ma_fail(EBUSY, "%s: cannot open it: another process has it open exclusively; wait for it to close it",
			f->name);
		return true;
	}
	if (ms < WAIT_BUSY_MS)
		return false;
	if (ma_file_blame_self(*f->fd, f->name) ||
	    (ms >= WAIT_MS && ma_file_blame(*f->fd, MA_FILE_ATTACH_BYTE, f->name, "cannot open it")))
		return true;
	if (wants(f, MA_REGFILE_EXCLUSIVE))
		ma_fail(EBUSY, "%s: cannot open it exclusively: another process has it open; wait for it to close it",
			f->name);
	else if (ms >= WAIT_MS)
		ma_fail(EAGAIN,
			"%s: cannot open it: another process has been creating or recovering it for %d s; try again",
			f->name, WAIT_MS / 1000);
	return wants(f, MA_REGFILE_EXCLUSIVE) || ms >= WAIT_MS;
}

static enum ma_visit try_to_write(struct ma_regfile *f)
{
	if (ma_file_attach_exclusive(*f->fd) == 0)
		return be_first(f);
	if (errno != EAGAIN)
		return be_blind(f);
	return wants(f, MA_REGFILE_EXCLUSIVE) ? MA_VISIT_AGAIN : be_another(f);
}

/* Without locks no process can be creating under one either. */
static enum ma_visit try_to_read(struct ma_regfile *f)
{
	bool locked = !wants(f, MA_REGFILE_UNLOCKED) && ma_file_visit(*f->fd) == 0;
	enum ma_visit visit;

	if (!locked && errno == EAGAIN && !wants(f, MA_REGFILE_UNLOCKED))
		return MA_VISIT_AGAIN;
	if (wants(f, MA_REGFILE_UNLOCKED) && ma_file_is_kept(*f->fd))
		return MA_VISIT_AGAIN;
	visit = look(f);
	if (locked && visit != MA_VISIT_FAILED && *f->fd >= 0) /* Else closing it did, or will: errno stays as it is. */
		ma_file_detach(*f->fd);
	return visit;
}

static enum ma_visit attach(struct ma_regfile *f)
{
	int64_t began = now_ms();
	enum ma_visit visit;

	for (unsigned turn = 0;; turn++) {
		visit = wants(f, MA_REGFILE_READ) ? try_to_read(f) : try_to_write(f);
		if (visit != MA_VISIT_AGAIN)
			return visit;
		if (is_hopeless(f, began))
			return MA_VISIT_FAILED;
		nap(turn);
	}
}

enum ma_visit ma_regfile_enter(struct ma_regfile *f)
{
	enum ma_visit visit;

	do {
		visit = open_file(f) < 0 ? MA_VISIT_FAILED : f->calls->opened(f);
		if (visit == MA_VISIT_AGAIN)
			visit = attach(f);
	} while (visit == MA_VISIT_REOPEN);
	if (visit == MA_VISIT_FAILED)
		take_name_back(f);
	return visit;
}
