/* SPDX-License-Identifier: BSD-3-Clause */
/* What the options of a new region make of it: sizes, capacity, range. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/error.h"
#include "fail.h"
#include "handle.h"

#define DEFAULT_CAPACITY ((uint64_t)512 << 20)
#define LEAST_CAPACITY   4096u
#define MOST_MULTIPLE    64u                 /* Of the capacity: a range that the options do not give, at most... */
#define MOST_RANGE       ((uint64_t)1 << 40) /* ... and so many bytes, on machines with so much room for addresses. */
#define MOST_RANGE_32    ((uint64_t)256 << 20)
#define TABLES_PART      10u           /* A part of the capacity, that the tables of such a range may take... */
#define TABLES_LEAST     (2 * MA_PAGE) /* ... or so many bytes. */

static bool shift_of(uint64_t size, unsigned *shift)
{
	*shift = size ? (unsigned)__builtin_ctzll(size) : 0;
	return ma_is_pow2(size);
}

bool shmbuddy__handle_options(const struct shmbuddy_options *options, unsigned flags, unsigned *small, unsigned *large)
{
	static const struct shmbuddy_options zero;
	uint64_t smallest, largest, capacity, range;

	if (!options)
		options = &zero;
	smallest = options->smallest ? options->smallest : 32;
	largest = options->largest ? options->largest : smallest * 32;
	capacity = options->capacity ? options->capacity : DEFAULT_CAPACITY;
	if ((options->flags & ~flags) || memcmp(options->reserved, zero.reserved, sizeof(zero.reserved)) != 0 ||
	    (options->mode & ~0777u)) {
		ma_fail(EINVAL,
			"options are invalid: flags %#x (known here: %#x), mode %#o (at most 0777), or reserved fields "
			"are not zero; set unused fields to 0",
			options->flags, flags, options->mode);
		return false;
	}
	if (!shift_of(smallest, small) || *small < 4 || *small > 20) {
		ma_fail(EINVAL,
			"smallest block of %" PRIu64
			" bytes is invalid: it must be a power of two from 16 to 1048576; change option smallest",
			smallest);
		return false;
	}
	range = options->range ? options->range : capacity;
	if (capacity < LEAST_CAPACITY || capacity > (uint64_t)1 << LAYOUT_MOST_SHIFT) {
		ma_fail(EINVAL,
			"capacity of %" PRIu64
			" bytes is invalid: it must be 4096 bytes to 32 TiB; change option capacity",
			capacity);
		return false;
	}
	if ((options->capacity && range < capacity) || range > (uint64_t)1 << LAYOUT_MOST_SHIFT) {
		ma_fail(EINVAL,
			"range of %" PRIu64 " bytes is invalid: it must be %" PRIu64
			" (capacity) to 32 TiB; change option range",
			range, capacity);
		return false;
	}
	while (!options->largest && largest > smallest && largest > capacity)
		largest /= 2;
	if (!shift_of(largest, large) || *large < *small || largest > range) {
		ma_fail(EINVAL,
			"largest block of %" PRIu64 " bytes is invalid: it must be a power of two from %" PRIu64
			" (smallest) to %" PRIu64 " (capacity, or range); change option largest",
			largest, smallest, range);
		return false;
	}
	return true;
}

/* The range when the options give none: many times the capacity, while its tables stay small against that. */
static uint64_t generous_range(struct numbers n)
{
	uint64_t most = sizeof(void *) > 4 ? MOST_RANGE : MOST_RANGE_32;
	uint64_t tables = ma_max(n.first / TABLES_PART, TABLES_LEAST);
	struct layout lay;

	for (uint64_t times = MOST_MULTIPLE; times > 1; times /= 2) {
		if (n.first > most / times)
			continue;
		n.range = n.first * times;
		if (shmbuddy__layout_make(&lay, &n) && lay.parts * lay.meta_bytes <= tables)
			return n.range;
	}
	return n.first;
}

bool shmbuddy__handle_plan(const struct shmbuddy_options *options, enum storage where, struct layout *lay)
{
	uint64_t capacity = options && options->capacity ? options->capacity : DEFAULT_CAPACITY;
	struct numbers n = { .sparse = where == REGION_SPARSE, .memory = where == REGION_MEMORY };

	if (!shmbuddy__handle_options(options, UINT32_MAX, &n.small_shift, &n.large_shift))
		return false;
	n.first = ma_up(capacity, (uint64_t)1 << n.small_shift);
	if (options && options->range)
		n.range = ma_up(options->range, (uint64_t)1 << n.small_shift);
	else
		n.range = where == REGION_SPARSE ? generous_range(n) : n.first;
	if (shmbuddy__layout_make(lay, &n))
		return true;
	ma_fail(EINVAL,
		"capacity of %" PRIu64 " bytes is invalid: too many or too few blocks of %" PRIu64 " to %" PRIu64
		" bytes, or too large a range; change the options",
		capacity, (uint64_t)1 << n.small_shift, (uint64_t)1 << n.large_shift);
	return false;
}

/* What a region in a file of given bytes is to be like, and the largest capacity that it has room for. */
struct fitting {
	struct shmbuddy_options options;
	enum storage where;
	uint64_t given, least, most; /* Capacities to choose from. */
};

/* The range may reach beyond the end of the file: 0 is none, the capacity stays as it is. */
static bool fits(const struct fitting *f, uint64_t capacity, uint64_t range, struct layout *lay)
{
	struct shmbuddy_options tried = f->options;

	tried.capacity = capacity;
	tried.range = range ? range : capacity;
	return shmbuddy__handle_plan(&tried, f->where, lay) && lay->area_at + lay->first <= f->given;
}

/* More capacity takes hardly ever less room, and what is found fits in any case. */
static bool fits_best(const struct fitting *f, uint64_t range, struct layout *lay)
{
	uint64_t low = f->least, high = range ? ma_min(f->most, range) : f->most;

	while (low < high) {
		uint64_t middle = low + (high - low + 1) / 2;

		if (fits(f, middle, range, lay))
			low = middle;
		else
			high = middle - 1;
	}
	return fits(f, low, range, lay);
}

bool shmbuddy__handle_fit(const struct shmbuddy_options *options, enum storage where, uint64_t given,
			  struct layout *lay)
{
	uint64_t most = ma_min(given, (uint64_t)1 << LAYOUT_MOST_SHIFT);
	struct fitting f = { *options, where, given, LEAST_CAPACITY, most };
	struct numbers n = { .sparse = true };
	uint64_t range = options->range;

	if (options->capacity)
		f.least = f.most = options->capacity;
	else if (!range)
		f.least = ma_max(f.least, options->largest);
	if (!range && where == REGION_SPARSE && f.least <= f.most &&
	    shmbuddy__handle_options(options, UINT32_MAX, &n.small_shift, &n.large_shift)) {
		n.first = ma_up(f.most, (uint64_t)1 << n.small_shift);
		for (range = generous_range(n); range >= n.first; range /= 2)
			if (fits_best(&f, range, lay))
				return true;
		range = 0;
	}
	if (fits_best(&f, range, lay))
		return true;
	ma_fail(EINVAL, "cannot make a region of a file of %" PRIu64 " bytes: too short for these options; make it longer",
		given);
	return false;
}

uint64_t shmbuddy_size_needed(const struct shmbuddy_options *options)
{
	struct layout lay;

	return shmbuddy__handle_plan(options, REGION_MEMORY, &lay) ? lay.reserved : 0;
}
