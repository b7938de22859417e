/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a map or a region asks of its file, by descriptor alone: locks that the kernel gives back at any kind of death, disk space,
 * length. common/proc.h says what the locked bytes mean.
 */
#ifndef MA_FILE_H
#define MA_FILE_H

#include <fcntl.h>

#include "common/base.h"

/* Far beyond the end of any file. */
#define MA_FILE_ATTACH_BYTE ((off_t)((uint64_t)1 << (sizeof(off_t) * 8 - 2)))

/* fcntl(2) for an open-file-description lock of one byte, begun again when interrupted. out may be NULL. */
int ma_file_lock(int fd, int command, short type, off_t byte, struct flock *out);

/* Try for the attach byte. 0 got it; -1: EAGAIN somebody else has it in the way; ENOLCK no such locks here. */
int ma_file_attach_exclusive(int fd);
int ma_file_attach_shared(int fd);
/* Let go of the attach byte. */
void ma_file_detach(int fd);

/* Space for bytes [from, to), inside the file or not. 0, or -1 with ENOSPC, ...; EOPNOTSUPP, ENOSYS: this disk cannot. */
int ma_file_take(int fd, uint64_t from, uint64_t to);
/* The same where fallocate cannot, for bytes inside the file that nobody uses yet. */
int ma_file_take_by_writing(int fd, uint64_t from, uint64_t to);

/* Does RLIMIT_FSIZE let a file be this long? Else errno EFBIG. */
bool ma_file_allowed(uint64_t length);
/* ftruncate(2) that reports RLIMIT_FSIZE as EFBIG where the kernel would send SIGXFSZ. */
int ma_file_set_length(int fd, uint64_t length);

/*
 * The same file under a number above those of stdin, stdout and stderr: a program that was started without these writes to them
 * all the same. A descriptor below 0 stays as it is. -1 with errno; fd is closed then.
 */
int ma_file_above_standard(int fd);

#endif /* MA_FILE_H */
