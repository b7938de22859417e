/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A region that does not pass the check, because its machine's death left some pages old and others new, or something wrote into it. Its words
 * hold all that is known of blocks, each for itself:
 *
 *   - A word that is a tree of blocks is believed, when the leaf above it is split.
 *   - A word that is no such tree becomes one allocated block. So malloc never reuses memory that may be in use.
 *   - A part whose words are there has its disk space, whatever its bit says.
 *
 * shmbuddy__settle() removes what is left of contradictions. Killed in between, the file passes the check, or it does not.
 *
 * All of this is tried first in a view of the tables whose pages are never written back: a region that cannot be salvaged keeps every byte.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "handle.h"
#include "inspect.h"

static void tell(const struct ma_reporter *to, uint64_t offset, uint64_t bytes, const char *what)
{
	char text[160];

	snprintf(text, sizeof(text), "offset %" PRIu64 ", %" PRIu64 " bytes: %s", offset, bytes, what);
	if (to->report)
		to->report(text, to->arg);
}

/* ---- parts ---- */

static int regain_parts(struct shmbuddy *h, const struct ma_reporter *to)
{
	uint64_t parts = layout_parts(&h->lay, ma_load(&h->area)), bytes = (uint64_t)1 << h->lay.part_shift;

	for (uint64_t part = 0; part < parts; part++) {
		if (!shmbuddy__handle_part_was_lost(h, part))
			continue;
		tell(to, h->lay.area_at + part * bytes, bytes, "a part has its words again, and its disk space");
		if (shmbuddy__region_reserve_part(h, part) < 0)
			return ma_fail(errno,
				       "%s: cannot salvage it: no disk space for a part; free space on its file system",
				       h->name);
	}
	return 0;
}

/* ---- words ---- */

/* A top word that only lost its OPEN bit is one again. A stamp stays: the next change makes another one. */
static uint64_t made_sound(const struct level *l, uint64_t w)
{
	uint64_t open = w | word_open(l->leaves),
		 stamp = l->leaves == WORD_UPPER ? w >> WORD_STAMP_SHIFT << WORD_STAMP_SHIFT : 0;

	if (l->top && word_is_sound(open, l->leaves))
		return open;
	return stamp | word_open(l->leaves) | word_leaves(l->leaves);
}

static void salvage_word(struct shmbuddy *h, unsigned k, uint64_t i, const struct ma_reporter *to)
{
	const struct level *l = region_level(h, k);
	uint64_t w = ma_load(region_word(h, l, i)), view = region_view(l, w);
	const char *fault = shmbuddy__word_fault(h, k, i);

	if (!fault)
		return;
	tell(to, h->lay.area_at + (i << l->cover_shift), (uint64_t)1 << l->cover_shift, fault);
	if (!word_is_open(view, l->leaves) || !word_is_sound(view, l->leaves))
		ma_store(region_word(h, l, i), made_sound(l, w));
}

int shmbuddy__salvage(struct shmbuddy *h, const struct ma_reporter *to)
{
	if (regain_parts(h, to) < 0)
		return -1;
	for (unsigned k = h->lay.top + 1u; k-- > 0;) {
		const struct level *l = region_level(h, k);
		uint64_t end = shmbuddy__check_end(h, k);

		for (uint64_t i = 0; i < end; i++)
			if (!l->local || region_is_backed(h, i >> l->fan_shift))
				salvage_word(h, k, i, to);
	}
	shmbuddy__settle(h);
	return 0;
}

/* ---- the rehearsal ---- */

/*
 * All words lie before the area, so no more is mapped. The view has the descriptor: it shows which parts were lost, and these get their disk
 * space in the rehearsal, too, because to read a hole may take some. That changes no byte. NULL: no memory.
 */
static struct shmbuddy *rehearsal_new(const struct shmbuddy *h, const struct ma_header *header)
{
	struct shmbuddy *view = shmbuddy__view_new(header, h->fd, &h->place);
	void *at = MAP_FAILED;

	if (view)
		at = mmap(NULL, (size_t)h->lay.area_at, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, h->fd, 0);
	if (at == MAP_FAILED) {
		shmbuddy__view_free(view);
		return NULL;
	}
	view->mark = h->mark;
	view->rehearses = true;
	memcpy(view->name, h->name, sizeof(view->name));
	shmbuddy__view_attach(view, at);
	shmbuddy__view_allow_writing(view);
	return view;
}

static void rehearsal_free(struct shmbuddy *view)
{
	int saved = errno;

	munmap(view->base, (size_t)view->lay.area_at);
	shmbuddy__view_free(view);
	errno = saved;
}

/* As shmbuddy_check(). But that keeps the address of a region that fails, and this view will be freed. */
static uint64_t count_violations(const struct shmbuddy *h)
{
	uint64_t count = shmbuddy__check_parts(h, NULL, NULL);

	for (unsigned k = 0; k <= h->lay.top; k++)
		count += shmbuddy__check_words(h, k, 0, shmbuddy__check_end(h, k), NULL, NULL);
	return count + !shmbuddy__handle_no_part_was_lost(h);
}

int shmbuddy__salvage_rehearse(const struct shmbuddy *h, const struct ma_header *header)
{
	const struct ma_reporter quiet = { NULL, NULL };
	struct shmbuddy *view = rehearsal_new(h, header);
	uint64_t left = 0;
	int result;

	if (!view)
		return ma_fail(ENOMEM, "%s: cannot salvage it: no memory to try it first; free memory", h->name);
	result = shmbuddy__salvage(view, &quiet);
	if (result == 0)
		left = count_violations(view);
	rehearsal_free(view);
	if (left == 0)
		return result;
	return ma_fail(EUCLEAN,
		       "%s: cannot salvage it: violations that would be left: %" PRIu64
		       "; its file is as it was: restore a copy",
		       h->name, left);
}

/* ---- roots; the region is open ---- */

static void salvage_root(struct shmbuddy *h, const char *name, uint64_t offset, const struct ma_reporter *to)
{
	char text[160];

	if (offset >= h->lay.area_at && offset - h->lay.area_at < ma_load(&h->area))
		return;
	snprintf(text, sizeof(text), "root %s pointed out of the region, and is taken away",
		 name ? name : "without a name");
	if (to->report)
		to->report(text, to->arg);
	shmbuddy_setroot(h, name, SHM_NULL);
}

void shmbuddy__salvage_roots(struct shmbuddy *h, const struct ma_reporter *to)
{
	char name[SHMBUDDY_ROOT_MAX + 1];
	uint64_t offset = shmbuddy__root_nameless(h);

	if (offset)
		salvage_root(h, NULL, offset, to);
	for (unsigned i = 0; i < SHMBUDDY__ROOTS; i++)
		if (shmbuddy__root_at(h, i, name, &offset))
			salvage_root(h, name, offset, to);
}
