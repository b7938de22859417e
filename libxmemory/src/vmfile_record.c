/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A block is found by its address in a table of its own: the pointer table has 32 KiB for each MiB of addresses, which
 * RLIMIT_DATA counts, and blocks in VM files lie wherever the kernel puts them.
 */
#include <unistd.h>

#include "vmfile_record.h"

#define KEPT_MOST 64

struct xmemory__vms xmemory__vms = { .records.bytes = sizeof(struct vm) };

static struct vm **head_of(const void *ptr)
{
	return &vms->table[ma_mix((uint64_t)(uintptr_t)ptr) % HEADS];
}

/* The link that leads to the block's record, or the NULL at the list's end. */
static struct vm **find(const void *ptr)
{
	struct vm **link = head_of(ptr);

	while (*link && (*link)->ptr != ptr)
		link = &(*link)->next;
	return link;
}

struct vm *xmemory__vm_find(const void *ptr)
{
	return *find(ptr);
}

void xmemory__vm_enter(struct vm *vm, void *ptr)
{
	struct vm **head = head_of(ptr);

	vm->ptr = ptr;
	vm->next = *head;
	*head = vm;
}

void xmemory__vm_leave(struct vm *vm)
{
	*find(vm->ptr) = vm->next;
}

void xmemory__vm_each(void (*fn)(struct vm *vm, void *arg), void *arg)
{
	for (size_t i = 0; i < HEADS; i++)
		for (struct vm *vm = vms->table[i]; vm; vm = vm->next)
			fn(vm, arg);
}

bool xmemory__vm_fd_is_ours(const struct vm *vm)
{
	return ma_fd_is(vm->fd, vm->file);
}

void xmemory__vm_drop_fd(struct vm *vm)
{
	if (vm->fd < 0)
		return;
	ma_fd_close(vm->fd, vm->file);
	vm->fd = -1;
	vms->kept--;
}

void xmemory__vm_keep_fd(struct vm *vm, int fd)
{
	vm->fd = -1;
	if (vms->kept >= KEPT_MOST || !ma_fd_identify(fd, &vm->file)) {
		close(fd);
		return;
	}
	vm->fd = fd;
	vms->kept++;
}
