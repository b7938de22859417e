/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making, finding and leaving threads' caches. A thread's caches hang on a list of its own; the eight TLS slots are a
 * direct-mapped cache of it; the ninth stays empty. When the thread ends, each cache whose map is still open gives its units to the streams.
 */
#include "common/thread.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "common/error.h"
#include "common/map.h"
#include "common/owner.h"

struct ma_tcache ma_tcache_none;
struct ma_cursor ma_cursor_never;

_Thread_local struct ma_tcache *ma_tls[MA_TLS_SLOTS + 1] __attribute__((tls_model("initial-exec"))) = {
	&ma_tcache_none, &ma_tcache_none, &ma_tcache_none, &ma_tcache_none, &ma_tcache_none,
	&ma_tcache_none, &ma_tcache_none, &ma_tcache_none, &ma_tcache_none,
};

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int key_error;

static bool is_current(const struct ma_tcache *tc)
{
	return tc->id != 0 && tc->id == ma_load_acquire(&tc->map->id);
}

static void leave(struct ma_tcache *tc)
{
	if (!is_current(tc))
		return;
	tc->map->engine->leave(tc);
	ma_owner_give(tc->map, tc->tag);
	tc->id = 0;
}

/* The list's links are in wiped pages after a fork: then it ends early, and the child loses some private memory. */
static void thread_ends(void *list)
{
	struct ma_tcache *next;

	/* Ending is no call on a map: another thread may be closing it right now. */
	ma_map_hold_all();
	for (struct ma_tcache *tc = list; tc; tc = tc->next)
		leave(tc);
	ma_map_let_go_all();
	for (struct ma_tcache *tc = list; tc; tc = next) {
		next = tc->next;
		munmap(tc, sizeof(*tc));
	}
	for (int i = 0; i < MA_TLS_SLOTS; i++)
		ma_tls[i] = &ma_tcache_none;
}

static void make_key(void)
{
	key_error = pthread_key_create(&key, thread_ends);
}

/* A cache of this thread that is for this map, or one whose map is gone; else NULL. */
static struct ma_tcache *find(uint64_t id)
{
	struct ma_tcache *spare = NULL;

	for (struct ma_tcache *tc = pthread_getspecific(key); tc; tc = tc->next) {
		if (tc->id == id)
			return tc;
		if (!is_current(tc))
			spare = tc;
	}
	return spare;
}

static struct ma_tcache *new_cache(void)
{
	struct ma_tcache *tc = mmap(NULL, sizeof(*tc), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (tc == MAP_FAILED)
		return ma_fail_null(ENOMEM, "no memory for a thread's cache");
	madvise(tc, sizeof(*tc), MADV_WIPEONFORK);
	tc->next = pthread_getspecific(key);
	if (pthread_setspecific(key, tc) != 0) {
		munmap(tc, sizeof(*tc));
		return ma_fail_null(ENOMEM, "no memory for thread-specific data");
	}
	return tc;
}

static bool equip(struct ma_tcache *tc, struct ma_map *map, uint64_t id)
{
	struct ma_tcache *next = tc->next;
	uint64_t tag = ma_owner_take(map);

	if (tag == 0)
		return false;
	tc->next = next;
	tc->map = map;
	tc->tag = tag;
	tc->stream = ma_stream_mine(map);
	tc->owned = 0;
	tc->items = (struct ma_cursor){ 0 };
	for (uint32_t c = 0; c < MA_CLASSES; c++)
		tc->cursor[c] = (struct ma_cursor){ .class = c };
	for (uint32_t i = 0; i < MA_COUNT(tc->by_size); i++)
		tc->by_size[i] = &ma_cursor_never;
	map->engine->equip(tc);
	tc->id = id;
	return true;
}

struct ma_tcache *ma_tcache_get(struct ma_map *map)
{
	int32_t at = __atomic_load_n(&map->tls_at, __ATOMIC_RELAXED);
	struct ma_tcache *tc = *ma_tcache_slot(at);
	uint64_t id = ma_load_acquire(&map->id);

	if (MA_LIKELY(tc->id == id))
		return tc;
	pthread_once(&once, make_key);
	if (key_error)
		return ma_fail_null(ENOMEM, "no thread-specific data key left");
	tc = find(id);
	if (!tc)
		tc = new_cache();
	if (!tc || (tc->id != id && !equip(tc, map, id)))
		return NULL;
	if (at != ma_tls_at(MA_TLS_WATCHED))
		*ma_tcache_slot(at) = tc;
	return tc;
}
