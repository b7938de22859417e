/* SPDX-License-Identifier: BSD-3-Clause */
/* What is compared by bench/durable.c: blocks by their numbers, changed a few at a time, and then durable together. */
#ifndef BENCH_DURABLE_H
#define BENCH_DURABLE_H

#include <stdint.h>

#define BLOCK_BYTES 4000

/* Each call ends the program when it fails. There is one of each in the process. */
struct store {
	const char *name;
	/* Make it in this directory, with so many blocks, on disk. */
	void (*fill)(const char *dir, uint32_t blocks);
	/* These blocks have these bytes now, all of them, and that survives a power cut. */
	void (*change)(const uint32_t *block, uint32_t count, const void *bytes);
	void (*close)(void);
};

extern const struct store store_qalloc, store_plain;
#ifdef BENCH_LMDB
extern const struct store store_lmdb;
#endif
#ifdef BENCH_SQLITE
extern const struct store store_sqlite;
#endif

void die(const char *what) __attribute__((noreturn));
const char *path_in(const char *dir, const char *name);

/* Of libqalloc alone: another process opens the map, and so this one does not know all that is written; it closes it again. */
void store_qalloc_join(void);
void store_qalloc_leave(void);
/* As its change(), in milliseconds: the stores, qalloc_capture(), qalloc_commit(). */
void store_qalloc_parts(const uint32_t *block, uint32_t count, const void *bytes, double ms[3]);
/* The machine dies; the map is opened. Seconds; also those of a copy of the map's file with its sync. */
void store_qalloc_cut(const char *dir, double *open, double *copy);

double now(void);

#endif /* BENCH_DURABLE_H */
