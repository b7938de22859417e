/* SPDX-License-Identifier: BSD-3-Clause */
/* What the steps of opening a region in a file share. */
#ifndef SHMBUDDY_OPENING_H
#define SHMBUDDY_OPENING_H

#include <sys/stat.h>

#include "handle.h"

struct opening {
	const char *filename; /* NULL: by descriptor. */
	int fd;
	struct shmbuddy_options options;
	bool created;   /* The name is ours. */
	bool was_empty; /* The file was empty when its header was read. Another process may have started to create a region before st was read. */
	uint64_t given; /* Length of a file of zeros: that of the region to be made. 0: any other file. */
	struct stat st;
};

MA_INLINE bool wants(const struct opening *how, unsigned flag)
{
	return how->options.flags & flag;
}

/* opening_file.c: open the file. 0, or -1 with errno. */
int shmbuddy__opening_file(struct shmbuddy *h, struct opening *how);
/* Does the name still lead to the file that was opened? */
bool shmbuddy__opening_leads_here(const struct shmbuddy *h, const struct opening *how);

/* create.c: make the file a region. header: what it has, and then what it gets. Two of them would be much for a small stack. */
int shmbuddy__create(struct shmbuddy *h, struct opening *how, struct ma_header *header);
/* Undo a creation that failed: the file is of zeros, empty, or removed if this call made it. errno stays. */
void shmbuddy__create_undo(struct shmbuddy *h, const struct opening *how);

#endif /* SHMBUDDY_OPENING_H */
