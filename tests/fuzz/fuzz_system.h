/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the model of system calls share: see fuzz_system.c. */
#ifndef MA_TESTS_FUZZ_SYSTEM_H
#define MA_TESTS_FUZZ_SYSTEM_H

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>

#define OPENS 64
#define LOCKS 16

struct file {
	int fd; /* The kernel's. */
	struct stat st;
	char *view;
};

struct lock {
	short type; /* F_UNLCK: none here. */
	off_t at;
};

/* An open file description. It lasts while descriptors or mapped pages have it. */
struct description {
	unsigned uses;
	struct file *file; /* NULL: the boot id. */
	int flags, mark;
	struct lock lock[LOCKS];
};

extern struct description fuzz_description[OPENS];

/* fcntl(2): F_OFD_SETLK and F_OFD_GETLK. */
int fuzz_set_lock(struct description *d, const struct flock *lock);
int fuzz_ask_lock(struct description *d, struct flock *lock);

#endif /* MA_TESTS_FUZZ_SYSTEM_H */
