/* SPDX-License-Identifier: BSD-3-Clause */
/* The records of blocks that have a VM file each: for vmfile.c and vmfile_fork.c. The lock is held. */
#ifndef XMEMORY_VMFILE_RECORD_H
#define XMEMORY_VMFILE_RECORD_H

#include "pages.h"

#include "common/fd.h"

#define COPIES    64
#define HEADS     4096
#define HUGE_PAGE ((size_t)2 << 20)

struct vm {
	void *ptr;
	size_t size;
	size_t mapped;
	uint32_t site;
	uint32_t id;
	int fd;      /* -1: not kept. */
	bool ranged; /* A range of a file that others have parts of too. */
	struct ma_fd_id file;
	/* While forking: where in which copy, or in memory; 0: not there. */
	uint64_t copy_at;
	int copy_fd;
	void *copy_memory;
	bool barred;     /* While forking: the child does not get these addresses. */
	struct vm *next; /* In its list of the table. */
};

struct xmemory__vms {
	struct vm *table[HEADS];
	uint32_t files, kept;
	struct xmemory__pool records;
	int copies[COPIES];
	unsigned copying; /* So many of them are open. */
};

extern struct xmemory__vms xmemory__vms;
static struct xmemory__vms *const vms = &xmemory__vms;

/* NULL: no block begins there. */
struct vm *xmemory__vm_find(const void *ptr);
void xmemory__vm_enter(struct vm *vm, void *ptr);
void xmemory__vm_leave(struct vm *vm);
void xmemory__vm_each(void (*fn)(struct vm *vm, void *arg), void *arg);
/* Keep this descriptor for the block, if few are kept; else it is closed. */
void xmemory__vm_keep_fd(struct vm *vm, int fd);
bool xmemory__vm_fd_is_ours(const struct vm *vm);
/* Close the block's descriptor, if it has one and that is still ours. */
void xmemory__vm_drop_fd(struct vm *vm);

#endif /* XMEMORY_VMFILE_RECORD_H */
