/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VM files: where they are made, and the blocks that have one each.
 *
 * A VM file has no name from before it is mapped, so no death leaves it behind; its mapping alone keeps it, and unmapping gives
 * its disk space back at once. Its descriptor is kept only so that the block can grow in place: for at most KEPT_MOST
 * blocks, and it is trusted only as long as it leads to the same file, for a program may close what it did not open. In
 * a fork child all blocks are ranges of one file (fork.c), whose space is punched out when they go.
 */
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

#include "core.h"

#include "common/error.h"
#include "common/file.h"

#define KEPT_MOST   64
#define RECORD_BITS 10
#define TRIES       100
#define HUGE_PAGE   ((size_t)2 << 20)

struct vm {
	void *ptr; /* NULL: spare. */
	size_t size;
	size_t mapped;
	uint32_t site;
	uint32_t id;
	uint32_t index;
	int fd;      /* -1: not kept. */
	bool ranged; /* A range of a file that others have parts of too. */
	dev_t device;
	ino_t inode;
	uint64_t copy_at; /* While forking: where in the copy; 0: not there. */
	struct vm *spare;
};

static struct {
	struct vm **dir[XMEMORY__SITES >> RECORD_BITS];
	uint32_t end;
	uint32_t files, kept;
	struct vm *spare;
	struct xmemory__pool records;
	int copy;
} vms = { .records.bytes = sizeof(struct vm), .copy = -1 };

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
	struct directory *set = ma_load_acquire(&directory);
	const char *given = set ? set->name : secure_getenv("XMEMORY_TMPDIR");

	return given && *given ? given : ".";
}

/* A name stays for ever: somebody may be reading it, or have it from xmemory_gettmpdir(). */
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

void xmemory_settmpdir(const char *dirname)
{
	struct directory *d;

	if (dirname && strlen(dirname) >= sizeof(d->name)) {
		ma_fail(ENAMETOOLONG, "the directory's name is too long: %.80s...", dirname);
		return;
	}
	xmemory__lock();
	d = dirname ? directory_of(dirname) : NULL;
	if (d || !dirname)
		ma_store_release(&directory, d);
	xmemory__unlock();
}

char *xmemory_gettmpdir(void)
{
	return (char *)(uintptr_t)current_directory();
}

/* ---- a file ---- */

/* Where nameless files cannot be made: a name that nobody had, which is gone at once. */
static int named_file(const char *dir, uint32_t id)
{
	char name[5000];
	uint32_t salt = 0;

	for (int i = 0; i < TRIES; i++) {
		int fd;

		if (i > 0 && getrandom(&salt, sizeof(salt), GRND_NONBLOCK) != sizeof(salt))
			salt += (uint32_t)i;
		snprintf(name, sizeof(name), "%s/vmswap_%d_%u%s%.0x", dir, (int)getpid(), id, salt ? "_" : "", salt);
		fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd >= 0)
			unlink(name);
		if (fd >= 0 || errno != EEXIST)
			return fd;
	}
	return -1;
}

int xmemory__vm_file(uint32_t *id)
{
	const char *dir = current_directory();
	int fd;

	*id = atomic_fetch_add(&last_id, 1) + 1;
	fd = open(dir, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT))
		fd = named_file(dir, *id);
	if (fd < 0)
		return ma_fail(errno, "no VM file can be made in %s: set another directory, $XMEMORY_TMPDIR", dir);
	return ma_file_above_standard(fd);
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
	int result;

	if (!ma_file_allowed(to))
		return ma_fail(errno, "a VM file of %llu bytes is more than RLIMIT_FSIZE", (unsigned long long)to);
	do
		result = fallocate(fd, 0, (off_t)from, (off_t)(to - from));
	while (result < 0 && errno == EINTR);
	if (result < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		result = space_by_writing(fd, from, to);
	if (result < 0)
		return ma_fail(errno, "no disk space for %llu bytes in %s", (unsigned long long)(to - from),
			       current_directory());
	return 0;
}

/* ---- records; the lock is held ---- */

static struct vm *record_of(uint32_t index)
{
	return vms.dir[index >> RECORD_BITS][index & ((1 << RECORD_BITS) - 1)];
}

static struct vm *new_record(void)
{
	struct vm ***dir = &vms.dir[vms.end >> RECORD_BITS];
	struct vm *vm = vms.spare;

	if (vm) {
		vms.spare = vm->spare;
		return vm;
	}
	if (vms.end == XMEMORY__SITES - 1)
		return ma_fail_null(ENOMEM, "there are %u blocks in VM files", vms.end);
	if (!*dir)
		*dir = xmemory__pages(sizeof(vm) << RECORD_BITS);
	vm = *dir ? xmemory__pool_take(&vms.records) : NULL;
	if (!vm)
		return NULL;
	vm->index = vms.end++;
	(*dir)[vm->index & ((1 << RECORD_BITS) - 1)] = vm;
	return vm;
}

static void drop_record(struct vm *vm)
{
	vm->ptr = NULL;
	vm->spare = vms.spare;
	vms.spare = vm;
}

static struct vm *find(const void *ptr)
{
	uint64_t entry;

