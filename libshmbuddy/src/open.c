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

#include "common/error.h"
#include "common/file.h"
#include "handle.h"

#define WAIT_MS    10000
#define MOST_EAGER ((uint64_t)1 << 30)
#define FILE_FLAGS (SHMBUDDY_EXISTING | SHMBUDDY_NEW | SHMBUDDY_RDONLY)

struct opening {
	const char *filename; /* NULL: by descriptor. */
	int fd;
	struct shmbuddy_options options;
	bool created;   /* The name is ours. */
	bool was_empty; /* When its header was read: by the time of st somebody may have begun to make a region. */
	struct stat st;
};

enum step { STEP_DONE, STEP_FAILED, STEP_AGAIN };

static bool wants(const struct opening *how, unsigned flag)
{
	return how->options.flags & flag;
}

/* ---- the file ---- */

static int open_name(struct opening *how, int flags)
{
	mode_t mode = how->options.mode ? how->options.mode : 0600;
	int fd;

	how->created = false;
	do {
		fd = ma_file_above_standard(open(how->filename, flags));
		if (fd >= 0 || errno != ENOENT || wants(how, SHMBUDDY_EXISTING | SHMBUDDY_RDONLY))
			return fd;
		fd = ma_file_above_standard(open(how->filename, flags | O_CREAT | O_EXCL, mode));
	} while (fd < 0 && errno == EEXIST && access(how->filename, F_OK) == 0);
	how->created = fd >= 0;
	return fd;
}

/* An open file description of our own, for the lock. */
static int reopen(const struct opening *how, int flags)
{
	int had = fcntl(how->fd, F_GETFL);
	char path[64];

	if (had < 0)
		return -1;
	if ((flags & O_ACCMODE) == O_RDWR && (had & O_ACCMODE) != O_RDWR) {
		errno = EACCES;
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", how->fd);
	return ma_file_above_standard(open(path, flags));
}

static int open_file(struct shmbuddy *h, struct opening *how)
{
	int flags = (h->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

	h->fd = how->filename ? open_name(how, flags) : reopen(how, flags);
	if (h->fd < 0)
		return ma_fail(errno, "%s: cannot open it", h->name);
	if (fstat(h->fd, &how->st) < 0)
		return ma_fail(errno, "%s: cannot look at it", h->name);
	if (!S_ISREG(how->st.st_mode))
		return ma_fail(S_ISDIR(how->st.st_mode) ? EISDIR : EINVAL, "%s: is not a regular file", h->name);
	h->device = (uint64_t)how->st.st_dev;
	h->inode = (uint64_t)how->st.st_ino;
	return 0;
}

static bool leads_here(const struct shmbuddy *h, const struct opening *how)
{
	struct stat now;

	return stat(how->filename, &now) == 0 && (uint64_t)now.st_ino == h->inode && (uint64_t)now.st_dev == h->device;
}

/* Its name was taken away while we waited, and leads elsewhere now, or nowhere. */
static bool lost_its_name(const struct shmbuddy *h, const struct opening *how)
{
	return how->st.st_nlink == 0 && how->filename && !leads_here(h, how);
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

/* The kernel's name for this run of the machine, as text; equal to nobody's where there is no /proc. */
static void boot_id(uint8_t id[16])
{
	char text[40] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	uint64_t hash[2] = { 0, 0 };

	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) < 36)
			text[0] = '\0';
		close(fd);
	}
	for (char *at = text; *at; at++) {
		hash[0] = ma_mix(hash[0] ^ (unsigned char)*at);
		hash[1] = ma_mix(hash[1] + hash[0]);
	}
	memcpy(id, hash, 16);
}

bool shmbuddy__handle_is_certain(const struct shmbuddy *h, const struct ma_header *header)
{
	uint8_t id[16], none[16] = { 0 };

	boot_id(id);
	return header->device == h->device && header->inode == h->inode && memcmp(id, header->boot_id, 16) == 0 &&
	       memcmp(id, none, 16) != 0;
}

/* From now on it is. Killed before or while writing: the next opener checks it all again. */
static int make_certain(struct shmbuddy *h, struct ma_header *header)
{
	size_t first = offsetof(struct ma_header, boot_id);

	boot_id(header->boot_id);
	header->device = h->device;
	header->inode = h->inode;
	if (pwrite(h->fd, (char *)header + first, 32, (off_t)first) != 32)
		return ma_fail(errno, "%s: cannot write its header", h->name);
	return 0;
}

/* ---- a new one ---- */

