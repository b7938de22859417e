/* SPDX-License-Identifier: BSD-3-Clause */
/* See file.h. */
#include "common/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/error.h"
#include "common/fd.h"

_Static_assert(MA_FILE_EXCLUSIVE_BYTE == MA_FD_LOCKS, "the first byte that is locked");

int ma_file_lock(int fd, int command, short type, off_t byte, struct flock *out)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
	int result;

	do
		result = fcntl(fd, command, &lock);
	while (result < 0 && errno == EINTR);
	if (out)
		*out = lock;
	return result;
}

static int attach(int fd, short type)
{
	if (ma_file_lock(fd, F_OFD_SETLK, type, MA_FILE_ATTACH_BYTE, NULL) == 0)
		return 0;
	if (errno == EACCES)
		errno = EAGAIN;
	if (errno != EAGAIN)
		errno = ENOLCK;
	return -1;
}

int ma_file_attach_exclusive(int fd)
{
	return attach(fd, F_WRLCK);
}

int ma_file_visit(int fd)
{
	return attach(fd, F_RDLCK);
}

/* Without the second lock only processes that come by another mount are the worse off: they do not see this one. */
int ma_file_attach_shared(int fd)
{
	if (attach(fd, F_RDLCK) < 0)
		return -1;
	ma_file_lock(fd, F_OFD_SETLK, F_RDLCK, MA_FILE_MEMBER_BYTE, NULL);
	return 0;
}

bool ma_file_has_members(int fd)
{
	struct flock found;
	int saved = errno;
	bool has = ma_file_lock(fd, F_OFD_GETLK, F_WRLCK, MA_FILE_MEMBER_BYTE, &found) == 0 && found.l_type == F_RDLCK;

	errno = saved;
	return has;
}

int ma_file_stay_exclusive(int fd)
{
	return ma_file_lock(fd, F_OFD_SETLK, F_WRLCK, MA_FILE_EXCLUSIVE_BYTE, NULL);
}

bool ma_file_is_kept(int fd)
{
	struct flock found;

	/* The kernel joins neighbouring locks. One that begins before is of another program, which locks more than we do. */
	return ma_file_lock(fd, F_OFD_GETLK, F_RDLCK, MA_FILE_EXCLUSIVE_BYTE, &found) == 0 && found.l_type != F_UNLCK &&
	       found.l_start == MA_FILE_EXCLUSIVE_BYTE;
}

/* Ours begin there or behind. The kernel joins only neighbours of one owner. */
static bool find_program_lock(int fd, off_t byte, struct flock *found)
{
	int saved = errno;
	bool is = ma_file_lock(fd, F_OFD_GETLK, F_WRLCK, byte, found) == 0 && found->l_type != F_UNLCK &&
		  found->l_start < MA_FILE_EXCLUSIVE_BYTE;

	errno = saved;
	return is;
}

static void blame(const struct flock *lock, const char *name, const char *what)
{
	char end[24] = "its end", holder[48] = "another process (an open file description)";
	bool own = lock->l_pid == getpid();

	if (lock->l_len)
		snprintf(end, sizeof(end), "%lld", (long long)(lock->l_start + lock->l_len - 1));
	if (lock->l_pid > 0)
		snprintf(holder, sizeof(holder), own ? "this process (%d)" : "process %d", (int)lock->l_pid);
	ma_fail(own ? EDEADLK : EAGAIN,
		"%s: %s: %s holds a lock of its own (lockf, fcntl) on bytes %lld to %s, in the way of the library's lock at 2^62; "
		"unlock it, use flock(2), or lock only bytes below 2^62",
		name, what, holder, (long long)lock->l_start, end);
}

bool ma_file_blame(int fd, off_t byte, const char *name, const char *what)
{
	struct flock found;

	if (!find_program_lock(fd, byte, &found))
		return false;
	blame(&found, name, what);
	return true;
}

