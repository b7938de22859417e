/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fuzzed files without most of their system calls, which took two thirds of an input's time. Linked with --wrap=open and so on
 * (fuzz_wraps in tests/Makemodule.am), for engines that make inputs up; the replays of tests/fuzz/corpus ask the kernel.
 *
 * A file is a memfd that seems to have no holes. Its memory is the kernel's, so that a page behind its end is SIGBUS. Its
 * descriptors, their marks and locks, its length and its disk space are numbers here. Answers are those that the kernel would give to a process
 * that is alone and has a disk with room.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/base.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_system.h"

#define FILES        16
#define NUMBERS      64     /* Descriptors, all files together, */
#define FIRST_NUMBER 100000 /* from this number on, which no file of the kernel has here. */
#define PUNCH        (256 << 10)

#define BOOT "/proc/sys/kernel/random/boot_id"

struct map {
	struct description *of; /* NULL: none here. */
	char *at;
};

static struct file files[FILES];
static unsigned file_count;
struct description fuzz_description[OPENS];
static struct description *number[NUMBERS];
static struct map mapped; /* The last page that was mapped for reading. */
static char boot[64];
static ssize_t boot_bytes;
static struct rlimit file_limit = { RLIM_INFINITY, RLIM_INFINITY };

/* What the linker calls the C library's, and ours. */
#define CALL(type, name, ...)            \
	type __real_##name(__VA_ARGS__); \
	type __wrap_##name(__VA_ARGS__)
CALL(int, open, const char *path, int flags, ...);
CALL(int, close, int fd);
CALL(int, fcntl, int fd, int command, ...);
CALL(int, fstat, int fd, struct stat *st);
CALL(int, stat, const char *path, struct stat *st);
CALL(pid_t, getpid, void);
CALL(int, getrlimit, int resource, struct rlimit *limit);
CALL(int, setrlimit, int resource, const struct rlimit *limit);
CALL(ssize_t, read, int fd, void *to, size_t bytes);
CALL(ssize_t, pread, int fd, void *to, size_t bytes, off_t at);
CALL(ssize_t, pwrite, int fd, const void *from, size_t bytes, off_t at);
CALL(off_t, lseek, int fd, off_t at, int whence);
CALL(int, ftruncate, int fd, off_t length);
CALL(int, fallocate, int fd, int mode, off_t at, off_t bytes);
CALL(int, fdatasync, int fd);
CALL(void *, mmap, void *at, size_t bytes, int prot, int flags, int fd, off_t from);
CALL(int, munmap, void *at, size_t bytes);
CALL(int, madvise, void *at, size_t bytes, int advice);
CALL(int, sched_yield, void);
CALL(int, statx, int fd, const char *path, int flags, unsigned mask, struct statx *st);
CALL(int, ioctl, int fd, unsigned long request, ...);
CALL(ssize_t, readlink, const char *path, char *to, size_t bytes);
CALL(int, fstatfs, int fd, struct statfs *st);

/* ---- descriptors ---- */

static struct description *of(int fd)
{
	return fd >= FIRST_NUMBER && fd < FIRST_NUMBER + NUMBERS ? number[fd - FIRST_NUMBER] : NULL;
}

static struct file *file_of(int fd)
{
	struct description *d = of(fd);

	return d ? d->file : NULL;
}

static int give_number(struct description *d)
{
	for (int i = 0; i < NUMBERS; i++) {
		if (number[i])
			continue;
		number[i] = d;
		d->uses++;
		return FIRST_NUMBER + i;
	}
	fuzz_failed(__FILE__, __LINE__, "a free descriptor");
}

static int open_again(struct file *file, int flags)
{
	for (int i = 0; i < OPENS; i++) {
		struct description *d = &fuzz_description[i];

		if (d->uses)
			continue;
		*d = (struct description){ .file = file, .flags = flags & ~(O_CLOEXEC | O_NOCTTY) };
		for (int k = 0; k < LOCKS; k++)
			d->lock[k].type = F_UNLCK;
		return give_number(d);
	}
	fuzz_failed(__FILE__, __LINE__, "a free description");
}