static int set_length(struct shmbuddy *h)
{
	if (!ma_file_allowed(h->lay.total) || ma_file_set_length(h->fd, 0) < 0 ||
	    pwrite(h->fd, MA_MAGIC_HALF, 8, 0) != 8 || ma_file_set_length(h->fd, h->lay.total) < 0)
		return ma_fail(errno, "%s: cannot make it %" PRIu64 " bytes long", h->name, h->lay.total);
	return 0;
}

/* Space for the tables of the whole; or, where the disk cannot promise any, for all there is. */
static int have_space(struct shmbuddy *h, const struct opening *how)
{
	int result = ma_file_take(h->fd, 0, h->lay.meta_at);

	if (result < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
		if (!shmbuddy__handle_plan(&how->options, false, &h->lay))
			return -1;
		if (h->lay.total > MOST_EAGER)
			return ma_fail(EOPNOTSUPP, "%s: this file system has no fallocate: 1 GiB at most", h->name);
		if (set_length(h) < 0)
			return -1;
		result = ma_file_take_by_writing(h->fd, 0, h->lay.total);
	}
	if (result < 0)
		return ma_fail(errno, "%s: no disk space for its tables", h->name);
	return 0;
}

static int format_file(struct shmbuddy *h, struct opening *how)
{
	struct ma_header header;

	if (!shmbuddy__handle_plan(&how->options, true, &h->lay) || set_length(h) < 0 || have_space(h, how) < 0)
		return -1;
	shmbuddy__handle_header(h, &header);
	if (pwrite(h->fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) || make_certain(h, &header) < 0)
		return ma_fail(errno, "%s: cannot write its header", h->name);
	if (shmbuddy__handle_map(h, how->options.address) < 0)
		return -1;
	if (h->lay.sparse && shmbuddy__region_back(h, 0, 1) < 0)
		return ma_fail(errno, "%s: no disk space for its first part", h->name);
	shmbuddy__handle_furnish(h);
	if (pwrite(h->fd, MA_MAGIC, 8, 0) != 8)
		return ma_fail(errno, "%s: cannot write its header", h->name);
	return 0;
}

/* Leave no trace of a creation that failed: an empty file, or none when it was us who made it. */
static void undo(struct shmbuddy *h, const struct opening *how)
{
	int saved = errno;

	if (ma_file_set_length(h->fd, 0) < 0)
		ma_debug("%s: cannot empty it after a failed creation", h->name);
	if (how->created && leads_here(h, how))
		unlink(how->filename);
	errno = saved;
}

/* ---- an old one ---- */

static void complain(const char *text, void *arg)
{
	struct shmbuddy *h = arg;

	ma_debug("%s: %s", h->name, text);
}

