/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks that have a VM file each.
 *
 * A VM file has no name from before it is mapped, so no death leaves it behind; its mapping alone keeps it, and unmapping gives
 * its disk space back at once. Its descriptor is kept only so that the block can grow in place: for at most KEPT_MOST
 * blocks (vmfile_record.c), and it is trusted only as long as it leads to the same file, for a program may close what it did not open. In
 * a fork child all blocks are ranges of a few files (vmfile_fork.c), whose space is punched out when they go.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "budget.h"
#include "directory.h"
#include "limits.h"
#include "lock.h"
#include "say.h"
#include "site.h"
#include "state.h"
#include "vmfile.h"
#include "vmfile_record.h"

#include "common/cancel.h"
#include "common/page.h"
#include "common/error.h"
#include "common/file.h"

/* ---- mapping ---- */

/* At a multiple of the alignment: in the middle of what is reserved for it. Where the kernel chooses, it chooses for huge pages. */
static void *map_aligned(int fd, size_t bytes, size_t asked)
{
	size_t alignment = bytes >= HUGE_PAGE ? ma_max(asked, HUGE_PAGE) : asked;
	size_t room = bytes + alignment;
	char *range, *start;
	void *map;

	if (asked <= ma_page())
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
	ma_fail(errno, "a VM file of %zu bytes: no address space for it (%s); free blocks, or raise the limit", bytes,
		xmemory__limit_of_error(errno));
	close(*fd);
	return NULL;
}

static bool record(const struct xmemory__ask *ask, void *map, size_t bytes, int fd, uint32_t id)
{
	struct vm *vm = xmemory__pool_take(&vms->records);

	if (!vm)
		return false;
	xmemory__vm_enter(vm, map);
	vm->size = ask->size;
	vm->mapped = bytes;
	vm->site = xmemory__site(ask->file, ask->line);
	vm->id = id;
	vm->ranged = vm->barred = false;
	vm->copy_at = 0;
	vm->copy_memory = NULL;
	xmemory__vm_keep_fd(vm, fd);
	vms->files++;
	return true;
}

/* ---- blocks ---- */

static void tell(uint32_t id, const char *what, size_t bytes)
{
	if (MA_UNLIKELY(xmemory__level() >= 2))
		xmemory__say("xmemory: VM file %u of %zu bytes %s in %s", id, bytes, what, xmemory_gettmpdir());
}

void *xmemory__vm_new(const struct xmemory__ask *ask)
{
	MA_UNCANCELLED;
	size_t bytes = ma_up(ask->size, ma_page());
	bool known;
	uint32_t id;
	void *map;
	int fd;

	if (bytes < ask->size || bytes > INT64_MAX)
		return ma_fail_null(ENOMEM, "%zu bytes: more than a block can have; ask for fewer", ask->size);
	map = make(ask, bytes, &fd, &id);
	if (!map)
		return NULL;
	xmemory__lock();
	known = record(ask, map, bytes, fd, id);
	xmemory__unlock();
	if (!known) {
		munmap(map, bytes);
		close(fd);
		return ma_fail_null(
			ENOMEM, "a VM file of %zu bytes: no memory for its record (RLIMIT_DATA?); free blocks", bytes);
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
		return ma_fail_null(
			errno, "a VM file of %zu bytes: no address space for it (%s); free blocks, or raise the limit",
			bytes, xmemory__limit_of_error(errno));
	if (bytes < vm->mapped && ma_file_set_length(vm->fd, bytes) < 0)
		ma_debug("a VM file keeps the space of a part that is not in use");
	return map;
}

static void *resize(struct vm *vm, size_t size)
{
	size_t bytes = ma_up(size, ma_page());
	void *was = vm->ptr;
	void *map = was;

	if (bytes < size || bytes > INT64_MAX)
		return ma_fail_null(ENOMEM, "%zu bytes: more than a block can have; ask for fewer", size);
	if (bytes != vm->mapped && !xmemory__vm_fd_is_ours(vm))
		return ma_fail_null(EAGAIN, "the block's VM file cannot grow in place: its descriptor was not kept; "
					    "the block moves to another file");
	if (bytes != vm->mapped)
		map = remap(vm, bytes);
	if (!map)
		return NULL;
	vm->mapped = bytes;
	vm->size = size;
	if (map != was) {
		xmemory__vm_leave(vm);
		xmemory__vm_enter(vm, map);
	}
	return map;
}

void *xmemory__vm_resize(void *ptr, size_t size, uint32_t site)
{
	MA_UNCANCELLED;
	struct vm *vm;
	size_t had = 0;
	void *block;

	xmemory__lock();
	vm = xmemory__vm_find(ptr);
	if (vm)
		had = vm->size;
	block = vm ? resize(vm, size)
		   : ma_fail_null(EAGAIN, "%p has no VM file of its own; it moves to another one", ptr);
	if (block)
		vm->site = site;
	xmemory__unlock();
	if (block)
		xmemory__count((int64_t)size - (int64_t)had, 0);
	return block;
}

bool xmemory__vm_free(void *ptr)
{
	MA_UNCANCELLED;
	struct vm *vm;
	size_t size = 0;

	xmemory__lock();
	vm = xmemory__vm_find(ptr);
	if (vm) {
		size = vm->size;
		tell(vm->id, "given back", vm->mapped);
		xmemory__vm_leave(vm);
		if (vm->ranged)
			madvise(ptr, vm->mapped, MADV_REMOVE);
		munmap(ptr, vm->mapped);
		xmemory__vm_drop_fd(vm);
		xmemory__pool_give(&vms->records, vm);
		vms->files--;
	}
	xmemory__unlock();
	if (vm)
		xmemory__count(-(int64_t)size, -1);
	return vm != NULL;
}

static struct xmemory__block block_of(const struct vm *vm)
{
	return (struct xmemory__block){
		.ptr = vm->ptr, .size = vm->size, .site = vm->site, .kind = XMEMORY_VMFILE, .vmfile = vm->id
	};
}

bool xmemory__vm_look(const void *ptr, struct xmemory__block *block)
{
	const struct vm *vm = xmemory__vm_find(ptr);

	if (vm)
		*block = block_of(vm);
	return vm != NULL;
}

struct walk {
	xmemory__block_fn *fn;
	void *arg;
};

static void walk_one(struct vm *vm, void *arg)
{
	struct xmemory__block block = block_of(vm);
	struct walk *walk = arg;

	walk->fn(&block, walk->arg);
}

void xmemory__vm_walk(xmemory__block_fn *fn, void *arg)
{
	xmemory__vm_each(walk_one, &(struct walk){ fn, arg });
}

static void add_figures(struct vm *vm, void *arg)
{
	struct xmemory__figures *figures = arg;

	figures->files++;
	figures->bytes += vm->size;
	figures->disk_bytes += vm->mapped;
}

void xmemory__vm_figures(struct xmemory__figures *figures)
{
	xmemory__vm_each(add_figures, figures);
}

static void look_for(struct vm *vm, void *arg)
{
	const char **address = arg;

	if (*address >= (char *)vm->ptr && *address < (char *)vm->ptr + vm->mapped)
		*address = NULL;
}

bool xmemory__vm_holds(const void *address)
{
	xmemory__vm_each(look_for, &address);
	return !address;
}
