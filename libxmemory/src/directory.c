/* SPDX-License-Identifier: BSD-3-Clause */
/* Where VM files are made, and how: without a name, or under one that is gone before the file is used. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "directory.h"
#include "lock.h"
#include "pages.h"

#include "common/cancel.h"
#include "common/env.h"
#include "common/error.h"
#include "common/fd.h"
#include "common/file.h"

#define TRIES 100

static _Atomic uint32_t last_id;

/* ---- the directory ---- */

struct directory {
	struct directory *next;
	char name[MA_PAGE - sizeof(void *)];
};
static struct directory *directories;
static _Atomic(struct directory *) directory; /* NULL: not set. */

static const char *current_directory(void)
{
	/* Pairs with libxmemory/src/directory.c:xmemory_settmpdir. */
	struct directory *set = ma_load_acquire(&directory);
	const char *given = set ? set->name : ma_env("XMEMORY_TMPDIR");

	return given && *given ? given : ".";
}

/* A name stays for ever: another thread may be reading it, or the program has it from xmemory_gettmpdir(). */
static struct directory *directory_of(const char *name)
{
	struct directory *d = directories;

	while (d && strcmp(d->name, name) != 0)
		d = d->next;
	if (d)
		return d;
	d = xmemory__pages(sizeof(*d));
	if (!d)
		return NULL;
	strcpy(d->name, name);
	d->next = directories;
	return directories = d;
}

/* ---- the directory itself, whatever its name leads to ---- */

enum { NO_FOLDER = -1, BUSY_FOLDER = -2 }; /* Busy: one thread sets it, and changes device and inode. */

static int folder = NO_FOLDER;
static _Atomic uint64_t folder_device, folder_inode;
static _Atomic bool folder_worked; /* A VM file was made in it, or could have been. */

static bool is_folder(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == ma_load(&folder_device) && st.st_ino == ma_load(&folder_inode);
}