/* One that has all its space from the start. */
static int take_all(struct shmbuddy *h)
{
	int result = ma_file_take(h->fd, 0, h->lay.total);

	if (result < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		result = ma_file_take_by_writing(h->fd, 0, h->lay.total);
	return result < 0 ? ma_fail(errno, "%s: no disk space for this copy", h->name) : 0;
}

/* A copy has holes where zeros were. What is said of the parts stays as it is: killed here, the next one does all of it again. */
static int back_again(struct shmbuddy *h)
{
	int result = 0;

	if (!h->lay.sparse)
		return take_all(h);
	if (ma_file_take(h->fd, 0, h->lay.meta_at) < 0 && errno != EOPNOTSUPP)
		result = -1;
	for (uint64_t part = 0; part < h->lay.parts && result == 0; part++)
		if (region_is_backed(h, part))
			result = shmbuddy__region_back_part(h, part);
	return result < 0 ? ma_fail(errno, "%s: no disk space for what this copy uses", h->name) : 0;
}

static int check_whole(struct shmbuddy *h)
{
	int result;

	shmbuddy__handle_open(h);
	result = shmbuddy_check(h, complain, h);
	ma_store(&h->id, 0);
	if (result == 0 && !shmbuddy__handle_no_part_was_lost(h))
		return ma_fail(EUCLEAN, "%s: a part that has no disk space yet is in use", h->name);
	return result;
}

static enum step take_existing(struct shmbuddy *h, struct opening *how, struct ma_header *header, bool locked)
{
	bool certain = shmbuddy__handle_is_certain(h, header);

	if (wants(how, SHMBUDDY_NEW)) {
		ma_fail(EEXIST, "%s: there is a region already", h->name);
		return STEP_FAILED;
	}
	if (!certain && h->writable && !locked)
		return STEP_AGAIN;
	if (shmbuddy__handle_accept(h, header, MA_OK, &how->options) < 0 ||
	    shmbuddy__handle_map(h, how->options.address) < 0)
		return STEP_FAILED;
	if (certain)
		return STEP_DONE;
	if (h->writable && header->inode != h->inode && back_again(h) < 0)
		return STEP_FAILED;
	if (check_whole(h) < 0 || (h->writable && make_certain(h, header) < 0))
		return STEP_FAILED;
	return STEP_DONE;
}

static enum step look(struct shmbuddy *h, struct opening *how, bool locked)
{
	struct ma_header header;
	enum ma_refusal why = read_header(h, how, &header);
	bool empty = locked ? how->st.st_size == 0 : how->was_empty || how->st.st_size == 0;
	bool new = why != MA_REFUSE_READ && (empty || why == MA_REFUSE_HALF) &&
		   !wants(how, SHMBUDDY_EXISTING | SHMBUDDY_RDONLY);

	if (why == MA_OK)
		return take_existing(h, how, &header, locked);
	if (new && !locked)
		return STEP_AGAIN;
	if (!new) {
		shmbuddy__handle_accept(h, &header, why, NULL);
		return STEP_FAILED;
	}
	if (format_file(h, how) == 0)
		return STEP_DONE;
	undo(h, how);
	return STEP_FAILED;
}

/* The lock, within ten seconds. */
static int lock(struct shmbuddy *h)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (unsigned ms = 0; ma_file_attach_exclusive(h->fd) < 0; ms++) {
		if (errno != EAGAIN)
			return ma_fail(errno, "%s: its file system has no open-file-description locks", h->name);
		if (ms == WAIT_MS)
			return ma_fail(EAGAIN, "%s: somebody has been making it for ten seconds", h->name);
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* A file of ours that never came to be a region goes, unless somebody else is making one of it. */
static void take_name_back(struct shmbuddy *h, struct opening *how)
{
	int saved = errno;
	bool others;

	if (!how->created || h->fd < 0)
		return;
	others = ma_file_attach_exclusive(h->fd) < 0 && errno == EAGAIN;
	if (!others && fstat(h->fd, &how->st) == 0 && how->st.st_size == 0 && leads_here(h, how))
		unlink(how->filename);
	errno = saved;
}

static enum step attempt(struct shmbuddy *h, struct opening *how)
{
	enum step step;

	if (open_file(h, how) < 0)
		return STEP_FAILED;
	step = look(h, how, false);
	if (step != STEP_AGAIN)
		return step;
	if (lock(h) < 0)
		return STEP_FAILED;
	if (fstat(h->fd, &how->st) == 0 && lost_its_name(h, how)) {
		close(h->fd);
		h->fd = -1;
		return STEP_AGAIN;
	}
	step = look(h, how, true);
	ma_file_detach(h->fd);
	return step;
}

static struct shmbuddy *open_region(struct opening *how, const struct shmbuddy_options *options)
{
	unsigned small, large;
	struct shmbuddy *h;
	enum step step;

	if (!shmbuddy__handle_options(options, FILE_FLAGS, &small, &large))
		return NULL;
	if (options)
		how->options = *options;
	if (wants(how, SHMBUDDY_NEW) && wants(how, SHMBUDDY_EXISTING | SHMBUDDY_RDONLY))
		return ma_fail_null(EINVAL, "options: a region cannot be both new and there already");
	h = shmbuddy__handle_new();
	if (!h)
		return NULL;
	h->writable = !wants(how, SHMBUDDY_RDONLY);
	if (how->filename)
		snprintf(h->name, sizeof(h->name), "%s", how->filename);
	else
		snprintf(h->name, sizeof(h->name), "descriptor %d", how->fd);
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
		return ma_fail_null(EINVAL, "open: no file name");
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
	struct shmbuddy h = { .fd = -1 };
	struct ma_header header;
	enum ma_refusal why;
	ssize_t got;

	if (!filename)
		return ma_fail(EINVAL, "unlink: no file name");
	h.fd = open(filename, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (h.fd < 0)
		return ma_fail(errno, "%s: cannot open it", filename);
	got = pread(h.fd, &header, sizeof(header), 0);
	close(h.fd);
	if (got < 0)
		return ma_fail(errno, "%s: cannot read it", filename);
	why = ma_header_check(&header, (size_t)got, UINT64_MAX, 1u << MA_KIND_SHMBUDDY, false);
	if (why == MA_REFUSE_MAGIC || why == MA_REFUSE_KIND)
		return ma_fail(ma_refusal_errno(why), "%s: %s", filename, ma_refusal_text(why));
	return unlink(filename);
}
