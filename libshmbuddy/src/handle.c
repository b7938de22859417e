/* SPDX-License-Identifier: BSD-3-Clause */
/* Handles, and what all ways to open a region share. */
#include "handle.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/annotate.h"
#include "common/cancel.h"
#include "common/error.h"
#include "fail.h"
#include "common/fd.h"
#include "inspect.h"
#include "common/file.h"
#include "common/forkmutex.h"
#include "common/forkstack.h"
#include "common/page.h"
#include "common/plan.h"
#include "common/regfile.h"

static pthread_mutex_t mutex = MA_FORKMUTEX;
/* The lock was this thread's before the fork began: a signal handler forks. Belongs to its holder. */
static bool interrupted;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct shmbuddy *handles;
static _Atomic uint64_t last_id;
static uint64_t closes;

/* ---- the registry ---- */

static uint64_t new_id(void)
{
	return atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
}

void shmbuddy__handle_close_fd(struct shmbuddy *h)
{
	uint64_t again = atomic_exchange(&h->again, 0); /* Pairs with libshmbuddy/src/space.c:adopt. */

	ma_fd_close(h->fd, (struct ma_fd_id){ h->place.device, h->place.inode, h->mark });
	h->fd = -1;
	if (again)
		ma_fd_close((int)(uint32_t)again - 1,
			    (struct ma_fd_id){ h->place.device, h->place.inode, (int)(again >> 32) });
}

/*
 * Our own lock in place of our parent's. Where that cannot be, the lock is held until both are gone; so it is with a region that our
 * parent has to itself, which is the family's then.
 */
static bool attach_child(struct shmbuddy *h)
{
	int own = !h->attached || h->exclusive ? -1 : shmbuddy__region_fd(h), fd;
	bool locked;

	if (own < 0)
		return false;
	fd = ma_regfile_reopen(own, false);
	locked = fd >= 0 && ma_file_attach_shared(fd) == 0;
	if (locked) {
		shmbuddy__handle_close_fd(h);
		h->fd = fd;
		h->mark = ma_fd_mark(fd);
	} else if (fd >= 0) {
		close(fd);
	}
	return locked;
}

/* A child must not go on in its parent's words: with other ids, its thread's cached locations belong to no region. */
static void in_child(void)
{
	MA_UNCANCELLED;
	int saved = errno;

	for (struct shmbuddy *h = handles; h; h = h->next) {
		if (!ma_load_acquire(&h->id)) /* Pairs with libshmbuddy/src/handle.c:shmbuddy__handle_open. */
			continue;
		shmbuddy__checkpoint_fork(h, attach_child(h));
		ma_store(&h->id, new_id());
	}
	ma_forkmutex_renew(&mutex);
	interrupted = false;
	errno = saved;
}

/* Bytes of its memory, ours or the caller's. */
static uint64_t extent(const struct shmbuddy *h)
{
	return h->mapped ? h->mapped : h->lay.area_at + ma_load(&h->area);
}

/* A stack in a region: see forkstack.h. The caller's memory may be private; then the child has its own copy of the stack. */
static void bar(struct shmbuddy *h)
{
	h->barred = ma_forkstack_is_in(h->base, extent(h)) && (h->mapped || ma_fd_is_shared_memory(h->base));
	if (!h->barred)
		return;
	ma_forkstack_bar(h->base, extent(h));
	ma_say(MA_FORKSTACK_SAYS, h->name, "the region");
}

static void before_fork(void)
{
	int saved = errno;

	interrupted = pthread_mutex_lock(&mutex) == EDEADLK;
	for (struct shmbuddy *h = handles; h; h = h->next)
		if (ma_load_acquire(&h->id)) /* Pairs with libshmbuddy/src/handle.c:shmbuddy__handle_open. */
			bar(h);
	errno = saved;
}

