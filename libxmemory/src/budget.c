/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The budget, and the counts. With one mutex over all that is not a thread's own:
 *
 *     pool + what threads have left + what blocks in RAM are charged = limit
 *
 * What is kept of freed blocks (freed.h) lies within the pool: when that has less, it goes.
 *
 * A thread takes what it needs and a batch more from the pool, and so comes here seldom. An automatic limit is looked up
 * again at most ten times a second, or when much was taken since.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "budget.h"
#include "freed.h"
#include "limits.h"
#include "lock.h"
#include "pages.h"
#include "say.h"

#include "common/env.h"
#include "common/error.h"

#define BATCH_MOST  ((int64_t)1 << 20)
#define TRIES       1000
#define FREES_ALONE 16
#define REFRESH_MS  100
#define MUCH(limit) ma_max((uint64_t)(limit) / 16, (uint64_t)BATCH_MOST)

/* For threads without a record: nothing left, and nothing may come back, so every call takes the slow path. */
static struct xmemory__thread no_record = { .most = INT64_MIN };
XMEMORY__TLS struct xmemory__thread *xmemory__self = &no_record;

static struct {
	pthread_mutex_t mutex;
	bool set_up;
	int source;
	int64_t limit, pool, batch, taken;
	int64_t refreshed; /* ms */
	int64_t ram_charged, ram_blocks, other_bytes, other_blocks;
	int64_t peak_bytes, peak_blocks, peak_ram, peak_elsewhere;
	struct xmemory__thread *threads, *spare;
	struct xmemory__pool records;
} budget = { .mutex = XMEMORY__MUTEX, .records.bytes = sizeof(struct xmemory__thread) };

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool have_key;

/* ---- what a thread did since it last reported; the mutex is held ---- */

static int64_t ram_bytes(void)
{
	return budget.ram_charged - XMEMORY__BESIDE * budget.ram_blocks;
}

static void raise_peak(int64_t *peak, int64_t now)
{
	if (now > *peak)
		*peak = now;
}

/* A thread may have freed and reported what another one took and did not report yet: so these may be negative. */
static void note_peak(int64_t ram, int64_t blocks)
{
	raise_peak(&budget.peak_ram, ram);
	raise_peak(&budget.peak_elsewhere, budget.other_bytes);
	raise_peak(&budget.peak_bytes, ram + budget.other_bytes);
	raise_peak(&budget.peak_blocks, blocks);
}

static void begin(struct xmemory__thread *t, int64_t left)
{
	ma_store(&t->left, left);
	ma_store(&t->credit, left);
	ma_store(&t->low, left);
	ma_store(&t->low_count, 0);
	ma_store(&t->count, 0);
	ma_store(&t->high, 0);
	ma_store(&t->most, 2 * budget.batch);
}

static void report(struct xmemory__thread *t)
{
	int64_t left = ma_load(&t->left);
	int64_t blocks = budget.ram_blocks + budget.other_blocks;

	if (t == &no_record)
		return;
	note_peak(ram_bytes() + ma_load(&t->credit) - ma_load(&t->low) - XMEMORY__BESIDE * ma_load(&t->low_count),
		  blocks + ma_load(&t->high));
	budget.ram_charged += ma_load(&t->credit) - left;
	budget.ram_blocks += ma_load(&t->count);
	begin(t, left);
}

/* All that it does not need now goes to the pool. */
static void give_back(struct xmemory__thread *t, int64_t keep)
{
	int64_t left;

	report(t);
	left = ma_load(&t->left);
	if (t == &no_record || left <= keep)
		return;
	budget.pool += left - keep;
	begin(t, keep);
}

/* ---- the limit; the mutex is held ---- */

static void set_limit(int64_t limit, int source)
{
	static const char *const sources[] = { "nowhere",
					       "xmemory_setlimit()",
					       "$XMEMORY_LIMIT",
					       "RLIMIT_DATA",
					       "RLIMIT_AS",
					       "a control group",
					       "the machine's available memory" };

	if (MA_UNLIKELY(xmemory__level() >= 2 && (limit != budget.limit || source != budget.source)))
		xmemory__say("xmemory: the budget is %lld bytes, from %s", (long long)limit, sources[source]);
	budget.pool += limit - budget.limit;
	budget.limit = limit;
	budget.batch = (int64_t)ma_min((uint64_t)limit / 1024, BATCH_MOST);
	budget.source = source;
}

/* What the environment says, else -1. */
static int64_t environment_limit(void)
{
	const char *text = ma_env("XMEMORY_LIMIT");
	int64_t limit = text && *text ? xmemory__limit_parse(text) : -1;

	if (text && *text && limit < 0)
		ma_debug("$XMEMORY_LIMIT is \"%s\", no number of bytes (512M, 2G, 50%%): it has no effect", text);
	return limit;
}

static bool is_automatic(void)
{
	return budget.source != XMEMORY_LIMIT_SET && budget.source != XMEMORY_LIMIT_ENVIRONMENT;
}

