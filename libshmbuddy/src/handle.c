/* SPDX-License-Identifier: BSD-3-Clause */
/* Handles, and what all ways to open a region share. */
#include "handle.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/error.h"

#define DEFAULT_CAPACITY ((uint64_t)512 << 20)
#define LEAST_CAPACITY   4096u

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct shmbuddy *handles;
static _Atomic uint64_t last_id;
static uint64_t closes;

/* ---- the registry ---- */

static uint64_t new_id(void)
{
	return atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
}

/* A child must not go on in its parent's words: with other ids, its thread's spots are nobody's. */
static void in_child(void)
{
	for (struct shmbuddy *h = handles; h; h = h->next)
		if (ma_load(&h->id))
			ma_store(&h->id, new_id());
	pthread_mutex_unlock(&mutex);
}

static void before_fork(void)
{
	pthread_mutex_lock(&mutex);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&mutex);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, in_parent, in_child);
}

/* One that has rested long enough; the caller has the mutex. */
static struct shmbuddy *rested(void)
{
	for (struct shmbuddy *h = handles; h; h = h->next)
		if (h->closed_at && closes - h->closed_at >= HANDLE_REST)
			return h;
	return NULL;
}

struct shmbuddy *shmbuddy__handle_new(void)
{
	struct shmbuddy *h, *next;

	pthread_once(&once, watch_forks);
	pthread_mutex_lock(&mutex);
	h = rested();
	if (h) {
		next = h->next;
		memset(h, 0, offsetof(struct shmbuddy, spot));
		h->next = next;
	} else {
		h = calloc(1, sizeof(*h));
		if (h) {
			h->next = handles;
			handles = h;
		}
	}
	pthread_mutex_unlock(&mutex);
	if (!h) {
		ma_fail(ENOMEM, "no memory for a handle");
		return NULL;
	}
	h->fd = -1;
	return h;
}

/* Which level deals out which size. Only levels whose words lie with their parts have hints, and their numbers must fit in one. */
static void sort_classes(struct shmbuddy *h)
{
	unsigned shift = h->lay.small_shift;

	h->classes = 0; /* An opener that checks the whole region opens it twice. */
	if (h->lay.parts * h->lay.meta_bytes / 8 >= UINT32_MAX)
		return;
	for (; h->classes < SPOT_CLASSES && shift <= h->lay.large_shift; h->classes++, shift++) {
		const struct level *l = region_level(h, region_level_for(h, shift));
		unsigned order = shift - l->leaf_shift;

		if (!l->local || l->words > UINT32_MAX)
			break;
		h->class[h->classes] = (struct class){
			.l = l,
			.open = l->open,
			.stamp = l->stamp,
			.take = word_run(0, order) + l->open,
			.cover = (uint64_t)1 << l->cover_shift,
			.leaf = (uint64_t)1 << l->leaf_shift,
			.highest = word_highest(order),
			.beyond = l->beyond,
			.rest = (1u << order) - 1,
		};
	}
}

void shmbuddy__handle_open(struct shmbuddy *h)
{
	h->debug = ma_debug_on();
	sort_classes(h);
	if (h->writable && h->classes)
		ma_store(&h->reach, h->lay.area);
	ma_store_release(&h->id, new_id());
}

void shmbuddy__handle_drop(struct shmbuddy *h)
{
	int saved = errno;

	ma_store(&h->id, 0);
	ma_store(&h->reach, 0);
	if (h->mapped)
		munmap(h->base, (size_t)h->mapped);
	if (h->fd >= 0)
		close(h->fd);
	h->mapped = 0;
	h->fd = -1;
	pthread_mutex_lock(&mutex);
	h->closed_at = ++closes;
	pthread_mutex_unlock(&mutex);
	errno = saved;
}

int shmbuddy_close(shmbuddy_t *h)
{
	if (!region_is_open(h))
		return ma_fail(EBADF, "close: not an open region");
	shmbuddy__handle_drop(h);
	return 0;
}

/* ---- options ---- */

static bool shift_of(uint64_t size, unsigned *shift)
{
	*shift = size ? (unsigned)__builtin_ctzll(size) : 0;
	return ma_is_pow2(size);
}

