/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Who uses a file: the locks that common/proc.h describes, asked for and never taken, and the mappings that /proc shows.
 *
 * Regions (libshmbuddy) have no locks while they are in use, so there only the mappings tell; and those of processes of other
 * users, or in other containers, are not to be seen. people_alone() asks the kernel, who knows.
 */
#ifndef TOOLS_PEOPLE_H
#define TOOLS_PEOPLE_H

#include <sys/stat.h>

#include "common/header.h"

#define PEOPLE_MOST 2048

struct person {
	uint32_t pid; /* 0: not known here. */
	int slot;     /* -1: none: it only reads, or has not allocated yet. */
	bool is_alive;
	uint64_t since; /* Seconds since 1970; 0: not known. */
	char command[64];
};

struct people {
	struct person person[PEOPLE_MOST];
	unsigned count;
	bool is_attached;   /* Somebody alive uses it. */
	bool is_opening;    /* Somebody is creating it, or recovers it, just now. */
	bool locks_unknown; /* Its file system has no such locks. */
	bool proc_unknown;  /* Mappings of some processes could not be seen. */
};

/* The fuzz target asks a thousand times a second. */
extern bool people_ask_proc;

/* header: slots in it are listed; NULL: there are none. name is for mappings whose device /proc shows otherwise. */
void people_find(struct people *people, int fd, const char *name, const struct stat *st,
		 const struct ma_header *header);

/* Is the process slot's holder alive? */
bool people_slot_is_alive(int fd, uint32_t slot);

/*
 * Has nobody else this file open or mapped, whoever and wherever he is? 1 nobody, 0 somebody, -1 the kernel does not say. fd is the
 * only one of this process. Whoever opens it in this very moment waits, or is told EAGAIN: only for commands that change files.
 */
int people_alone(int fd);

#endif /* TOOLS_PEOPLE_H */
