/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors of ours in a process that is not ours. A program may close descriptors that it did not open, and its own files
 * then get their numbers. So a descriptor is checked before each use, and before it is closed.
 *
 * A file is known by its device and inode, and our open file description by a mark: else another descriptor of the same file,
 * which the program opened, would pass for ours. The mark is the signal of fcntl(F_SETSIG): a number that the kernel keeps for
 * each open file description, and uses only with O_ASYNC and leases, which we never ask for.
 *
 * A program that closes and opens descriptors in one thread while another thread is in a call can still come between the check and
 * the use. Descriptors of ours have high numbers: the kernel gives a new file the lowest free number.
 *
 * Everything here may run in a signal handler.
 */
#ifndef MA_FD_H
#define MA_FD_H

#include <sys/types.h>

#include "common/base.h"

/* Locks of ours are at this byte (MA_FILE_EXCLUSIVE_BYTE) and behind it. */
#define MA_FD_LOCKS ((off_t)((uint64_t)1 << (sizeof(off_t) * 8 - 2)) - 1)

struct ma_fd_id {
	uint64_t device;
	uint64_t inode; /* 0: not known yet. */
	int mark;       /* 0: not marked; then any descriptor of the file passes. */
};

/* Mark this open file description. Returns the mark; 0: the kernel has none. errno stays. */
int ma_fd_mark(int fd);
/* The same, with device and inode. False with errno: fstat(2) failed. */
bool ma_fd_identify(int fd, struct ma_fd_id *id);

/* Is this descriptor open, and still the one that was identified? errno stays. */
bool ma_fd_is(int fd, struct ma_fd_id id);

/*
 * Close it, unless it is not ours any more. One that was not identified yet is closed. errno stays.
 *
 * A process loses all its POSIX locks (lockf, fcntl F_SETLK) on a file when it closes any descriptor of that file. So when the program has
 * such locks, this descriptor stays open, parked, without locks of ours.
 */
void ma_fd_close(int fd, struct ma_fd_id id);
/* A parked descriptor of this file, with this access mode, to use instead of opening the file again. -1: none. errno stays. */
int ma_fd_unpark(uint64_t device, uint64_t inode, int access_mode);
/*
 * open(2) and close(2) for a short look at a file that may be the program's own: its POSIX locks stay. -1 with errno.
 */
int ma_fd_open(const char *name, int flags);
void ma_fd_shut(int fd);
/* Does any process hold locks on the file that are not this library's? errno stays. */
bool ma_fd_has_program_locks(int fd);

/* The lowest number that descriptors of ours have when there is room. */
int ma_fd_floor(void);
/*
 * The same open file description under a high number, or at least above those of stdin, stdout and stderr: a program that was started
 * without these writes to them all the same. A descriptor below 0 stays as it is, and so does one of a file with locks of a program, for
 * closing it could drop these. -1 with errno; fd is closed then.
 */
int ma_fd_aside(int fd);

/*
 * Another open file description of the file that is mapped at this address, for a descriptor that is lost: through
 * /proc/self/map_files, which needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, or by the name that the mapping has, or by this name (may be NULL),
 * as far as these lead to the same device and inode. It is not marked yet. -1 with EBADF.
 */
int ma_fd_again(const void *mapped, const char *name, struct ma_fd_id id, int flags);

/*
 * Does this process of our pid namespace have the same file mapped at this address as we have? True is certain; false may also mean that it
 * cannot be asked.
 */
bool ma_fd_is_mapped_by(uint32_t pid, const void *mapped);
/* Is the memory at this address shared with fork children? False also when it cannot be asked. errno stays. */
bool ma_fd_is_shared_memory(const void *at);

#endif /* MA_FD_H */