bool shmbuddy__handle_options(const struct shmbuddy_options *options, unsigned flags, unsigned *small, unsigned *large)
{
	static const struct shmbuddy_options zero;
	uint64_t smallest, largest, capacity;

	if (!options)
		options = &zero;
	smallest = options->smallest ? options->smallest : 32;
	largest = options->largest ? options->largest : smallest * 32;
	capacity = options->capacity ? options->capacity : DEFAULT_CAPACITY;
	if ((options->flags & ~flags) || memcmp(options->reserved, zero.reserved, sizeof(zero.reserved)) != 0 ||
	    (options->mode & ~0777u)) {
		ma_fail(EINVAL, "options: unknown flags, a bad mode, or reserved fields that are not zero");
		return false;
	}
	if (!shift_of(smallest, small) || *small < 4 || *small > 20) {
		ma_fail(EINVAL, "the smallest block must be a power of two from 16 bytes to 1 MiB");
		return false;
	}
	while (!options->largest && largest > smallest && largest > capacity)
		largest /= 2;
	if (!shift_of(largest, large) || *large < *small || largest > capacity) {
		ma_fail(EINVAL, "the largest block must be a power of two from the smallest one to the capacity");
		return false;
	}
	if (capacity < LEAST_CAPACITY || capacity > (uint64_t)1 << LAYOUT_MOST_SHIFT) {
		ma_fail(EINVAL, "the capacity must be 4096 bytes to 32 TiB");
		return false;
	}
	return true;
}

bool shmbuddy__handle_plan(const struct shmbuddy_options *options, bool sparse, struct layout *lay)
{
	uint64_t area = options && options->capacity ? options->capacity : DEFAULT_CAPACITY;
	unsigned small, large;

	if (!shmbuddy__handle_options(options, UINT32_MAX, &small, &large))
		return false;
	area = ma_up(area, (uint64_t)1 << small);
	if (shmbuddy__layout_make(lay, area, small, large, sparse) && lay->parts > 1)
		area = ma_up(area, (uint64_t)1 << lay->part_shift);
	if (shmbuddy__layout_make(lay, area, small, large, sparse))
		return true;
	ma_fail(EINVAL, "no region of %" PRIu64 " bytes can have such blocks", area);
	return false;
}

uint64_t shmbuddy_size_needed(const struct shmbuddy_options *options)
{
	struct layout lay;

	return shmbuddy__handle_plan(options, false, &lay) ? lay.total : 0;
}

static int agree(const struct shmbuddy *h, const struct shmbuddy_options *options)
{
	const struct layout *lay = &h->lay;
	struct layout asked;

	if (!options)
		return 0;
	if ((options->smallest && options->smallest != (uint64_t)1 << lay->small_shift) ||
	    (options->largest && options->largest != (uint64_t)1 << lay->large_shift))
		return ma_fail(EINVAL, "%s: has other sizes of blocks", h->name);
	if (!options->capacity)
		return 0;
	if (!shmbuddy__handle_plan(options, lay->sparse, &asked))
		return -1;
	if (asked.area != lay->area && options->capacity != lay->area)
		return ma_fail(EINVAL, "%s: has another capacity", h->name);
	return 0;
}

int shmbuddy__handle_accept(struct shmbuddy *h, const struct ma_header *header, enum ma_refusal why,
			    const struct shmbuddy_options *options)
{
	if (why == MA_REFUSE_READ)
		return ma_fail(errno, "%s: %s", h->name, ma_refusal_text(why));
	if (why == MA_OK && !shmbuddy__layout_from(&h->lay, header))
		why = MA_REFUSE_BODY;
	if (why != MA_OK)
		return ma_fail(ma_refusal_errno(why), "%s: %s", h->name, ma_refusal_text(why));
	return agree(h, options);
}

/* ---- a new region ---- */

