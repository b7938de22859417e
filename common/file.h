/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a map or a region asks of its file, by descriptor alone: locks that the kernel gives back at any kind of death, disk space,
 * length. common/slot.h says what the locked bytes mean.
 */
#ifndef MA_FILE_H
#define MA_FILE_H

#include <fcntl.h>

#include "common/base.h"

/* Far beyond the end of any file. */
#define MA_FILE_ATTACH_BYTE ((off_t)((uint64_t)1 << (sizeof(off_t) * 8 - 2)))
/* Locked by a process that has the attach byte exclusively and keeps it: an opener need not wait for that process. */
#define MA_FILE_EXCLUSIVE_BYTE (MA_FILE_ATTACH_BYTE - 1)
/* Locked, shared, by each process that is attached, but by none that only looks. Behind the bytes of all slots (slot.h). */
#define MA_FILE_MEMBER_BYTE    (MA_FILE_ATTACH_BYTE + (1 << 22))

/* fcntl(2) for an open-file-description lock of one byte, begun again when interrupted. out may be NULL. */
int ma_file_lock(int fd, int command, short type, off_t byte, struct flock *out);

/* Try for the attach byte. 0 got it; -1: EAGAIN another process holds it; ENOLCK the file system has no such locks. */
int ma_file_attach_exclusive(int fd);
/* For a process that may be going to attach, or only looks. */
int ma_file_visit(int fd);
/* The same for a process that is attached now: others can tell. */
int ma_file_attach_shared(int fd);
/* Is a process attached by ma_file_attach_shared()? errno stays. */
bool ma_file_has_members(int fd);
/* Keep the attach byte exclusively: a lock of the second byte says so. 0, or -1 with errno. */
int ma_file_stay_exclusive(int fd);
/* Does another process keep the attach byte? */
bool ma_file_is_kept(int fd);
/*
 * Is there a lock of a program in the way, which covers this byte, such as lockf(3) on the whole file? Then errno and a sentence: EDEADLK,
 * this process itself has it; EAGAIN, another one. False: there is none; errno stays.
 */
bool ma_file_blame(int fd, off_t byte, const char *name, const char *what);
/* The same for the attach byte, only for a lock of this process. */
bool ma_file_blame_self(int fd, const char *name);
/* Let go of the attach byte. */
void ma_file_detach(int fd);

/* Space for bytes [from, to), inside the file or not. 0, or -1 with ENOSPC, ...; EOPNOTSUPP, ENOSYS: this disk cannot. */
int ma_file_take(int fd, uint64_t from, uint64_t to);
/* The same where fallocate cannot, for bytes inside the file that no process uses yet. */
int ma_file_take_by_writing(int fd, uint64_t from, uint64_t to);

/* Are bytes [from, to) zeros? Holes, and space that was never written to, are not read. False also when reading fails. */
bool ma_file_is_zero(int fd, uint64_t from, uint64_t to);
/* Write zeros over what is not zero in bytes [from, to). The file keeps its disk space. 0, or -1 with errno. */
int ma_file_make_zero(int fd, uint64_t from, uint64_t to);

/* Does RLIMIT_FSIZE let a file be this long? Else errno EFBIG. */
bool ma_file_allowed(uint64_t length);
/* ftruncate(2) that reports RLIMIT_FSIZE as EFBIG where the kernel would send SIGXFSZ. */
int ma_file_set_length(int fd, uint64_t length);
/* At least so long: never shorter, also when another process makes it longer at the same time, where there is fallocate(2). */
int ma_file_lengthen(int fd, uint64_t length);
/*
 * Has a file whose length is 0 contents all the same, or would writing to it be a command? So it is with files of /proc, /sys and their like:
 * no map may be made there.
 */
bool ma_file_is_special(int fd);

/* What to call the file behind a descriptor in messages: "descriptor 5 (/tmp/heap)". errno stays. */
void ma_file_name(int fd, char *to, size_t size);

/* open(2) failed with errno: the sentence says why in words, and what to do. Returns -1. */
int ma_file_fail_open(const char *name);

#endif /* MA_FILE_H */