static int64_t charged(void)
{
	int64_t sum = budget.ram_charged;

	for (struct xmemory__thread *t = budget.threads; t; t = t->next)
		sum += ma_load(&t->credit) - ma_load(&t->left);
	return sum;
}

static void find_limit(void)
{
	int source;
	int64_t limit = xmemory__limit_found(charged() + xmemory__freed(), &source);

	budget.refreshed = xmemory__now_ms();
	budget.taken = 0;
	set_limit(limit, source);
}

static void set_up(void)
{
	int64_t limit = environment_limit();

	budget.set_up = true;
	if (limit >= 0)
		set_limit(limit, XMEMORY_LIMIT_ENVIRONMENT);
	else
		find_limit();
}

/* wanting: there seems to be no room. */
static void refresh(bool wanting)
{
	if (!budget.set_up)
		set_up();
	else if (is_automatic() && (xmemory__now_ms() - budget.refreshed >= REFRESH_MS ||
				    (!wanting && budget.taken > (int64_t)MUCH(budget.limit))))
		find_limit();
}

void xmemory__budget_fit(void)
{
	int64_t room, live;

	if (xmemory__freed() == 0)
		return;
	xmemory__lock_mutex(&budget.mutex);
	room = budget.pool;
	live = charged();
	xmemory__unlock_mutex(&budget.mutex);
	xmemory__freed_fit(room, live);
}

void xmemory__budget_set(size_t bytes)
{
	int64_t limit = bytes < (size_t)NO_LIMIT ? (int64_t)bytes : NO_LIMIT;

	xmemory__lock_mutex(&budget.mutex);
	if (bytes == 0)
		set_up();
	else
		set_limit(limit, XMEMORY_LIMIT_SET);
	budget.set_up = true;
	give_back(xmemory__self, 0);
	xmemory__unlock_mutex(&budget.mutex);
	xmemory__freed_drop();
}

size_t xmemory_getlimit(void)
{
	size_t limit;

	xmemory__lock_mutex(&budget.mutex);
	refresh(true);
	limit = budget.limit < NO_LIMIT ? (size_t)budget.limit : SIZE_MAX;
	xmemory__unlock_mutex(&budget.mutex);
	return limit;
}

/* ---- threads ---- */

/* Its destructors ran: what it frees afterwards, few blocks, it frees without a record. */
static XMEMORY__TLS bool ended;

static void thread_ends(void *record)
{
	struct xmemory__thread *t = record;

	xmemory__self = &no_record;
	ended = true;
	xmemory__kept_let_go(t);
	xmemory__lock_mutex(&budget.mutex);
	give_back(t, 0);
	t->spare = budget.spare;
	budget.spare = t;
	xmemory__unlock_mutex(&budget.mutex);
}

static void make_key(void)
{
	have_key = pthread_key_create(&key, thread_ends) == 0;
}

static struct xmemory__thread *new_record(void)
{
	struct xmemory__thread *t = budget.spare;

	if (t) {
		budget.spare = t->spare;
		return t;
	}
	t = xmemory__pool_take(&budget.records);
	if (!t)
		return NULL;
	begin(t, 0);
	t->next = budget.threads;
	budget.threads = t;
	return t;
}

/* A record for this thread, if there can be one: without it its calls are counted all the same, each by itself. */
static void join(void)
{
	struct xmemory__thread *t;

	pthread_once(&once, make_key);
	if (!have_key || ma_load(&xmemory__mode) != 0)
		return;
	xmemory__lock_mutex(&budget.mutex);
	t = new_record();
	if (t)
		xmemory__kept_set_most(t, budget.batch);
	xmemory__unlock_mutex(&budget.mutex);
	if (!t)
		return;
	xmemory__self = t;
	/* It may itself need memory, which finds the record there. */
	if (pthread_setspecific(key, t) != 0)
		ma_debug("no thread-specific data: what this thread holds of the budget is lost when it ends");
}

/* ---- taking and giving ---- */

static bool take_from_pool(struct xmemory__thread *t, int64_t need)
{
	int64_t grant;

	refresh(budget.pool < need);
	if (budget.pool < need)
		return false;
	grant = (int64_t)ma_min((uint64_t)budget.pool, (uint64_t)(need + budget.batch));
	if (t == &no_record)
		grant = need;
	budget.pool -= grant;
	budget.taken += grant;
	if (t != &no_record) {
		begin(t, ma_load(&t->left) + grant);
		xmemory__kept_set_most(t, budget.batch);
	}
	return true;
}

static void count_alone(int64_t charge)
{
	budget.ram_charged += charge;
	budget.ram_blocks += charge > 0 ? 1 : -1;
	note_peak(ram_bytes(), budget.ram_blocks + budget.other_blocks);
}

static void count_taken(struct xmemory__thread *t, int64_t left)
{
	int64_t count = ma_load(&t->count) + 1;

	ma_store(&t->left, left);
	ma_store(&t->count, count);
	if (left < ma_load(&t->low)) {
		ma_store(&t->low, left);
		ma_store(&t->low_count, count);
	}
	if (count > ma_load(&t->high))
		ma_store(&t->high, count);
}