int fuzz_new_file(const char *name)
{
	struct file *file = &files[file_count++];

	fuzz_require(file_count <= FILES);
	file->fd = memfd_create(name, MFD_CLOEXEC);
	fuzz_require(file->fd >= 0 && __real_fstat(file->fd, &file->st) == 0);
	file->view = __real_mmap(NULL, FUZZ_MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
	fuzz_require(file->view != MAP_FAILED);
	return open_again(file, O_RDWR);
}

int fuzz_kernel_fd(int fd)
{
	return file_of(fd) ? file_of(fd)->fd : fd;
}

/* "/proc/self/fd/100000". */
static struct file *named(const char *path)
{
	static const char folder[] = "/proc/self/fd/";
	int fd = 0;

	if (strncmp(path, folder, sizeof(folder) - 1) != 0)
		return NULL;
	for (path += sizeof(folder) - 1; *path; path++) {
		if (*path < '0' || *path > '9' || fd > FIRST_NUMBER * 10)
			return NULL;
		fd = fd * 10 + *path - '0';
	}
	return file_of(fd);
}

static int open_boot(void)
{
	if (boot_bytes == 0) {
		int fd = __real_open(BOOT, O_RDONLY | O_CLOEXEC);

		boot_bytes = __real_read(fd, boot, sizeof(boot));
		__real_close(fd);
		fuzz_require(boot_bytes > 0);
	}
	return open_again(NULL, O_RDONLY);
}

int __wrap_open(const char *path, int flags, ...)
{
	struct file *file = named(path);
	va_list arguments;
	unsigned mode;

	if (file && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL))
		return open_again(file, flags);
	if (strcmp(path, BOOT) == 0)
		return open_boot();
	va_start(arguments, flags);
	mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, unsigned) : 0;
	va_end(arguments);
	return __real_open(path, flags, mode);
}

int __wrap_close(int fd)
{
	struct description *d = of(fd);

	if (!d)
		return __real_close(fd);
	number[fd - FIRST_NUMBER] = NULL;
	d->uses--;
	return 0;
}

/* ---- locks, and what else fcntl(2) does ---- */

int __wrap_fcntl(int fd, int command, ...)
{
	struct description *d = of(fd);
	va_list arguments;
	long argument;

	va_start(arguments, command);
	argument = va_arg(arguments, long);
	va_end(arguments);
	if (!d)
		return __real_fcntl(fd, command, argument);
	switch (command) {
	case F_DUPFD_CLOEXEC:
		return give_number(d);
	case F_GETFL:
		return d->flags;
	case F_SETSIG:
		d->mark = (int)argument;
		return 0;
	case F_GETSIG:
		return d->mark;
	case F_OFD_SETLK:
		return fuzz_set_lock(d, (const struct flock *)argument);
	case F_OFD_GETLK:
		return fuzz_ask_lock(d, (struct flock *)argument);
	default:
		fuzz_failed(__FILE__, __LINE__, "a command of fcntl(2) that is known here");
	}
}

/* ---- lengths and space ---- */

int __wrap_fstat(int fd, struct stat *st)
{
	struct file *file = file_of(fd);

	if (!file)
		return __real_fstat(fd, st);
	*st = file->st;
	return 0;
}

int __wrap_stat(const char *path, struct stat *st)
{
	struct file *file = named(path);

	if (!file)
		return __real_stat(path, st);
	*st = file->st;
	return 0;
}

/* "/proc/self/fd/100000": the name of a file without one. */
ssize_t __wrap_readlink(const char *path, char *to, size_t bytes)
{
	static const char name[] = "/memfd:fuzz (deleted)";

	if (!named(path))
		return __real_readlink(path, to, bytes);
	bytes = ma_min(bytes, sizeof(name) - 1);
	memcpy(to, name, bytes);
	return (ssize_t)bytes;
}

static int set_length(struct file *file, off_t length)
{
	if (length == file->st.st_size)
		return 0;
	if (__real_ftruncate(file->fd, length) < 0)
		return -1;
	file->st.st_size = length;
	file->st.st_blocks = (length + 511) / 512;
	return 0;
}

int __wrap_ftruncate(int fd, off_t length)
{
	struct file *file = file_of(fd);

	return file ? set_length(file, length) : __real_ftruncate(fd, length);
}

int __wrap_fallocate(int fd, int mode, off_t at, off_t bytes)
{
	struct file *file = file_of(fd);

	if (!file)
		return __real_fallocate(fd, mode, at, bytes);
	if (mode & FALLOC_FL_PUNCH_HOLE) {
		/* Clearing pages takes less time than to free them, and to have them again. */
		if (bytes > PUNCH || at + bytes > file->st.st_size)
			return __real_fallocate(file->fd, mode, at, bytes);
		memset(file->view + at, 0, (size_t)bytes);
		return 0;
	}
	if (at < 0 || bytes <= 0) {
		errno = EINVAL;
		return -1;
	}
	if ((uint64_t)at + (uint64_t)bytes > file_limit.rlim_cur) {
		errno = EFBIG;
		return -1;
	}
	return mode & FALLOC_FL_KEEP_SIZE || at + bytes <= file->st.st_size ? 0 : set_length(file, at + bytes);
}

/* Of a file here only its mount is asked for; the kernel's answer is kept. */
int __wrap_statx(int fd, const char *path, int flags, unsigned mask, struct statx *st)
{
	static struct statx mount;
	static unsigned asked;
	struct file *file = file_of(fd);

	if (!file || *path)
		return __real_statx(fd, path, flags, mask, st);
	if (asked != mask && __real_statx(file->fd, path, flags, mask, &mount) < 0)
		return -1;
	asked = mask;
	*st = mount;
	return 0;
}

