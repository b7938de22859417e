/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Which processes use a file: by the locks that common/slot.h describes, asked for and never taken, and the mappings that /proc shows.
 *
 * Regions (libshmbuddy) have no locks while they are in use, so there only the mappings tell; and those of processes of other
 * users, or in other containers, are not to be seen. processes_exclusive() asks the kernel, which knows them all.
 */
#ifndef TOOLS_PROCESSES_H
#define TOOLS_PROCESSES_H

#include <sys/stat.h>

#include "common/header.h"

#define PROCESSES_MOST 2048

struct process {
	uint32_t pid; /* 0: not known here. */
	int slot;     /* -1: none: it only reads, or has not allocated yet. */
	bool is_alive;
	uint64_t since; /* Seconds since 1970; 0: not known. */
	char command[64];
};

struct processes {
	struct process process[PROCESSES_MOST];
	unsigned count;
	bool is_attached;   /* A live process uses it. */
	bool is_opening;    /* A process is creating or recovering it now. */
	bool locks_unknown; /* Its file system has no such locks. */
	bool proc_unknown;  /* Mappings of some processes could not be seen. */
};

/* The fuzz target asks a thousand times a second. */
extern bool processes_ask_proc;

/* header: slots in it are listed; NULL: there are none. name is for mappings whose device /proc shows otherwise. */
void processes_find(struct processes *processes, int fd, const char *name, const struct stat *st,
		    const struct ma_header *header);

/* Is the process slot's holder alive? */
bool processes_slot_is_alive(int fd, uint32_t slot);

/*
 * Has no other process this file open or mapped, in any container? 1 none, 0 another one, -1 the kernel does not say. fd is the only
 * one of this process. A process that opens the file in this very moment waits, or gets EAGAIN: only for commands that change files.
 */
int processes_exclusive(int fd);

#endif /* TOOLS_PROCESSES_H */
