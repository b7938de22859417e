/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the command mapalloc asks of the library. It does not open a region: it makes a view of a file's bytes, at any address, also of a
 * file that is damaged or in use. Every call below is safe on any bytes. shmbuddy_walk(), shmbuddy_stats(), shmbuddy_check(),
 * shmbuddy_mend() and shmbuddy_gettag() work on a view as on a region that is open.
 */
#ifndef SHMBUDDY_SRC_INSPECT_H
#define SHMBUDDY_SRC_INSPECT_H

#include "common/error.h"
#include "common/header.h"
#include <shmbuddy.h>

/* ---- a view (view.c) ---- */

/*
 * A view by the header's numbers, of the area that there is at this moment. fd, at this place, stays the caller's. NULL: no
 * region has such numbers, or no memory.
 */
struct shmbuddy *shmbuddy__view_new(const struct ma_header *header, int fd, const struct ma_place *place);
void shmbuddy__view_free(struct shmbuddy *h);
/* The file is mapped at base: from now on the other calls are possible. */
void shmbuddy__view_attach(struct shmbuddy *h, void *base);
/* Nothing that is written at base reaches the file: shmbuddy_mend() is possible. */
void shmbuddy__view_allow_writing(struct shmbuddy *h);

struct shmbuddy__shape {
	uint64_t area_at, area;     /* The part of the file that blocks lie in: offset, bytes. */
	uint64_t range;             /* Bytes of the area when it has grown as far as it can. */
	uint64_t smallest, largest; /* Of blocks, bytes. */
	uint64_t backed_at;         /* Offset of the bits that say which parts have disk space. */
	unsigned levels;
};
struct shmbuddy__shape shmbuddy__view_shape(const struct shmbuddy *h);

/* The first part without disk space at this offset of the area or after it: its offset and bytes. False: there is none. */
bool shmbuddy__view_hole(const struct shmbuddy *h, uint64_t *at, uint64_t *bytes);
/* Splits and merges that a killed process did not finish. */
uint64_t shmbuddy__view_unfinished(const struct shmbuddy *h);

/* ---- roots (roots.c) ---- */

#define SHMBUDDY__ROOTS 64u

/* The root without a name; 0: not set. Any file will do; the offset may be anything. */
uint64_t shmbuddy__root_nameless(const struct shmbuddy *h);
/* The root of number i, its name with a closing zero. False: there is none. The same holds. */
bool shmbuddy__root_at(const struct shmbuddy *h, unsigned i, char name[SHMBUDDY_ROOT_MAX + 1], uint64_t *offset);

/* ---- check (inspect.c, handle.c) ---- */

/* So many words of level k are to be checked; and shmbuddy_check() of the words [first, end). Returns how many are wrong. */
uint64_t shmbuddy__check_end(const struct shmbuddy *h, unsigned k);
uint64_t shmbuddy__check_words(const struct shmbuddy *h, unsigned k, uint64_t first, uint64_t end,
			       shmbuddy_report_fn *report, void *arg);
/* Why a word cannot be right at this moment; NULL: it can. */
const char *shmbuddy__word_fault(const struct shmbuddy *h, unsigned k, uint64_t i);
/* The same of what is said of parts. */
uint64_t shmbuddy__check_parts(const struct shmbuddy *h, shmbuddy_report_fn *report, void *arg);

/* Did only processes die since this region was last opened, and is it the same file? Else nothing is certain. By h->place. */
bool shmbuddy__handle_is_certain(const struct shmbuddy *h, const struct ma_header *header);
/*
 * Is nothing known of parts without disk space, as it should be? Else the bit that says of one that it has it was lost on the way to the
 * disk. By h->fd.
 */
bool shmbuddy__handle_part_was_lost(const struct shmbuddy *h, uint64_t part);
bool shmbuddy__handle_no_part_was_lost(const struct shmbuddy *h);

/* ---- snapshot (snapshot.c) ---- */

/*
 * A consistent copy of a view, of a file of so many bytes, which takes the name filename. EAGAIN: the region grew since the view was made;
 * make another one. -1 with errno.
 */
int shmbuddy__view_snapshot(const struct shmbuddy *h, uint64_t bytes, const char *filename);

/* ---- errors (errmsg.c) ---- */

/* ma_last_error(), ma_error_clear() and ma_error_set_program() of common/error.h, with the failures of calls that a signal handler may make. */
bool shmbuddy__last_error(struct ma_error *error);
void shmbuddy__error_clear(void);
void shmbuddy__error_set_program(const char *name);

#endif /* SHMBUDDY_SRC_INSPECT_H */
