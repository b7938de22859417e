/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A copy of a region whose words were copied while others changed them: a snapshot, or a region that went back to a checkpoint. Each word was
 * copied whole; which words are old and which are new is all that is not known, and none of it matters:
 *
 *   - A block that was there before, and stayed, is in the copy. Its word was OPEN and had it all the time, whatever else in that word
 *     changed. Every leaf above was split all the time, for a leaf is merged only when the word below has no block. So these words say the
 *     same of it at each moment, in every level.
 *   - No two blocks of the copy overlap, once what is OPEN below a leaf that is not split is closed, from the top level down. Then each
 *     leaf is free, of a block, or split in one word alone, and no other word has anything to say of its bytes.
 *   - What is split above a word that is not OPEN was merged or being split meanwhile. Mending makes it free.
 *   - Blocks beyond the end of the area, and words of parts that have no disk space in the copy, came after the length and the bits that say
 *     so were copied. They are not blocks that stayed, and go.
 *   - The index is hints. Mending lists what room there is.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/scan.h"
#include "handle.h"

/* ---- words ---- */

static bool is_split(struct shmbuddy *h, unsigned k, uint64_t i)
{
	const struct level *upper = region_level(h, k + 1);
	uint64_t at = i / WORD_UPPER;

	if (upper->local && !region_is_backed(h, at >> upper->fan_shift))
		return false;
	at = region_view(upper, ma_load(region_word(h, upper, at)));
	return word_is_open(at, WORD_UPPER) && word_is_split(at, WORD_UPPER, (unsigned)(i % WORD_UPPER));
}

/* The word without what lies beyond the end of the area. A leaf across the end may be split, but is no block. */
static uint64_t cut_off(const struct shmbuddy *h, const struct level *l, uint64_t i, uint64_t w)
{
	uint64_t area = ma_load(&h->area);
	uint32_t beyond = region_beyond(l, i, area);
	uint32_t partly = word_leaves(l->leaves) & ~region_fits(l, i, (uint64_t)1 << l->leaf_shift, area);

	for (unsigned leaf = 0; leaf < l->leaves; leaf++) {
		int order = word_order(w, l->leaves, leaf);

		if (order >= 0 &&
		    word_run(leaf, (unsigned)order) & (word_is_split(w, l->leaves, leaf) ? beyond : beyond | partly))
			w = word_give(w, l->leaves, leaf, (unsigned)order);
	}
	return w;
}

static void settle_word(struct shmbuddy *h, unsigned k, uint64_t i)
{
	const struct level *l = region_level(h, k);
	uint64_t w = ma_load(region_word(h, l, i)), next = w;

	if (!word_is_open(w, l->leaves)) /* Also a top word that was never written. */
		return;
	if (!l->top && !is_split(h, k, i))
		next = 0;
	else if (!region_is_within(h, l, i))
		next = cut_off(h, l, i, w);
	if (next != w)
		ma_store(region_word(h, l, i), next);
}

/* All words that there may be, for those beyond the end of the area are to be free. */
static void settle_level(struct shmbuddy *h, unsigned k)
{
	const struct level *l = region_level(h, k);
	uint64_t end = layout_words(l, h->lay.range);

	if (l->local)
		end = ma_min(end, layout_parts(&h->lay, ma_load(&h->area)) << l->fan_shift);
	for (uint64_t i = 0; i < end; i++) {
		if (l->local && !region_is_backed(h, i >> l->fan_shift))
			i |= ((uint64_t)1 << l->fan_shift) - 1;
		else
			settle_word(h, k, i);
	}
}

/* ---- parts ---- */

static void forget_parts_beyond(struct shmbuddy *h)
{
	uint64_t parts = layout_parts(&h->lay, ma_load(&h->area));

	for (uint64_t i = parts / 64; i * 64 < h->lay.parts; i++) {
		uint64_t bits = ma_load(&h->backed[i]), keep = i == parts / 64 ? ma_low_bits(parts % 64) : 0;

		if (bits & ~keep)
			ma_store(&h->backed[i], bits & keep);
	}
}

static void blank_part(struct shmbuddy *h, uint64_t part)
{
	off_t at = (off_t)(h->lay.meta_at + part * h->lay.meta_bytes);

	if (fallocate(h->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)h->lay.meta_bytes) < 0)
		memset(region_meta(h, part), 0, h->lay.meta_bytes);
}

/*
 * What is said of parts that had no space when the copy was begun. Holes are skipped, where the file system knows them. A rehearsal
 * leaves this out: no check reads these bytes, and zeros in private pages would take memory.
 */
static void blank_parts(struct shmbuddy *h)
{
	uint64_t first = h->lay.meta_at, bytes = h->lay.meta_bytes;

	for (uint64_t part = 0; part < h->lay.parts && !h->rehearses; part++) {
		off_t data = lseek(h->fd, (off_t)(first + part * bytes), SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			return;
		if (data >= 0)
			part = ma_max(part, ((uint64_t)data - first) / bytes);
		if (part < h->lay.parts && !region_is_backed(h, part))
			blank_part(h, part);
	}
}

void shmbuddy__settle(struct shmbuddy *h)
{
	int saved = errno;

	forget_parts_beyond(h);
	for (unsigned k = h->lay.top + 1u; k-- > 0;)
		settle_level(h, k);
	blank_parts(h);
	shmbuddy__region_mend_all(h);
	errno = saved;
}
