/* SPDX-License-Identifier: BSD-3-Clause */
/* Where VM files are made. */
#ifndef XMEMORY_DIRECTORY_H
#define XMEMORY_DIRECTORY_H

#include "common/base.h"

/* An unlinked file in the directory for VM files, and its number. -1 with errno. */
int xmemory__vm_file(uint32_t *id);
/* How many there ever were. */
uint32_t xmemory__vm_files_made(void);
/*
 * Keep a descriptor of the directory, for when its name leads there no more, and where it is; a VM file that cannot be made there any more
 * (setuid, chroot, the directory is gone) is in memory.
 */
void xmemory__vm_keep_folder(void);
int *xmemory__vm_folder(void);
/* Disk space for [from, to) of a file, which gets that long. */
int xmemory__vm_space(int fd, uint64_t from, uint64_t to);

#endif /* XMEMORY_DIRECTORY_H */