	if (!xmemory__find(ptr, &entry) || !xmemory__entry_is_vm(entry))
		return NULL;
	return record_of(xmemory__entry_site(entry));
}

static bool enter(struct vm *vm, void *ptr)
{
	vm->ptr = ptr;
	return xmemory__put(ptr, xmemory__word(vm->index, XMEMORY__SIZE_MASK));
}

static void leave(struct vm *vm)
{
	uint64_t entry;

	ma_store(xmemory__find(vm->ptr, &entry), 0);
}

static bool fd_is_ours(const struct vm *vm)
{
	struct stat st;

	return vm->fd >= 0 && fstat(vm->fd, &st) == 0 && st.st_dev == vm->device && st.st_ino == vm->inode;
}

static void drop_fd(struct vm *vm)
{
	if (vm->fd < 0)
		return;
	if (fd_is_ours(vm))
		close(vm->fd);
	vm->fd = -1;
	vms.kept--;
}

static void keep_fd(struct vm *vm, int fd)
{
	struct stat st;

	vm->fd = -1;
	if (vms.kept >= KEPT_MOST || fstat(fd, &st) < 0) {
		close(fd);
		return;
	}
	vm->fd = fd;
	vm->device = st.st_dev;
	vm->inode = st.st_ino;
	vms.kept++;
}

/* ---- mapping ---- */

/* At a multiple of the alignment: in the middle of what is reserved for it. Where the kernel chooses, it chooses for huge pages. */
static void *map_aligned(int fd, size_t bytes, size_t asked)
{
	size_t alignment = bytes >= HUGE_PAGE ? ma_max(asked, HUGE_PAGE) : asked;
	size_t room = bytes + alignment;
	char *range, *start;
	void *map;

	if (asked <= MA_PAGE)
		return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (room < bytes) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	range = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (range == MAP_FAILED)
		return MAP_FAILED;
	start = (char *)ma_up((uintptr_t)range, alignment);
	map = mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	if (map == MAP_FAILED) {
		munmap(range, room);
		return MAP_FAILED;
	}
	if (start > range)
		munmap(range, (size_t)(start - range));
	munmap(start + bytes, (size_t)(range + room - start) - bytes);
	return map;
}

static void *make(const struct xmemory__ask *ask, size_t bytes, int *fd, uint32_t *id)
{
	void *map;

	*fd = xmemory__vm_file(id);
	if (*fd < 0)
		return NULL;
	if (xmemory__vm_space(*fd, 0, bytes) < 0) {
		close(*fd);
		return NULL;
	}
	map = map_aligned(*fd, bytes, ask->alignment);
	if (map != MAP_FAILED)
		return map;
	ma_fail(errno, "cannot map %zu bytes of a VM file", bytes);
	close(*fd);
	return NULL;
}

static bool record(const struct xmemory__ask *ask, void *map, size_t bytes, int fd, uint32_t id)
{
	struct vm *vm = new_record();

	if (!vm)
		return false;
	if (!enter(vm, map)) {
		drop_record(vm);
		return false;
	}
	vm->size = ask->size;
	vm->mapped = bytes;
	vm->site = xmemory__site(ask->file, ask->line);
	vm->id = id;
	vm->ranged = false;
	keep_fd(vm, fd);
	vms.files++;
	return true;
}

/* ---- blocks ---- */

static void tell(uint32_t id, const char *what, size_t bytes)
{
	if (MA_UNLIKELY(xmemory__level() >= 2))
		xmemory__say("xmemory: VM file %u of %zu bytes %s in %s", id, bytes, what, current_directory());
}

void *xmemory__vm_new(const struct xmemory__ask *ask)
{
	size_t bytes = ma_up(ask->size, MA_PAGE);
	bool known;
	uint32_t id;
	void *map;
	int fd;

	if (bytes < ask->size || bytes > INT64_MAX)
		return ma_fail_null(ENOMEM, "%zu bytes are more than there can be", ask->size);
	map = make(ask, bytes, &fd, &id);
	if (!map)
		return NULL;
	xmemory__lock();
	known = record(ask, map, bytes, fd, id);
	xmemory__unlock();
	if (!known) {
		munmap(map, bytes);
		close(fd);
		return ma_fail_null(ENOMEM, "no memory for tables");
	}
	xmemory__count((int64_t)ask->size, 1);
	tell(id, "made", bytes);
	return map;
}

/* To another number of pages, at the same place in its file. NULL: it is as it was. */
static void *remap(struct vm *vm, size_t bytes)
{
	void *map;

	if (bytes > vm->mapped && xmemory__vm_space(vm->fd, vm->mapped, bytes) < 0) {
		int error = errno;

		ma_file_set_length(vm->fd, vm->mapped);
		errno = error;
		return NULL;
	}
	map = mremap(vm->ptr, vm->mapped, bytes, MREMAP_MAYMOVE);
	if (map == MAP_FAILED)
		return ma_fail_null(errno, "cannot map %zu bytes of a VM file", bytes);
	if (bytes < vm->mapped && ma_file_set_length(vm->fd, bytes) < 0)
		ma_debug("a VM file keeps the space of a part that is not in use");
	return map;
}