static void make_uuid(uint8_t uuid[16])
{
	if (getrandom(uuid, 16, GRND_NONBLOCK) != 16) {
		uint64_t near = ma_mix((uint64_t)getpid() ^ (uint64_t)(uintptr_t)uuid);

		memcpy(uuid, &near, sizeof(near));
	}
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

void shmbuddy__handle_header(const struct shmbuddy *h, struct ma_header *header)
{
	*header = (struct ma_header){
		.magic = MA_MAGIC_HALF,
		.kind = MA_KIND_SHMBUDDY,
		.format = MA_FORMAT,
		.order = MA_ORDER,
		.word_bytes = sizeof(void *),
		.page_shift = MA_PAGE_SHIFT,
		.reserved = h->lay.total,
	};
	shmbuddy__layout_params(&h->lay, header->param);
	make_uuid(header->uuid);
	header->crc = ma_header_crc(header);
	ma_store(&header->length, h->lay.total);
	ma_store(&header->phase, 1);
}

void shmbuddy__handle_point(struct shmbuddy *h)
{
	h->control = (struct control *)(void *)(h->base + LAYOUT_CONTROL);
	h->meta = h->base + h->lay.meta_at;
}

/* Word i of a level reaches beyond the area: what does is a block that nobody has; a leaf at the end is split. */
static void fence(struct shmbuddy *h, unsigned level, uint64_t i)
{
	const struct level *l = region_level(h, level);
	uint64_t w = word_open(l->leaves), at = i << l->cover_shift, size = (uint64_t)1 << l->leaf_shift;

	for (unsigned leaf = 0; leaf < l->leaves; leaf++, at += size) {
		if (at >= h->lay.area) {
			w = word_take(w, l->leaves, leaf, 0);
		} else if (at + size > h->lay.area) {
			w = word_divide(w, leaf);
			fence(h, level - 1, i * WORD_UPPER + leaf);
		}
	}
	ma_store(region_word(h, l, i), w);
}

void shmbuddy__handle_furnish(struct shmbuddy *h)
{
	const struct level *top = region_level(h, h->lay.top);

	for (uint64_t part = 0; part < h->lay.parts && !h->lay.sparse; part++)
		atomic_fetch_or(&h->control->backed[part / 64], (uint64_t)1 << part % 64);
	if (h->lay.area % ((uint64_t)1 << top->cover_shift))
		fence(h, h->lay.top, top->words - 1);
}

/* ---- mapping ---- */

int shmbuddy__handle_map(struct shmbuddy *h, void *address)
{
	int prot = h->writable ? PROT_READ | PROT_WRITE : PROT_READ, flags = MAP_SHARED | MAP_NORESERVE;
	uint64_t align = ma_max(MA_PAGE, ma_min((uint64_t)1 << h->lay.large_shift, (uint64_t)1 << LAYOUT_ALIGN_SHIFT));
	size_t total = (size_t)h->lay.total;
	char *room, *base = MAP_FAILED;

	if (h->lay.total > PTRDIFF_MAX - align)
		return ma_fail(ENOMEM, "%s: %" PRIu64 " bytes are more than an address space", h->name, h->lay.total);
	if (address && (uintptr_t)address % MA_PAGE == 0)
		base = mmap(address, total, prot, flags | MAP_FIXED_NOREPLACE, h->fd, 0);
	if (base != MAP_FAILED && base != address) { /* A kernel that does not know the flag. */
		munmap(base, total);
		base = MAP_FAILED;
	}
	if (base == MAP_FAILED) {
		room = mmap(NULL, total + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (room == MAP_FAILED)
			return ma_fail(errno, "%s: no room for %" PRIu64 " bytes", h->name, h->lay.total);
		base = (char *)(uintptr_t)ma_up((uintptr_t)room, align);
		if (mmap(base, total, prot, flags | MAP_FIXED, h->fd, 0) == MAP_FAILED) {
			int error = errno;

			munmap(room, total + align);
			return ma_fail(error, "%s: cannot map it", h->name);
		}
		if (base > room)
			munmap(room, (size_t)(base - room));
		munmap(base + ma_up(total, MA_PAGE), (size_t)(room + align - base) + total - ma_up(total, MA_PAGE));
	}
	h->base = base;
	h->mapped = total;
	mprotect(base, MA_PAGE, PROT_READ);
	shmbuddy__handle_point(h);
	return 0;
}

/* ---- parts ---- */

/* Are these bytes zeros? Holes are, and reading the rest takes no space, as it would through the mapping. */
static bool is_untouched(const struct shmbuddy *h, uint64_t from, uint64_t to)
{
	static const char zeros[MA_PAGE];
	char page[MA_PAGE];

	while (from < to) {
		off_t data = lseek(h->fd, (off_t)from, SEEK_DATA);
		ssize_t got;

		if (data < 0 && errno == ENXIO)
			return true;
		if (data >= 0) /* Else its file system knows no holes. */
			from = (uint64_t)data;
		if (from >= to)
			return true;
		got = pread(h->fd, page, ma_min(sizeof(page), to - from), (off_t)from);
		if (got <= 0 || memcmp(page, zeros, (size_t)got) != 0)
			return false;
		from += (uint64_t)got;
	}
	return true;
}

bool shmbuddy__handle_no_part_was_lost(const struct shmbuddy *h)
{
	uint64_t bytes = h->lay.meta_bytes;

	for (uint64_t part = 0; part < h->lay.parts; part++) {
		uint64_t at = h->lay.meta_at + part * bytes;

		if (region_is_backed(h, part))
			continue;
		/* The first part gets its space before a region is whole, and one that is not sparse gets all of it. */
		if (part == 0 || !h->lay.sparse)
			return false;
		/* In a live region it may have got it since, before anything was written there. */
		if (!is_untouched(h, at, at + bytes) && !region_is_backed(h, part))
			return false;
	}
	return true;
}