static bool take_slow(struct xmemory__thread *t, int64_t charge)
{
	bool taken = true;

	xmemory__lock_mutex(&budget.mutex);
	report(t);
	if (xmemory__depth == 0)
		taken = take_from_pool(t, t == &no_record ? charge : charge - ma_load(&t->left));
	else if (t == &no_record)
		budget.pool -= charge;
	if (taken && t == &no_record)
		count_alone(charge);
	xmemory__unlock_mutex(&budget.mutex);
	return taken;
}

/* Calls from within are charged too, and may go below zero. A large block is going to use kept pages: the caller looks afterwards. */
bool xmemory__take(size_t size)
{
	int64_t charge = (int64_t)size + XMEMORY__BESIDE;
	struct xmemory__thread *t;
	bool taken = true;

	if (size > XMEMORY__RAM_MAX)
		return false;
	if (xmemory__self == &no_record && xmemory__depth == 0)
		join();
	t = xmemory__self;
	if (t == &no_record || ma_load(&t->left) < charge) {
		taken = take_slow(t, charge);
		if (size <= XMEMORY__FAST_MAX)
			xmemory__budget_fit();
	}
	if (taken && t != &no_record)
		count_taken(t, ma_load(&t->left) - charge);
	return taken;
}

/* A thread that only frees needs a record too. But at a thread's end the C library frees for it: then it would stay for ever. */
static void join_to_give(void)
{
	static XMEMORY__TLS unsigned frees;

	if (!ended && xmemory__depth == 0 && ++frees > FREES_ALONE)
		join();
}

void xmemory__give(size_t size)
{
	struct xmemory__thread *t = xmemory__self;
	int64_t charge = (int64_t)size + XMEMORY__BESIDE;

	if (t == &no_record) {
		join_to_give();
		t = xmemory__self;
	}
	if (t == &no_record) {
		xmemory__lock_mutex(&budget.mutex);
		count_alone(-charge);
		budget.pool += charge;
		xmemory__unlock_mutex(&budget.mutex);
		return;
	}
	ma_store(&t->left, ma_load(&t->left) + charge);
	ma_store(&t->count, ma_load(&t->count) - 1);
	if (ma_load(&t->left) <= ma_load(&t->most))
		return;
	xmemory__lock_mutex(&budget.mutex);
	give_back(t, budget.batch);
	xmemory__unlock_mutex(&budget.mutex);
}

void xmemory__count(int64_t bytes, int64_t blocks)
{
	xmemory__lock_mutex(&budget.mutex);
	report(xmemory__self);
	budget.other_bytes += bytes;
	budget.other_blocks += blocks;
	note_peak(ram_bytes(), budget.ram_blocks + budget.other_blocks);
	xmemory__unlock_mutex(&budget.mutex);
}

static void sum_up(struct xmemory__totals *totals)
{
	report(xmemory__self);
	*totals = (struct xmemory__totals){ .ram_blocks = budget.ram_blocks,
					    .peak_bytes = budget.peak_bytes,
					    .peak_blocks = budget.peak_blocks,
					    .peak_ram = budget.peak_ram,
					    .peak_elsewhere = budget.peak_elsewhere,
					    .limit = budget.limit,
					    .room = budget.pool,
					    .source = budget.source };
	for (struct xmemory__thread *t = budget.threads; t; t = t->next) {
		totals->ram_blocks += ma_load(&t->count);
		totals->room += ma_load(&t->left);
	}
	totals->ram_bytes = charged() - XMEMORY__BESIDE * totals->ram_blocks;
	totals->bytes = totals->ram_bytes + budget.other_bytes;
	totals->blocks = totals->ram_blocks + budget.other_blocks;
}

void xmemory__totals(struct xmemory__totals *totals)
{
	xmemory__lock_mutex(&budget.mutex);
	refresh(true);
	sum_up(totals);
	xmemory__unlock_mutex(&budget.mutex);
}

/* Held already: a signal handler forks that interrupted its own thread here. */
static bool was_held;
/* Another thread soon gives the mutex back; this one does not, when a signal interrupted it. */
bool xmemory__try_totals(struct xmemory__totals *totals)
{
	for (int i = 0; i < TRIES; i++) {
		if (pthread_mutex_trylock(&budget.mutex) == 0) {
			sum_up(totals);
			pthread_mutex_unlock(&budget.mutex);
			return true;
		}
		sched_yield();
	}
	return false;
}

void xmemory__budget_hold(void)
{
	was_held = pthread_mutex_lock(&budget.mutex) == EDEADLK;
}

bool xmemory__budget_try(void)
{
	return pthread_mutex_lock(&budget.mutex) == 0;
}

/* A child has one thread: all other records are spare. */
void xmemory__budget_let_go(bool child)
{
	if (child)
		budget.spare = NULL;
	for (struct xmemory__thread *t = budget.threads; t && child; t = t->next) {
		if (t == xmemory__self)
			continue;
		give_back(t, 0);
		xmemory__kept_forget(t);
		t->spare = budget.spare;
		budget.spare = t;
	}
	xmemory__let_go_inner(&budget.mutex, &was_held, child);
}