static void *resize(struct vm *vm, size_t size)
{
	size_t bytes = ma_up(size, MA_PAGE);
	void *was = vm->ptr;
	void *map = was;

	if (bytes < size || bytes > INT64_MAX)
		return ma_fail_null(ENOMEM, "%zu bytes are more than there can be", size);
	if (bytes != vm->mapped && !fd_is_ours(vm))
		return ma_fail_null(EAGAIN, "the VM file's descriptor was not kept: the block moves to another file");
	if (bytes != vm->mapped)
		map = remap(vm, bytes);
	if (!map)
		return NULL;
	vm->mapped = bytes;
	vm->size = size;
	if (map != was) {
		leave(vm);
		if (!enter(vm, map))
			ma_debug("no memory for tables: the block at %p is not known any more", map);
	}
	return map;
}

void *xmemory__vm_resize(void *ptr, size_t size, uint32_t site)
{
	struct vm *vm;
	size_t had = 0;
	void *block;

	xmemory__lock();
	vm = find(ptr);
	if (vm)
		had = vm->size;
	block = vm ? resize(vm, size) : ma_fail_null(EAGAIN, "%p has no VM file of its own", ptr);
	if (block)
		vm->site = site;
	xmemory__unlock();
	if (block)
		xmemory__count((int64_t)size - (int64_t)had, 0);
	return block;
}

bool xmemory__vm_free(void *ptr)
{
	struct vm *vm;
	size_t size = 0;

	xmemory__lock();
	vm = find(ptr);
	if (vm) {
		size = vm->size;
		tell(vm->id, "given back", vm->mapped);
		leave(vm);
		if (vm->ranged)
			madvise(ptr, vm->mapped, MADV_REMOVE);
		munmap(ptr, vm->mapped);
		drop_fd(vm);
		drop_record(vm);
		vms.files--;
	}
	xmemory__unlock();
	if (vm)
		xmemory__count(-(int64_t)size, -1);
	return vm != NULL;
}

bool xmemory__vm_look(uint32_t index, struct xmemory__block *block)
{
	struct vm *vm = index < vms.end ? record_of(index) : NULL;

	if (!vm || !vm->ptr)
		return false;
	*block = (struct xmemory__block){
		.ptr = vm->ptr, .size = vm->size, .site = vm->site, .kind = XMEMORY_VMFILE, .vmfile = vm->id
	};
	return true;
}

void xmemory__vm_figures(struct xmemory__figures *figures)
{
	figures->files += vms.files;
	for (uint32_t i = 0; i < vms.end; i++) {
		const struct vm *vm = record_of(i);

		figures->bytes += vm->ptr ? vm->size : 0;
		figures->disk_bytes += vm->ptr ? vm->mapped : 0;
	}
}

/* ---- fork ---- */

static bool copy_block(struct vm *vm, uint64_t at)
{
	const char *from = vm->ptr;
	size_t done = 0;

	while (done < vm->mapped) {
		ssize_t n = pwrite(vms.copy, from + done, vm->mapped - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

/* From offset MA_PAGE on, so that 0 says "not there". */
void xmemory__vm_copy(void)
{
	uint64_t at = MA_PAGE;
	uint32_t id;

	if (vms.files == 0)
		return;
	vms.copy = xmemory__vm_file(&id);
	for (uint32_t i = 0; vms.copy >= 0 && i < vms.end; i++) {
		struct vm *vm = record_of(i);

		vm->copy_at = 0;
		/* As far from a huge page's beginning as its address is: then the child can have huge pages too. */
		if (vm->ptr && vm->mapped >= HUGE_PAGE)
			at += ((uintptr_t)vm->ptr - at) & (HUGE_PAGE - 1);
		if (!vm->ptr || xmemory__vm_space(vms.copy, at, at + vm->mapped) < 0 || !copy_block(vm, at))
			continue;
		vm->copy_at = at;
		at += vm->mapped;
	}
}

/* A block without a copy: better a fault at the first look than what the parent makes of it later. */
static void adopt_copy(struct vm *vm)
{
	int fd = vm->copy_at ? vms.copy : -1;
	int prot = fd >= 0 ? PROT_READ | PROT_WRITE : PROT_NONE;
	int flags = fd >= 0 ? MAP_SHARED | MAP_FIXED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	if (mmap(vm->ptr, vm->mapped, prot, flags, fd, fd >= 0 ? (off_t)vm->copy_at : 0) == MAP_FAILED) {
		munmap(vm->ptr, vm->mapped);
		fd = -1;
	}
	if (fd < 0)
		ma_debug("a fork child has no copy of the block at %p (no disk space?): it must not touch it", vm->ptr);
	drop_fd(vm);
	vm->ranged = fd >= 0;
	vm->copy_at = 0;
}

void xmemory__vm_copied(bool child)
{
	for (uint32_t i = 0; child && i < vms.end; i++)
		if (record_of(i)->ptr)
			adopt_copy(record_of(i));
	if (vms.copy >= 0)
		close(vms.copy);
	vms.copy = -1;
}