static void in_parent(void)
{
	int saved = errno;

	for (struct shmbuddy *h = handles; h; h = h->next) {
		if (h->barred)
			ma_forkstack_unbar(h->base, extent(h));
		h->barred = false;
	}
	if (!interrupted)
		pthread_mutex_unlock(&mutex);
	interrupted = false;
	errno = saved;
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
		memset(h, 0, offsetof(struct shmbuddy, location));
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
		ma_fail(ENOMEM, "cannot open a region: no memory for its handle; free memory");
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
	for (; h->classes < LOCATION_CLASSES && shift <= h->lay.large_shift; h->classes++, shift++) {
		const struct level *l = region_level(h, region_level_for(h, shift));
		unsigned order = shift - l->leaf_shift;

		if (!l->local || layout_words(l, h->lay.range) > UINT32_MAX)
			break;
		h->class[h->classes] = (struct class){
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
	ma_store(&shmbuddy__debug, h->debug);
	sort_classes(h);
	shmbuddy__region_adopt(h, ma_load(&h->area));
	h->named = new_id();
	ma_store(&h->process, getpid());
	ma_store_release(&h->id, h->named); /* Pairs with libshmbuddy/src/handle.c:before_fork. */
}

static void unmap(struct shmbuddy *h)
{
	if (!h->mapped)
		return;
	ma_annotate_gone(h->base, (size_t)h->mapped);
	munmap(h->base, (size_t)h->mapped);
	h->mapped = 0;
}

void shmbuddy__handle_drop(struct shmbuddy *h)
{
	int saved = errno;

	ma_store(&h->id, 0);
	ma_store(&h->reach, 0);
	shmbuddy__checkpoint_end(h);
	unmap(h);
	shmbuddy__handle_close_fd(h);
	pthread_mutex_lock(&mutex);
	h->closed_at = ++closes;
	pthread_mutex_unlock(&mutex);
	errno = saved;
}

/* Without /proc a child shares its parent's lock: it is shared again when the last of them closes its descriptor. */
void shmbuddy__handle_sign_off(struct shmbuddy *h)
{
	uint32_t closed = MA_STATE_CLOSED;
	int fd = h->attached ? shmbuddy__region_fd(h) : -1;

	/* The mapping may hold the attach byte, by a description that has no descriptor. */
	if (fd >= 0 && ma_load(&h->again))
		unmap(h);
	if (fd < 0 || ma_file_attach_exclusive(fd) < 0)
		return;
	if (pwrite(fd, &closed, sizeof(closed), offsetof(struct ma_header, state)) < 0)
		ma_debug("%s: cannot say in its header that it is closed", h->name);
	ma_file_attach_shared(fd);
}

int shmbuddy_close(shmbuddy_t *h)
{
	MA_UNCANCELLED;
	if (!region_is_open(h))
		return shmbuddy__fail_closed(h);
	shmbuddy__handle_sign_off(h);
	shmbuddy__handle_drop(h);
	return 0;
}

/* ---- an existing region ---- */

/* A region that has grown is still the one that was asked for. */
static int agree(const struct shmbuddy *h, const struct shmbuddy_options *options)
{
	const struct layout *lay = &h->lay;
	uint64_t least = (uint64_t)1 << lay->small_shift, capacity, range;

	if (!options)
		return 0;
	if ((options->smallest && options->smallest != least) ||
	    (options->largest && options->largest != (uint64_t)1 << lay->large_shift))
		return ma_fail(EINVAL,
			       "%s: cannot open it with these options: its blocks have %" PRIu64 " to %" PRIu64
			       " bytes; use those, or 0",
			       h->name, least, (uint64_t)1 << lay->large_shift);
	capacity = ma_up(options->capacity, least);
	if (options->capacity && (capacity < lay->first || capacity > ma_load(&h->area)))
		return ma_fail(EINVAL,
			       "%s: cannot open it with capacity %" PRIu64 ": it has %" PRIu64 ", and had %" PRIu64
			       " when it was made; use one of those, or 0",
			       h->name, (uint64_t)options->capacity, (uint64_t)ma_load(&h->area), lay->first);
	range = ma_up(options->range, least);
	if (options->range && range != lay->range)
		return ma_fail(EINVAL, "%s: cannot open it with range %" PRIu64 ": it has %" PRIu64 "; use that, or 0",
			       h->name, (uint64_t)options->range, lay->range);
	return 0;
}

int shmbuddy__handle_accept(struct shmbuddy *h, const struct ma_header *header, enum ma_refusal why,
			    const struct shmbuddy_options *options)
{
	if (why == MA_REFUSE_READ)
		return ma_refuse(why, h->name, header);
	if (why == MA_OK && !shmbuddy__layout_from(&h->lay, header))
		why = MA_REFUSE_BODY;
	if (why != MA_OK)
		return ma_refuse(why, h->name, header);
	ma_store(&h->seen, ma_load(&header->length));
	ma_store(&h->area, shmbuddy__layout_area(&h->lay, ma_load(&header->length)));
	h->most = h->lay.range;
	return agree(h, options);
}

/* ---- a new region ---- */

void shmbuddy__handle_header(const struct shmbuddy *h, struct ma_header *header)
{
	*header = (struct ma_header){
		.magic = MA_MAGIC_HALF,
		.kind = MA_KIND_SHMBUDDY,
		.format = MA_FORMAT,
		.order = MA_ORDER,
		.word_bytes = sizeof(void *),
		.page_shift = MA_PAGE_SHIFT,
		.reserved = h->lay.reserved,
	};
	shmbuddy__layout_params(&h->lay, header->param);
	ma_header_uuid(header->uuid);
	header->crc = ma_header_crc(header);
	ma_store(&header->length, h->lay.area_at + h->lay.first);
	ma_store(&header->generation, 1);
	ma_store(&header->phase, 1);
}

void shmbuddy__handle_point(struct shmbuddy *h)
{
	h->control = (struct control *)(void *)(h->base + LAYOUT_CONTROL);
	h->backed = (_Atomic uint64_t *)(void *)(h->base + h->lay.backed_at);
	h->meta = h->base + h->lay.meta_at;
}

void shmbuddy__handle_mark_backed(struct shmbuddy *h)
{
	uint64_t parts = layout_parts(&h->lay, h->lay.first);

	for (uint64_t part = 0; part < parts && !h->lay.sparse; part++)
		/* Pairs with libshmbuddy/src/region.h:region_is_backed. */
		atomic_fetch_or(&h->backed[part / 64], (uint64_t)1 << part % 64);
}

void shmbuddy__handle_new_area(struct shmbuddy *h)
{
	ma_store(&h->area, h->lay.first);
	ma_store(&h->seen, h->lay.area_at + h->lay.first);
	h->most = h->lay.range;
}

/* ---- mapping ---- */

/* At this address, or not at all. */
static char *map_at(const struct shmbuddy *h, void *address, size_t bytes, int prot)
{
	char *base = mmap(address, bytes, prot, MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, h->fd, 0);

	if (base == MAP_FAILED || base == address)
		return base;
	munmap(base, bytes); /* A kernel that does not know the flag. */
	return MAP_FAILED;
}

/* Anywhere, at a multiple of align. */
static char *map_aligned(const struct shmbuddy *h, size_t bytes, size_t align, int prot)
{
	size_t pages = ma_up(bytes, ma_page()), room_bytes = pages + align;
	char *room = mmap(NULL, room_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *base;
	int error;

	if (room == MAP_FAILED)
		return MAP_FAILED;
	base = (char *)(uintptr_t)ma_up((uintptr_t)room, align);
	if (mmap(base, bytes, prot, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, h->fd, 0) == MAP_FAILED) {
		error = errno;
		munmap(room, room_bytes);
		errno = error;
		return MAP_FAILED;
	}
	if (base > room)
		munmap(room, (size_t)(base - room));
	munmap(base + pages, (size_t)(room + align - base));
	return base;
}

/* All of it up to the end of the range, beyond the end of the file; else as much of that as there is room for, halving what it may grow. */
static char *map_most(const struct shmbuddy *h, void *address, uint64_t align, uint64_t *bytes)
{
	uint64_t least = h->lay.area_at + ma_load(&h->area);
	int prot = h->writable ? PROT_READ | PROT_WRITE : PROT_READ;
	char *base;

	for (uint64_t more = h->lay.reserved - least;; more = more / 2 < MA_PAGE ? 0 : more / 2) {
		*bytes = least + more;
		errno = ENOMEM;
		base = MAP_FAILED;
		if (*bytes <= PTRDIFF_MAX - align)
			base = address ? map_at(h, address, (size_t)*bytes, prot)
				       : map_aligned(h, (size_t)*bytes, (size_t)align, prot);
		if (base != MAP_FAILED || more == 0)
			return base;
	}
}

/* For reading only, where it has a page of its own: with larger pages the tables begin in the same one. */
static void protect_header(const struct shmbuddy *h)
{
	if (h->writable && ma_page() == MA_PAGE)
		mmap(h->base, MA_PAGE, PROT_READ, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, h->fd, 0);
}

int shmbuddy__handle_map(struct shmbuddy *h, void *address)
{
	uint64_t align = ma_max(ma_page(), ma_min((uint64_t)1 << h->lay.large_shift, (uint64_t)1 << LAYOUT_ALIGN_SHIFT));
	uint64_t area = ma_load(&h->area), bytes = 0, end;
	char *base = MAP_FAILED;

	if (h->lay.area_at + area > PTRDIFF_MAX - align)
		return ma_fail(ENOMEM,
			       "%s: cannot map it: %" PRIu64
			       " bytes are more than this machine can address; use a 64-bit process",
			       h->name, h->lay.area_at + area);
	if (address && (uintptr_t)address % ma_page() == 0)
		base = map_most(h, address, align, &bytes);
	if (base == MAP_FAILED)
		base = map_most(h, NULL, align, &bytes);
	if (base == MAP_FAILED)
		return ma_fail(errno,
			       "%s: cannot map it: mmap(2) found no address range of %" PRIu64
			       " bytes; %s",
			       h->name, h->lay.area_at + area, ma_plan_advice(errno));
	h->base = base;
	h->mapped = bytes;
	h->own = h->lay.range;
	if (bytes < h->lay.reserved) /* Not beyond the last whole part, so that few words lie across the end. */
		h->own = ma_max(area, ma_down(bytes - h->lay.area_at, (uint64_t)1 << h->lay.part_shift));
	protect_header(h);
	end = ma_up(h->lay.area_at + area, ma_page());
	if (end < bytes) /* Valgrind's leak check would run into a SIGBUS for every eight bytes. */
		ma_annotate_beyond(base + end, (size_t)(bytes - end));
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

bool shmbuddy__handle_part_was_lost(const struct shmbuddy *h, uint64_t part)
{
	uint64_t at = h->lay.meta_at + part * h->lay.meta_bytes;

	if (region_is_backed(h, part))
		return false;
	/* The first part gets its space before a region is whole, and one that is not sparse gets all of it. */
	if (part == 0 || !h->lay.sparse)
		return true;
	/* In a live region it may have got it since, before anything was written there. */
	return !is_untouched(h, at, at + h->lay.meta_bytes) && !region_is_backed(h, part);
}

bool shmbuddy__handle_no_part_was_lost(const struct shmbuddy *h)
{
	uint64_t parts = layout_parts(&h->lay, region_area(h));

	for (uint64_t part = 0; part < parts; part++)
		if (shmbuddy__handle_part_was_lost(h, part))
			return false;
	return true;
}
