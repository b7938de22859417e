/* SPDX-License-Identifier: BSD-3-Clause */
/* Small blocks that were freed: what does not need the speed of the fast paths (api.c). */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "kept.h"
#include "lock.h"

#define BUNDLES       64 /* Of each class. */
#define BUNDLE_BLOCKS 64
#define STAY_MOST     16 /* So many blocks of a class stay when others go to the store. */
#define STORE_TIMES   4 /* What one thread may keep. */
#define OLD_MS        2000

struct bundle {
	void *first;
	const struct xmemory__thread *from;
	uint32_t blocks;
};

struct shelf {
	_Atomic uint32_t count;
	struct bundle bundle[BUNDLES];
};

static struct {
	pthread_mutex_t mutex;
	struct shelf shelf[XMEMORY__KEPT_CLASSES];
	_Atomic int64_t bytes;
	_Atomic int64_t most;
	int64_t used; /* ms */
} store = { .mutex = XMEMORY__MUTEX };

static _Atomic uint64_t *next_of(void *block, size_t class)
{
	return xmemory__place(block, xmemory__class_is_wide(class));
}

static int64_t bundle_bytes(size_t class, uint32_t blocks)
{
	return (int64_t)(16 * class * blocks);
}

/* ---- bundles ---- */

/* Blocks of the thread's list behind `from`, the last one that stays; NULL: from the first one on. There is one. */
static struct bundle cut_bundle(struct xmemory__thread *t, size_t class, void *from)
{
	void *first = from ? (void *)(uintptr_t)ma_load(next_of(from, class)) : t->kept[class];
	struct bundle bundle = { .first = first, .from = t, .blocks = 1 };
	void *last = first, *next;

	while ((next = (void *)(uintptr_t)ma_load(next_of(last, class))) && bundle.blocks < BUNDLE_BLOCKS) {
		bundle.blocks++;
		last = next;
	}
	ma_store(next_of(last, class), 0);
	if (from)
		ma_store(next_of(from, class), (uint64_t)(uintptr_t)next);
	else
		t->kept[class] = next;
	t->kept_room += (int32_t)(class * bundle.blocks);
	return bundle;
}

/* To the C library. No entry may say of a block that is gone that it is kept. */
static void free_bundle(void *first, size_t class)
{
	while (first) {
		_Atomic uint64_t *place = next_of(first, class);
		void *next = (void *)(uintptr_t)ma_load(place);

		ma_store(place, 0);
		xmemory__ram.free(first);
		first = next;
	}
}

static void note_stored(int64_t more)
{
	ma_store(&store.bytes, ma_load(&store.bytes) + more);
	store.used = xmemory__now_ms();
}

static bool has_room(size_t class)
{
	return ma_load(&store.shelf[class].count) < BUNDLES && ma_load(&store.bytes) < ma_load(&store.most);
}

/* False: the store has no room. */
static bool hand_over(struct xmemory__thread *t, size_t class, void *from)
{
	struct shelf *shelf = &store.shelf[class];
	bool done;

	if (!has_room(class)) /* It costs nothing to ask. */
		return false;
	xmemory__lock_mutex(&store.mutex);
	done = has_room(class);
	if (done) {
		uint32_t count = ma_load(&shelf->count);

		shelf->bundle[count] = cut_bundle(t, class, from);
		note_stored(bundle_bytes(class, shelf->bundle[count].blocks));
		ma_store(&shelf->count, count + 1);
	}
	xmemory__unlock_mutex(&store.mutex);
	return done;
}

/*
 * The thread's own newest one, else the oldest one. Blocks of two threads that lie side by side share lines of memory and of the table, so a
 * thread takes another one's blocks only when it has none. There is one.
 */
static uint32_t choose_bundle(const struct shelf *shelf, uint32_t count, const struct xmemory__thread *t)
{
	for (uint32_t i = count; i-- > 0;)
		if (shelf->bundle[i].from == t)
			return i;
	return 0;
}

/* The mutex is held. t: the thread that it is for, or NULL. */
static struct bundle take_bundle(size_t class, const struct xmemory__thread *t)
{
	struct shelf *shelf = &store.shelf[class];
	uint32_t count = ma_load(&shelf->count), i;
	struct bundle bundle = { .first = NULL };

	if (count == 0)
		return bundle;
	i = choose_bundle(shelf, count, t);
	bundle = shelf->bundle[i];
	memmove(&shelf->bundle[i], &shelf->bundle[i + 1], (count - 1 - i) * sizeof(bundle));
	ma_store(&shelf->count, count - 1);
	note_stored(-bundle_bytes(class, bundle.blocks));
	return bundle;
}

/* ---- threads ---- */