/* For the number of a file system, which a memfd's has not. */
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *argument;

	if (file_of(fd)) {
		errno = ENOTTY;
		return -1;
	}
	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	return __real_ioctl(fd, request, argument);
}

int __wrap_fstatfs(int fd, struct statfs *st)
{
	static struct statfs found;
	struct file *file = file_of(fd);

	if (!file)
		return __real_fstatfs(fd, st);
	if (!found.f_type && __real_fstatfs(file->fd, &found) < 0)
		return -1;
	*st = found;
	return 0;
}

/* All is data, up to the end. */
off_t __wrap_lseek(int fd, off_t at, int whence)
{
	struct file *file = file_of(fd);

	if (!file)
		return __real_lseek(fd, at, whence);
	if (whence != SEEK_HOLE)
		return __real_lseek(file->fd, at, whence);
	if (at < 0 || at >= file->st.st_size) {
		errno = ENXIO;
		return -1;
	}
	return file->st.st_size;
}

/* ---- contents ---- */

ssize_t __wrap_read(int fd, void *to, size_t bytes)
{
	struct description *d = of(fd);

	if (!d)
		return __real_read(fd, to, bytes);
	fuzz_require(!d->file);
	bytes = ma_min(bytes, (uint64_t)boot_bytes);
	memcpy(to, boot, bytes);
	return (ssize_t)bytes;
}

/* As much of it as lies in the file, and in its view. */
static bool is_in_view(const struct file *file, off_t at, size_t *bytes)
{
	if (!file || at < 0 || file->st.st_size > (off_t)FUZZ_MAP_BYTES)
		return false;
	*bytes = at < file->st.st_size ? ma_min(*bytes, (uint64_t)(file->st.st_size - at)) : 0;
	return true;
}

ssize_t __wrap_pread(int fd, void *to, size_t bytes, off_t at)
{
	const struct file *file = file_of(fd);

	if (!is_in_view(file, at, &bytes))
		return __real_pread(fuzz_kernel_fd(fd), to, bytes, at);
	memcpy(to, file->view + at, bytes);
	return (ssize_t)bytes;
}

ssize_t __wrap_pwrite(int fd, const void *from, size_t bytes, off_t at)
{
	struct file *file = file_of(fd);
	ssize_t written = __real_pwrite(fuzz_kernel_fd(fd), from, bytes, at);

	if (file && written > 0)
		file->st.st_size = (off_t)ma_max((uint64_t)file->st.st_size, (uint64_t)(at + written));
	return written;
}

int __wrap_fdatasync(int fd)
{
	return __real_fdatasync(fuzz_kernel_fd(fd));
}

/* ---- memory ---- */

static void forget_map(void)
{
	if (mapped.of)
		mapped.of->uses--;
	mapped.of = NULL;
}

/*
 * A page that is only read is mapped to see whether it keeps the locks of a description whose descriptor is closed. It does. Others, which may
 * be moved or unmapped elsewhere, are forgotten with the next one.
 */
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t from)
{
	struct description *d = of(fd);
	void *got = __real_mmap(at, bytes, prot, flags, fuzz_kernel_fd(fd), from);
	if (d && got != MAP_FAILED && prot == PROT_READ && bytes == 4096 && !(flags & MAP_FIXED)) {
		forget_map();
		mapped = (struct map){ d, got };
		d->uses++;
	}
	return got;
}

int __wrap_munmap(void *at, size_t bytes)
{
	if (mapped.at >= (char *)at && mapped.at < (char *)at + bytes)
		forget_map();
	return __real_munmap(at, bytes);
}

/* No file has holes here: populating needs no more than the range, which callers have. */
int __wrap_madvise(void *at, size_t bytes, int advice)
{
	return advice == MADV_RANDOM || advice == MADV_NORMAL || advice == 23 /* MADV_POPULATE_WRITE */
		       ? 0
		       : __real_madvise(at, bytes, advice);
}

/* ---- the process ---- */

pid_t __wrap_getpid(void)
{
	static pid_t me;

	me = me ? me : (pid_t)syscall(SYS_getpid);
	return me;
}

int __wrap_getrlimit(int resource, struct rlimit *limit)
{
	static struct rlimit numbers;

	if (resource == RLIMIT_FSIZE) {
		*limit = file_limit;
		return 0;
	}
	if (resource != RLIMIT_NOFILE)
		return __real_getrlimit(resource, limit);
	if (!numbers.rlim_cur && __real_getrlimit(resource, &numbers) < 0)
		return -1;
	*limit = numbers;
	return 0;
}

int __wrap_setrlimit(int resource, const struct rlimit *limit)
{
	if (resource == RLIMIT_FSIZE)
		file_limit = *limit;
	return __real_setrlimit(resource, limit);
}

int __wrap_sched_yield(void)
{
	return 0; /* There is one thread. */
}
