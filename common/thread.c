/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making, finding and leaving threads' caches. A thread's caches hang on a list of its own; the eight TLS slots are a
 * direct-mapped cache of it; the ninth stays empty. When the thread ends, each cache whose map is still open gives its units to the streams.
 */
#include "common/thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/body.h"
#include "common/cancel.h"
#include "common/error.h"
#include "common/owner.h"
#include "common/process.h"
#include "common/registry.h"

#define FEW 4

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
	return tc->id != 0 && tc->id == ma_load_acquire(&tc->map->id); /* Pairs with common/map_open.c:publish. */
}

static void thread_detach(struct ma_tcache *tc)
{
	if (!is_current(tc))
		return;
	tc->map->engine->thread_detach(tc);
	ma_owner_give(tc->map, tc->tag);
	tc->id = 0;
}

/* ---- all caches of the process ---- */

/*
 * A thread that allocates in the last round of its thread-specific destructors ends with a cache that thread_ends() never sees. So all caches
 * are in a list, and now and then a thread searches it for threads that have ended. Nothing else is done while the list is locked. A fork
 * child's list is empty: its caches were wiped.
 */
static struct {
	_Atomic int32_t holder; /* The process that has it locked: in a child, its parent's thread is not there. */
	int32_t process;
	struct ma_tcache *first;
	uint32_t count, look_at; /* Look for threads that are gone when there are so many. */
} all = { .look_at = FEW };

static void lock_all(void)
{
	int32_t me = getpid(), seen = 0;

	while (!ma_cas(&all.holder, &seen, me)) { /* Pairs with common/thread.c:unlock_all. */
		if (seen != 0 && seen != me && ma_cas(&all.holder, &seen, me))
			break;
		sched_yield();
		seen = 0;
	}
	if (all.process == me)
		return;
	all.process = me;
	all.first = NULL;
	all.count = 0;
	all.look_at = FEW;
}

static void unlock_all(void)
{
	ma_store_release(&all.holder, 0); /* Pairs with common/thread.c:lock_all. */
}

static void enlist(struct ma_tcache *tc)
{
	if (tc->thread)
		return;
	tc->thread = (int32_t)syscall(SYS_gettid);
	lock_all();
	tc->other = all.first;
	all.first = tc;
	all.count++;
	unlock_all();
}

/* Take out those of this thread (0: of all threads that are gone), as a list. */
static struct ma_tcache *take_out(int32_t thread)
{
	struct ma_tcache *taken = NULL, **link;

	lock_all();
	for (link = &all.first; *link;) {
		struct ma_tcache *tc = *link;

		if (thread ? tc->thread != thread
			   : syscall(SYS_tgkill, getpid(), tc->thread, 0) == 0 || errno != ESRCH) {
			link = &tc->other;
			continue;
		}
		*link = tc->other;
		tc->other = taken;
		taken = tc;
		all.count--;
	}
	if (!thread)
		all.look_at = 2 * all.count + FEW;
	unlock_all();
	return taken;
}

/* Not while a map is opened or closed, or this thread forks: then another time will do. */
static void bury(void)
{
	int saved = errno;

	if (!ma_map_try_hold_all())
		return;
	for (struct ma_tcache *next, *tc = take_out(0); tc; tc = next) {
		next = tc->other;
		thread_detach(tc);
		munmap(tc, sizeof(*tc));
	}
	ma_map_let_go_all();
	errno = saved;
}

static bool many_may_be_gone(void)
{
	bool many;

	lock_all();
	many = all.count >= all.look_at;
	unlock_all();
	return many;
}

/* ---- a thread's ---- */

/* The list's links are in wiped pages after a fork: then it ends early, and the child loses some private memory. */
static void thread_ends(void *list)
{
	MA_UNCANCELLED;
	struct ma_tcache *next;

	/* Ending is no call on a map: another thread may be closing it right now. */
	ma_map_hold_all();
	for (struct ma_tcache *tc = list; tc; tc = tc->next)
		thread_detach(tc);
	ma_map_let_go_all();
	take_out((int32_t)syscall(SYS_gettid));
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

/* The cache of a closed map, as if it were new. Other threads read only its place in the lists, which are its last members. */
static struct ma_tcache *recycle(struct ma_tcache *tc)
{
	if (tc)
		memset(tc, 0, offsetof(struct ma_tcache, next));
	return tc;
}

/* The cache of this thread for this map, or a cache of a closed map; else NULL. */
static struct ma_tcache *find(uint64_t id)
{
	struct ma_tcache *spare = NULL;

	for (struct ma_tcache *tc = pthread_getspecific(key); tc; tc = tc->next) {
		if (tc->id == id)
			return tc;
		if (!is_current(tc))
			spare = tc;
	}
	return recycle(spare);
}

static struct ma_tcache *new_cache(void)
{
	struct ma_tcache *tc = mmap(NULL, sizeof(*tc), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (tc == MAP_FAILED)
		return ma_fail_null(ENOMEM,
				    "cannot allocate: no memory for the %zu bytes of this thread's cache; free memory",
				    sizeof(*tc));
	madvise(tc, sizeof(*tc), MADV_WIPEONFORK);
	tc->next = pthread_getspecific(key);
	if (pthread_setspecific(key, tc) != 0) {
		munmap(tc, sizeof(*tc));
		return ma_fail_null(ENOMEM, "cannot allocate: no memory for thread-specific data; free memory");
	}
	return tc;
}

static uint64_t take_tag(struct ma_image *map)
{
	uint32_t slot = ma_body_slot(map);

	return slot == MA_NO_SLOT ? 0 : ma_owner_take(map, slot);
}

static bool thread_attach(struct ma_tcache *tc, struct ma_image *map, uint64_t id)
{
	struct ma_tcache *next = tc->next;
	uint64_t tag;

	if (many_may_be_gone())
		bury();
	tag = take_tag(map);
	if (tag == 0) {
		bury();
		tag = take_tag(map);
	}
	if (tag == 0)
		return false;
	enlist(tc);
	tc->next = next;
	tc->map = map;
	tc->tag = tag;
	tc->stream = ma_stream_mine(map);
	for (uint32_t c = 0; c < MA_CLASSES; c++)
		tc->cursor[c].class = c;
	for (uint32_t i = 0; i < MA_COUNT(tc->by_size); i++)
		tc->by_size[i] = &ma_cursor_never;
	map->engine->thread_attach(tc);
	tc->id = id;
	return true;
}

struct ma_tcache *ma_tcache_get(struct ma_image *map)
{
	int32_t at = __atomic_load_n(&map->tls_at, __ATOMIC_RELAXED);
	struct ma_tcache *tc = *ma_tcache_slot(at);
	uint64_t id = ma_load_acquire(&map->id); /* Pairs with common/map_open.c:publish. */

	if (MA_LIKELY(tc->id == id))
		return tc;
	if (MA_UNLIKELY(!ma_load(ma_process_mark))) {
		ma_process_notice();
		id = ma_load_acquire(&map->id);
		if (id == MA_MAP_CLOSED)
			return ma_fail_null(EBADF, "%s: the map is closed in this fork child: open it again",
					    map->name);
	}
	pthread_once(&once, make_key);
	if (key_error)
		return ma_fail_null(
			ENOMEM,
			"cannot allocate: no thread-specific data key is left; use fewer of them (pthread_key_create)");
	tc = find(id);
	if (!tc)
		tc = new_cache();
	if (!tc || (tc->id != id && !thread_attach(tc, map, id)))
		return NULL;
	if (at != ma_tls_at(MA_TLS_WATCHED))
		*ma_tcache_slot(at) = tc;
	return tc;
}
