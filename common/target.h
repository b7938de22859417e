/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file that appears under its name when it is whole. Until then it has no name, and vanishes with the process that makes it. Where the
 * file system makes no such files, or without /proc, it has a temporary one beside it, ".KIND-" and 16 hexadecimal digits.
 */
#ifndef MA_TARGET_H
#define MA_TARGET_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/fd.h"

struct ma_target {
	char *dirname, *name; /* Parts of part. */
	char *part[2];
	int dir;
	struct ma_fd_id dir_id, id;
	int fd; /* For reading and writing; -1 before it is opened. */
	const char *kind;
	char temporary[40]; /* In dir; empty: none. */
};

/* Where it will be; nothing is made yet. -1 with errno: EINVAL no name of a file, else its folder cannot be opened. */
int ma_target_find(struct ma_target *t, const char *filename);
/* The same for a copy of the map of this name, device and inode (0: none), with a sentence: EINVAL it would replace the map itself, or no regular file; EISDIR. */
int ma_target_for_copy(struct ma_target *t, const char *map, uint64_t device, uint64_t inode, const char *filename);
/* Something has its name, be it a link that leads nowhere. errno is EEXIST then. */
bool ma_target_is_there(const struct ma_target *t);
/* Make it, empty. Its mode is this one, whatever the umask. -1 with errno. */
int ma_target_open(struct ma_target *t, const char *kind, mode_t mode);
/* A path that leads to it as long as it is open and has not got its name. NULL: no memory. To be freed. */
char *ma_target_path(const struct ma_target *t);
/*
 * It is whole: on disk with it, then it takes its name, from another file if it may replace one. -1 with errno; EEXIST: there is one. Of a
 * kill in the last instant a second, temporary name is left.
 */
int ma_target_commit(struct ma_target *t, bool may_replace);
/* In any case, also after the others failed. What has not got its name is gone. errno stays. */
void ma_target_close(struct ma_target *t);

#endif /* MA_TARGET_H */