bool ma_file_blame_self(int fd, const char *name)
{
	struct flock found;

	if (!find_program_lock(fd, MA_FILE_ATTACH_BYTE, &found) || found.l_pid != getpid())
		return false;
	blame(&found, name, "cannot open it");
	return true;
}

void ma_file_detach(int fd)
{
	ma_file_lock(fd, F_OFD_SETLK, F_UNLCK, MA_FILE_MEMBER_BYTE, NULL);
	ma_file_lock(fd, F_OFD_SETLK, F_UNLCK, MA_FILE_ATTACH_BYTE, NULL);
}

/* May the file reach so far? Some file systems send SIGXFSZ for space behind the end, too. */
static bool may_reach(int fd, uint64_t to)
{
	struct stat st;

	if (ma_file_allowed(to))
		return true;
	if (fstat(fd, &st) == 0 && (uint64_t)st.st_size >= to)
		return true;
	errno = EFBIG;
	return false;
}

int ma_file_take(int fd, uint64_t from, uint64_t to)
{
	MA_UNCANCELLED;
	int result;

	if (!may_reach(fd, to))
		return -1;
	do
		result = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from));
	while (result < 0 && errno == EINTR);
	return result;
}

/*
 * File systems without fallocate: write one zero a page. Only pages that begin inside the range: the byte written is then
 * one that no process uses yet. The page that the range begins in was taken with what lies before it.
 */
int ma_file_take_by_writing(int fd, uint64_t from, uint64_t to)
{
	MA_UNCANCELLED;
	for (uint64_t at = ma_up(from, MA_PAGE); at < to; at += MA_PAGE) {
		char byte;

		if (pread(fd, &byte, 1, (off_t)at) < 0)
			return -1;
		if (byte == 0 && pwrite(fd, &byte, 1, (off_t)at) != 1)
			return -1;
	}
	return 0;
}

static const char zeros[MA_PAGE];

/* Skip what has no data. True: nothing is left before to. */
static bool skip_hole(int fd, uint64_t *from, uint64_t to)
{
	off_t data = lseek(fd, (off_t)*from, SEEK_DATA);

	if (data < 0 && errno == ENXIO)
		return true;
	if (data > (off_t)*from) /* Else there is data here, or the file system does not know. */
		*from = (uint64_t)data;
	return *from >= to;
}

/* Read the next data up to the end of a page, and say where that begins. 0: there is none before to. -1 with errno. */
static ssize_t read_data(int fd, char page[MA_PAGE], uint64_t *from, uint64_t to)
{
	ssize_t got;

	if (*from >= to || skip_hole(fd, from, to))
		return 0;
	do
		got = pread(fd, page, ma_min(MA_PAGE - *from % MA_PAGE, to - *from), (off_t)*from);
	while (got < 0 && errno == EINTR);
	return got;
}

bool ma_file_is_zero(int fd, uint64_t from, uint64_t to)
{
	MA_UNCANCELLED;
	char page[MA_PAGE];
	ssize_t got;

	for (; (got = read_data(fd, page, &from, to)) > 0; from += (uint64_t)got)
		if (memcmp(page, zeros, (size_t)got) != 0)
			return false;
	return got == 0;
}

int ma_file_make_zero(int fd, uint64_t from, uint64_t to)
{
	MA_UNCANCELLED;
	char page[MA_PAGE];
	ssize_t got;

	for (; (got = read_data(fd, page, &from, to)) > 0; from += (uint64_t)got)
		if (memcmp(page, zeros, (size_t)got) != 0 && pwrite(fd, zeros, (size_t)got, (off_t)from) != got)
			return -1;
	return (int)got;
}

bool ma_file_allowed(uint64_t length)
{
	struct rlimit limit;

	if (length <= INT64_MAX &&
	    (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY || length <= limit.rlim_cur))
		return true;
	errno = EFBIG;
	return false;
}

int ma_file_set_length(int fd, uint64_t length)
{
	MA_UNCANCELLED;
	int result;

	if (!ma_file_allowed(length))
		return -1;
	do
		result = ftruncate(fd, (off_t)length);
	while (result < 0 && errno == EINTR);
	return result;
}

