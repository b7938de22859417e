/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front door of maps and regions: how a process comes into a file, beside others or as the first one. Between processes the attach
 * byte decides (slot.h):
 *
 *   got it exclusively: no process is attached. The file is empty, half made or zeros: create. It is whole: recover what dead processes
 *     left. Then the lock becomes a shared one, or stays, when the file is to be used by this process alone.
 *   got it shared: another process has done that before us, if the header says so: join. Else let go and try again.
 *
 * A reader has it shared while it looks, to sit out a creation. All waiting and all trying again is in regfile.c; what is particular to a
 * kind of file is in the calls below.
 */
#ifndef MA_REGFILE_H
#define MA_REGFILE_H

#include <sys/stat.h>

#include "common/header.h"

enum ma_regfile_flags {
	MA_REGFILE_CREATE = 1, /* An absent, empty or half made file, or one of zeros, is made what it is to be. */
	MA_REGFILE_READ = 2,   /* Nothing is written. */
	MA_REGFILE_EXCLUSIVE = 4,  /* No other process may be attached, now and later. */
	MA_REGFILE_UNLOCKED =
		8, /* A reader takes no lock. Where there are no locks at all, a writer joins without one. */
};

enum ma_visit {
	MA_VISIT_DONE,
	MA_VISIT_FAILED, /* errno says why. */
	MA_VISIT_AGAIN,  /* Not yet: let go of the attach byte, try again. */
	MA_VISIT_REOPEN, /* The name was taken away under us: open it once more. */
};

struct ma_regfile;

/* f->header is a copy of the first page, which passed all checks but for create(). */
struct ma_regfile_calls {
	/* The file is open at *f->fd. MA_VISIT_AGAIN: go on. MA_VISIT_DONE: that is all, for this process has it already. */
	enum ma_visit (*opened)(struct ma_regfile *f);
	/* Close *f->fd: another file has its name now. */
	void (*lose)(struct ma_regfile *f);
	/* As the first one. The file is to be made: ma_regfile_size(), then the rest, the magic number last. 0, or -1 with errno. */
	int (*create)(struct ma_regfile *f);
	/* As the first one: recover. */
	enum ma_visit (*recover)(struct ma_regfile *f);
	/* Beside others. */
	enum ma_visit (*join)(struct ma_regfile *f);
	/* As a reader. */
	enum ma_visit (*look)(struct ma_regfile *f);
};

struct ma_regfile {
	/* What is asked. */
	const char *filename; /* NULL: the file of from. */
	int from;
	unsigned flags;   /* enum ma_regfile_flags */
	unsigned kinds;   /* 1 << enum ma_kind of each that may be there. */
	mode_t mode;      /* Of a new file; 0: 0600. */
	const char *name; /* For messages. */
	const struct ma_regfile_calls *calls;
	void *arg;
	int *fd; /* Where the descriptor is to be kept. */
	/* What is found. */
	struct ma_header header;
	struct stat st;
	uint64_t mount; /* By which this process opened the file. */
	struct ma_place
		place; /* By the header's mount when other processes are attached: they prove that nothing was lost since. */
	enum ma_refusal why;
	uint64_t cut_at; /* How long it was when the machine died while it grew; 0: any other. */
	bool named;    /* This opening made the name. */
	bool half;     /* A creation was not finished. */
	bool attached; /* The attach byte is held. */
	uint64_t
		given; /* Length of a file of zeros that is to be made something: it keeps that, and its disk space. 0: any other. */
};

/* In recover(): the file was given another length and other contents. If opening it fails later, it is not made short again. */
MA_INLINE void ma_regfile_is_whole(struct ma_regfile *f)
{
	f->cut_at = 0;
}

/* Open the file and come in. MA_VISIT_DONE, or MA_VISIT_FAILED with errno: then the caller closes the descriptor. */
enum ma_visit ma_regfile_enter(struct ma_regfile *f);
/* For create(): mark the file as half made, and make it so long. 0, or -1 with errno. */
int ma_regfile_size(const struct ma_regfile *f, uint64_t length);
/* Has no process the attach byte? */
bool ma_regfile_is_unused(const struct ma_regfile *f);
/* Another open file description of the file at fd, at a high number, for reading or, when fd allows it, for writing. -1 with errno. */
int ma_regfile_reopen(int fd, bool reading);

#endif /* MA_REGFILE_H */
