/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks that have a VM file each, over a fork: the parent copies them, and the child maps the copies in their place. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "directory.h"
#include "say.h"
#include "vmfile_fork.h"
#include "vmfile_record.h"

#include "common/copy.h"
#include "common/file.h"
#include "common/forkstack.h"
#include "common/page.h"

/* As far from a huge page's beginning as its address is: then the child can have huge pages too. */
static uint64_t place_for(const struct vm *vm, uint64_t at)
{
	return vm->mapped >= HUGE_PAGE ? at + (((uintptr_t)vm->ptr - at) & (HUGE_PAGE - 1)) : at;
}

/* Another file, when there is none yet, or RLIMIT_FSIZE ends this one. */
static bool next_file(uint64_t *at)
{
	uint32_t id;
	int fd = vms->copying < COPIES ? xmemory__vm_file(&id) : -1;

	if (vms->copying == COPIES)
		errno = EMFILE;
	if (fd < 0)
		return false;
	vms->copies[vms->copying++] = fd;
	*at = ma_page(); /* So that 0 says "not there". */
	return true;
}

static bool copy_to_file(struct vm *vm, uint64_t *at)
{
	uint64_t place = place_for(vm, *at);
	int fd;

	if ((vms->copying == 0 || !ma_file_allowed(place + vm->mapped)) && !next_file(at))
		return false;
	place = place_for(vm, *at);
	fd = vms->copies[vms->copying - 1];
	if (!ma_file_allowed(place + vm->mapped) && ma_file_allowed(vm->mapped + ma_page()))
		place = *at;
	if (xmemory__vm_space(fd, place, place + vm->mapped) < 0 || ma_write_all(fd, vm->ptr, vm->mapped, place) < 0)
		return false;
	vm->copy_fd = fd;
	vm->copy_at = place;
	*at = place + vm->mapped;
	return true;
}

/* No descriptor, no directory, no file that is long enough. A full disk is not to fill the memory too. */
static bool copy_to_memory(struct vm *vm)
{
	void *copy;

	if (errno == ENOSPC || errno == EDQUOT || errno == EIO)
		return false;
	copy = mmap(NULL, vm->mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (copy == MAP_FAILED)
		return false;
	vm->copy_memory = memcpy(copy, vm->ptr, vm->mapped);
	return true;
}

/* The stack lies in shared memory, until the child can map its copy: see forkstack.h. */
static bool is_barred(struct vm *vm)
{
	vm->barred = ma_forkstack_is_in(vm->ptr, vm->mapped);
	if (!vm->barred)
		return false;
	ma_forkstack_bar(vm->ptr, vm->mapped);
	xmemory__say(MA_FORKSTACK_SAYS, "xmemory", "a block");
	return true;
}

static void copy_one(struct vm *vm, void *arg)
{
	if (!is_barred(vm) && !copy_to_file(vm, arg))
		copy_to_memory(vm);
}

void xmemory__vm_copy(void)
{
	uint64_t at = ma_page();

	xmemory__vm_each(copy_one, &at);
}

/* Unmapping first: at vm.max_map_count, mapping over what is there fails. */
static bool map_copy(struct vm *vm)
{
	munmap(vm->ptr, vm->mapped);
	if (vm->copy_at)
		return mmap(vm->ptr, vm->mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, vm->copy_fd,
			    (off_t)vm->copy_at) != MAP_FAILED;
	return vm->copy_memory &&
	       mremap(vm->copy_memory, vm->mapped, vm->mapped, MREMAP_MAYMOVE | MREMAP_FIXED, vm->ptr) != MAP_FAILED;
}

/* A block without a copy: better a fault at the first look than what the parent makes of it later. */
static void adopt_copy(struct vm *vm, void *arg)
{
	uint32_t *lost = arg;

	if (!map_copy(vm)) {
		mmap(vm->ptr, vm->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		(*lost)++;
	}
	xmemory__vm_drop_fd(vm);
	vm->ranged = vm->copy_at != 0;
	vm->copy_at = 0;
	vm->copy_memory = NULL;
}

static void drop_copy(struct vm *vm, void *arg)
{
	(void)arg;
	if (vm->barred)
		ma_forkstack_unbar(vm->ptr, vm->mapped);
	if (vm->copy_memory)
		munmap(vm->copy_memory, vm->mapped);
	vm->barred = false;
	vm->copy_at = 0;
	vm->copy_memory = NULL;
}

void xmemory__vm_copied(bool child)
{
	uint32_t lost = 0;

	if (child)
		xmemory__vm_each(adopt_copy, &lost);
	else
		xmemory__vm_each(drop_copy, NULL);
	while (vms->copying > 0)
		close(vms->copies[--vms->copying]);
	if (lost > 0)
		xmemory__say("xmemory: this fork child has no copy of %u block%s in VM files (no disk space?): it must "
			     "not touch "
			     "them",
			     lost, lost == 1 ? "" : "s");
}

/* ---- a child without copies ---- */

static void make_readonly(struct vm *vm, void *arg)
{
	(void)arg;
	mprotect(vm->ptr, vm->mapped, PROT_READ);
}

/* The child has no copy of these: remove them from its table. */
void xmemory__vm_orphaned(void)
{
	xmemory__vm_each(make_readonly, NULL);
	memset(vms->table, 0, sizeof(vms->table));
	vms->files = vms->kept = vms->copying = 0;
}