/* By space for its last byte. What cannot do that is asked how long it is first. */
int ma_file_lengthen(int fd, uint64_t length)
{
	MA_UNCANCELLED;
	struct stat st;
	int result;

	if (!ma_file_allowed(length))
		return -1;
	do
		result = fallocate(fd, 0, (off_t)(length - 1), 1);
	while (result < 0 && errno == EINTR);
	if (result == 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
		return result;
	if (fstat(fd, &st) < 0)
		return -1;
	return (uint64_t)st.st_size >= length ? 0 : ma_file_set_length(fd, length);
}

static bool is_kernel_text(const struct statfs *fs)
{
	static const uint32_t types[] = {
		PROC_SUPER_MAGIC, SYSFS_MAGIC,	  DEBUGFS_MAGIC, TRACEFS_MAGIC,	   SECURITYFS_MAGIC,	CGROUP_SUPER_MAGIC,
		SELINUX_MAGIC,	  SMACK_MAGIC,	  BPF_FS_MAGIC,	 BINFMTFS_MAGIC,   CGROUP2_SUPER_MAGIC, NSFS_MAGIC,
		EFIVARFS_MAGIC,	  PSTOREFS_MAGIC, 0x62656570u,   /* configfs */ 0x65735543u, /* fusectl */
	};

	for (size_t i = 0; i < MA_COUNT(types); i++)
		if ((uint32_t)fs->f_type == types[i])
			return true;
	return false;
}

bool ma_file_is_special(int fd)
{
	struct statfs fs;
	struct stat st;
	ssize_t got;
	char byte;

	if (fstatfs(fd, &fs) == 0 && is_kernel_text(&fs))
		return true;
	if (fstat(fd, &st) < 0 || st.st_size > 0)
		return false;
	do
		got = pread(fd, &byte, 1, 0);
	while (got < 0 && errno == EINTR);
	return got != 0 && fstat(fd, &st) == 0 && st.st_size == 0; /* Else another process has made it longer since. */
}

void ma_file_name(int fd, char *to, size_t size)
{
	int saved = errno;
	char link[32], path[200];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path));
	if (length > 0)
		snprintf(to, size, "descriptor %d (%.*s)", fd, (int)length, path);
	else
		snprintf(to, size, "descriptor %d", fd);
	errno = saved;
}

/* Why, and what to do. */
static const char *open_text(int err)
{
	switch (err) {
	case ENOENT:
		return "no such file; check the name, or create it";
	case EACCES:
		return "permission denied; check the mode of the file and of its folder, or open it read-only";
	case EPERM:
		return "the kernel forbids it; check for seals of a memfd and for attributes of the file (lsattr)";
	case EROFS:
		return "its file system is read-only; open it read-only";
	case ENAMETOOLONG:
		return "the name is too long; use a shorter one";
	case ELOOP:
		return "too many symbolic links; check where its links lead";
	case ENOTDIR:
		return "a part of its path is not a folder; check the name";
	case EISDIR:
		return "it is a directory, not a regular file; name a file";
	case ENXIO:
		return "it is a socket, a FIFO or a device, not a regular file; name a file";
	case EMFILE:
		return "this process has too many open files; close some, or raise `ulimit -n`";
	case ENFILE:
		return "the machine has too many open files; close some, or raise sysctl fs.file-max";
	case EBADF:
		return "the descriptor is not open; pass an open one";
	case ENOSPC:
	case EDQUOT:
		return "no disk space for a new file, or no quota; free some";
	default:
		return NULL;
	}
}

int ma_file_fail_open(const char *name)
{
	int err = errno;
	const char *text = open_text(err);

	if (text)
		return ma_fail(err, "%s: cannot open it: %s", name, text);
	return ma_fail(err, "%s: cannot open it: %s; see open(2)", name, strerrordesc_np(err));
}