static void drop_folder(void)
{
	MA_UNCANCELLED;
	int fd = __atomic_load_n(&folder, __ATOMIC_SEQ_CST);

	ma_store(&folder_worked, false);
	if (fd < 0 || !__atomic_compare_exchange_n(&folder, &fd, BUSY_FOLDER, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	if (is_folder(fd))
		close(fd);
	__atomic_store_n(&folder, NO_FOLDER, __ATOMIC_SEQ_CST); /* Pairs with libxmemory/src/directory.c:keep_folder. */
}

static int open_folder(void)
{
	int fd = ma_fd_aside(open(current_directory(), O_PATH | O_DIRECTORY | O_CLOEXEC));
	struct stat st;

	if (fd < 0)
		return NO_FOLDER;
	if (fstat(fd, &st) < 0) {
		close(fd);
		return NO_FOLDER;
	}
	ma_store(&folder_device, st.st_dev);
	ma_store(&folder_inode, st.st_ino);
	return fd;
}

/*
 * The first thread keeps it. Another may set another directory meanwhile: it finds the folder busy, and this thread sees the other
 * directory afterwards, or it finds the folder set. Either drops it: pairs with libxmemory/src/directory.c:xmemory_settmpdir.
 */
static void keep_folder(void)
{
	struct directory *begin = atomic_load(&directory);
	int none = NO_FOLDER, saved = errno;

	ma_store(&folder_worked, true);
	if (__atomic_compare_exchange_n(&folder, &none, BUSY_FOLDER, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
		/* Pairs with libxmemory/src/directory.c:file_all_the_same. */
		__atomic_store_n(&folder, open_folder(), __ATOMIC_SEQ_CST);
		if (atomic_load(&directory) != begin)
			drop_folder();
	}
	errno = saved;
}

void xmemory__vm_keep_folder(void)
{
	if (access(current_directory(), W_OK | X_OK) == 0)
		keep_folder();
}

int *xmemory__vm_folder(void)
{
	return &folder;
}

void xmemory_settmpdir(const char *dirname)
{
	struct directory *d;

	if (dirname && strlen(dirname) >= sizeof(d->name)) {
		ma_fail(ENAMETOOLONG,
			"xmemory_settmpdir(%.80s...): the name has more than %zu bytes; give a shorter one", dirname,
			sizeof(d->name) - 1);
		return;
	}
	xmemory__lock();
	d = dirname ? directory_of(dirname) : NULL;
	if ((d || !dirname) && d != ma_load(&directory)) {
		/* Before the folder is looked at: pairs with libxmemory/src/directory.c:keep_folder. */
		atomic_store(&directory, d);
		drop_folder();
	}
	xmemory__unlock();
}

char *xmemory_gettmpdir(void)
{
	return (char *)(uintptr_t)current_directory();
}

/* ---- a file ---- */

/* Where nameless files cannot be made: a new name, which is gone at once. */
static int named_file(const char *dir, uint32_t id)
{
	int in = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;
	char name[64];
	uint32_t salt = 0;

	for (int i = 0; i < TRIES && in >= 0 && fd < 0; i++) {
		if (i > 0 && getrandom(&salt, sizeof(salt), GRND_NONBLOCK) != sizeof(salt))
			salt += (uint32_t)i;
		snprintf(name, sizeof(name), "vmswap_%d_%u%s%.0x", (int)getpid(), id, salt ? "_" : "", salt);
		fd = openat(in, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 && errno != EEXIST)
			break;
	}
	if (fd >= 0)
		unlinkat(in, name, 0);
	if (in >= 0) {
		int saved = errno;

		close(in);
		errno = saved;
	}
	return fd;
}

/* The name leads there no more, or this user may not write there any more: in the directory itself, else in memory. */
static int file_all_the_same(void)
{
	/* Pairs with libxmemory/src/directory.c:keep_folder. */
	int error = errno, fd = -1, in = __atomic_load_n(&folder, __ATOMIC_ACQUIRE);

	if (!ma_load(&folder_worked) ||
	    (error != ENOENT && error != ENOTDIR && error != EACCES && error != EPERM && error != EROFS))
		return -1;
	if (is_folder(in))
		fd = openat(in, ".", O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		fd = memfd_create("vmswap", MFD_CLOEXEC);
	if (fd < 0)
		errno = error;
	return fd;
}

int xmemory__vm_file(uint32_t *id)
{
	MA_UNCANCELLED;
	const char *dir = current_directory();
	int fd;

	*id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
	fd = open(dir, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT))
		fd = named_file(dir, *id);
	if (fd >= 0)
		keep_folder();
	else
		fd = file_all_the_same();
	if (fd < 0)
		return ma_fail(errno,
			       "cannot make a VM file in the directory %s: %s; set another one by $XMEMORY_TMPDIR or "
			       "xmemory_settmpdir()",
			       dir, strerrordesc_np(errno));
	return ma_fd_aside(fd);
}

uint32_t xmemory__vm_files_made(void)
{
	return ma_load(&last_id);
}

/* Where there is no fallocate(2): a zero for each page. */
static int space_by_writing(int fd, uint64_t from, uint64_t to)
{
	for (uint64_t at = ma_up(from, MA_PAGE); at < to; at += MA_PAGE)
		if (pwrite(fd, "", 1, (off_t)at) != 1)
			return -1;
	return ma_file_set_length(fd, to);
}

int xmemory__vm_space(int fd, uint64_t from, uint64_t to)
{
	MA_UNCANCELLED;
	int result;

	if (!ma_file_allowed(to))
		return ma_fail(errno,
			       "a VM file of %llu bytes: the limit of file sizes (RLIMIT_FSIZE) is smaller; raise it "
			       "(ulimit -f)",
			       (unsigned long long)to);
	do
		result = fallocate(fd, 0, (off_t)from, (off_t)(to - from));
	while (result < 0 && errno == EINTR);
	if (result < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		result = space_by_writing(fd, from, to);
	if (result < 0)
		return ma_fail(
			errno,
			"%llu more bytes of a VM file in the directory %s: %s; free disk space there, or set another "
			"directory by $XMEMORY_TMPDIR",
			(unsigned long long)(to - from), current_directory(), strerrordesc_np(errno));
	return 0;
}