/* The last of the blocks of a class that stay: so many that those of all classes are half of what the thread may keep. NULL: it has no more. */
static void *last_to_stay(const struct xmemory__thread *t, size_t class)
{
	uint64_t stay = ma_min(STAY_MOST, (uint64_t)t->kept_most / (2 * XMEMORY__KEPT_CLASSES * class));
	void *block = t->kept[class];

	while (block && stay-- > 1)
		block = (void *)(uintptr_t)ma_load(next_of(block, class));
	return block && ma_load(next_of(block, class)) ? block : NULL;
}

/*
 * Blocks of a class that has many go to the store: its own class, or the next one. Would it lose all of its blocks, the thread's next call
 * for the class would fetch them again.
 */
static bool make_room(struct xmemory__thread *t, size_t class)
{
	void *last = NULL;

	for (size_t i = 0; i < XMEMORY__KEPT_CLASSES && !(last = last_to_stay(t, class)); i++)
		class = class + 1 < XMEMORY__KEPT_CLASSES ? class + 1 : 1;
	return last && hand_over(t, class, last) && t->kept_room > 0;
}

bool xmemory__keep_more(struct xmemory__thread *t, void *ptr, _Atomic uint64_t *place)
{
	size_t size = xmemory__entry_size(ma_load(place)), class = xmemory__kept_class(size);

	if (size > XMEMORY__KEPT_MAX || t->kept_most <= 0 || (t->kept_room <= 0 && !make_room(t, class)))
		return false;
	ma_store(place, (uint64_t)(uintptr_t)t->kept[class]);
	t->kept[class] = ptr;
	t->kept_room -= (int32_t) class;
	return true;
}

bool xmemory__kept_fetch(struct xmemory__thread *t, size_t class)
{
	struct bundle bundle;

	if (ma_load(&store.shelf[class].count) == 0 || t->kept_most <= 0)
		return false;
	xmemory__lock_mutex(&store.mutex);
	bundle = take_bundle(class, t);
	xmemory__unlock_mutex(&store.mutex);
	if (!bundle.first)
		return false;
	t->kept[class] = bundle.first;
	t->kept_room -= (int32_t)(class * bundle.blocks);
	return true;
}

void xmemory__kept_let_go(struct xmemory__thread *t)
{
	for (size_t class = 0; class < XMEMORY__KEPT_CLASSES; class ++) {
		while (t->kept[class] && hand_over(t, class, NULL))
			;
		while (t->kept[class])
			free_bundle(cut_bundle(t, class, NULL).first, class);
	}
}

void xmemory__kept_forget(struct xmemory__thread *t)
{
	memset(t->kept, 0, sizeof(t->kept));
	t->kept_room = t->kept_most;
}

void xmemory__kept_set_most(struct xmemory__thread *t, int64_t bytes)
{
	int32_t most = xmemory__keeps ? (int32_t)(bytes / 16) : 0;

	t->kept_room += most - t->kept_most;
	t->kept_most = most;
	ma_store(&store.most, STORE_TIMES * bytes);
}

/* ---- the store ---- */

int64_t xmemory__kept_shared(void)
{
	return ma_load(&store.bytes);
}

/* The C library works without our mutex. */
static bool free_one_bundle(size_t class)
{
	struct bundle bundle;

	xmemory__lock_mutex(&store.mutex);
	bundle = take_bundle(class, NULL);
	xmemory__unlock_mutex(&store.mutex);
	free_bundle(bundle.first, class);
	return bundle.first != NULL;
}

void xmemory__kept_empty(void)
{
	int saved = errno;

	for (size_t class = 0; class < XMEMORY__KEPT_CLASSES; class ++)
		while (ma_load(&store.shelf[class].count) > 0 && free_one_bundle(class))
			;
	errno = saved;
}

void xmemory__kept_age(void)
{
	bool old;

	if (xmemory__kept_shared() == 0)
		return;
	xmemory__lock_mutex(&store.mutex);
	old = xmemory__now_ms() - store.used >= OLD_MS;
	xmemory__unlock_mutex(&store.mutex);
	if (old)
		xmemory__kept_empty();
}

/* ---- forks ---- */

static bool was_held; /* See xmemory__budget_hold(). */

void xmemory__kept_hold(void)
{
	was_held = pthread_mutex_lock(&store.mutex) == EDEADLK;
}

bool xmemory__kept_try(void)
{
	return pthread_mutex_lock(&store.mutex) == 0;
}

void xmemory__kept_store_forget(void)
{
	for (size_t class = 0; class < XMEMORY__KEPT_CLASSES; class ++)
		ma_store(&store.shelf[class].count, 0);
	ma_store(&store.bytes, 0);
}

void xmemory__kept_store_let_go(bool child)
{
	if (child && was_held)
		xmemory__kept_store_forget();
	xmemory__let_go_inner(&store.mutex, &was_held, child);
}
