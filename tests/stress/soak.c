/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The soak: processes and threads make random calls on a dynamic and a static map at once, with checksummed block
 * contents, while a killer shoots one process every few milliseconds and starts another.
 *
 * MA_SOAK_SECONDS (default 10) says how long. At the end all stop, the maps are checked, and the account is made: nothing
 * overlapped, nothing was damaged, nobody hung, and everything came back but what a kill may cost: a worker inside
 * malloc or free when it died may have left one block, inside realloc two (support_ledger.h). That is at most one block a
 * killed thread on average, and far fewer in practice; both numbers are printed.
 *
 * Half of the workers load the maps themselves, the others use the handles that they inherit through fork(). The ledgers
 * of both maps lie in the dynamic map, as a block of it: it is found through a root.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/support/support_ledger.h"

#define WORKERS       4
#define THREADS       2
#define DYNAMIC_SLOTS 3000
#define STATIC_SLOTS  2000
#define ITEM          96

enum { DYNAMIC, STATIC, KINDS };

struct soak {
	const char *path[KINDS];
	_Atomic bool stop;
	_Atomic uint64_t started; /* workers that reached their first step */
};

struct field {
	struct soak *soak;
	void *map[KINDS];
	struct ledger *ledger[KINDS];
	size_t largest;
	size_t items;
	uint64_t incarnation; /* of the next worker */
	size_t kills;
	size_t late; /* kills that came after the worker's own end */
	size_t allowed[KINDS];
};

struct worker {
	pid_t pid;
	uint64_t incarnation;
};

/* --- a worker --- */

struct duty {
	struct field *field;
	uint64_t incarnation;
};

static void work(struct support_thread *self)
{
	struct duty *duty = self->arg;
	struct field *field = duty->field;
	struct ledger_worker at[KINDS];
	uint64_t id = ledger_id(duty->incarnation, self->index);

	for (int kind = 0; kind < KINDS; kind++)
		ledger_worker_init(&at[kind], field->ledger[kind], field->map[kind], id);
	atomic_fetch_add(&field->soak->started, 1);
	while (!atomic_load(&field->soak->stop))
		ledger_step(&at[support_rand_below(&at[0].rand, 4) ? DYNAMIC : STATIC]);
}

static int worker_main(void *arg)
{
	struct duty *duty = arg;
	struct field *field = duty->field;

	g_assert_cmpint(nice(10), !=, -1); /* the killer goes first */
	if (duty->incarnation % 2) {
		for (int kind = 0; kind < KINDS; kind++) {
			support_close(field->map[kind]);
			field->map[kind] = support_load(field->soak->path[kind]);
			field->ledger[kind] = qalloc_getroot(field->map[DYNAMIC], kind ? "static" : "dynamic");
			g_assert_nonnull(field->ledger[kind]);
		}
	}
	support_threads(THREADS, work, duty);
	if (duty->incarnation % 2)
		qalloc_cleanup();
	return 0;
}

/* --- the killer --- */

static void start(struct field *field, struct worker *worker)
{
	struct duty duty = { field, ++field->incarnation };

	worker->incarnation = duty.incarnation;
	worker->pid = support_fork(worker_main, &duty);
}

static void sweep(struct field *field, const struct worker *worker)
{
	for (int kind = 0; kind < KINDS; kind++)
		field->allowed[kind] += ledger_sweep(field->ledger[kind], worker->incarnation);
}

static void shoot(struct field *field, struct worker *worker)
{
	if (support_kill(worker->pid))
		field->kills++;
	else
		field->late++;
	sweep(field, worker);
}

static uint64_t calls(const struct field *field)
{
	return atomic_load(&field->ledger[DYNAMIC]->calls) + atomic_load(&field->ledger[STATIC]->calls);
}

/* Standing still for as long as the watchdog gives ends the test. */
static void someone_works(const struct field *field, uint64_t *before)
{
	uint64_t now = calls(field);

	if (now != *before)
		support_watchdog(SUPPORT_HUNG_SECONDS);
	*before = now;
}

static void run(struct field *field, unsigned seconds)
{
	struct worker workers[WORKERS];
	uint64_t end = support_now_us() + seconds * 1000000ull, seen = 0;
	unsigned interval = support_valgrind() ? 300000 : support_tsan() || support_asan() ? 30000 : 4000;
	struct support_rand r;

	support_rand_seed(&r, 1);
	for (int i = 0; i < WORKERS; i++)
		start(field, &workers[i]);
	while (support_now_us() < end) {
		struct worker *worker = &workers[support_rand_below(&r, WORKERS)];

		support_sleep_us((unsigned)support_rand_below(&r, 2 * interval));
		shoot(field, worker);
		start(field, worker);
		someone_works(field, &seen);
	}
	support_watchdog(SUPPORT_HUNG_SECONDS);
	atomic_store(&field->soak->stop, true);
	for (int i = 0; i < WORKERS; i++)
		support_wait_ok(workers[i].pid);
}

/* --- before and after --- */

static void *new_ledger(struct field *field, int kind, size_t slots, size_t largest)
{
	struct ledger *ledger = qalloc_malloc(field->map[DYNAMIC], ledger_bytes(slots));

	g_assert_nonnull(ledger);
	ledger_init(ledger, slots, largest);
	ledger->one_size = kind == STATIC;
	g_assert_cmpint(qalloc_setroot(field->map[DYNAMIC], kind ? "static" : "dynamic", ledger), ==, 0);
	return ledger;
}

static void set_up(struct field *field)
{
	struct soak *soak = support_shared(sizeof(*soak));

	memset(field, 0, sizeof(*field));
	field->soak = soak;
	soak->path[DYNAMIC] = support_path("soak");
	soak->path[STATIC] = support_path("soak");
	field->map[DYNAMIC] = support_dyn(soak->path[DYNAMIC], 96 * MIB, 4);
	field->map[STATIC] = support_stat(soak->path[STATIC], MIB / 4, ITEM, 4);
	field->items = support_stats(field->map[STATIC]).user_bytes / ITEM;
	field->largest = support_largest(field->map[DYNAMIC]);
	field->ledger[DYNAMIC] = new_ledger(field, DYNAMIC, DYNAMIC_SLOTS, 700 * KIB);
	field->ledger[STATIC] = new_ledger(field, STATIC, STATIC_SLOTS, ITEM);
}

/* The other ledger is a block of the dynamic map too: known, but in no slot. */
static void settle(struct field *field)
{
	struct ledger *ledger = field->ledger[STATIC];
	size_t bytes = ledger_bytes(STATIC_SLOTS);

	ledger_settle(ledger, field->map[STATIC], NULL, field->allowed[STATIC]);
	g_assert_cmpuint(qalloc_usable_size(field->map[DYNAMIC], ledger), >=, bytes);
	assert_void(qalloc_free(ledger, field->map[DYNAMIC]), 0);
	ledger = field->ledger[DYNAMIC];
	ledger_settle(ledger, field->map[DYNAMIC], ledger, field->allowed[DYNAMIC]);
}

static void everything_came_back(struct field *field)
{
	size_t taken = 0;

	for (int kind = 0; kind < KINDS; kind++) {
		support_free_all(field->map[kind]);
		g_assert_cmpuint(support_used(field->map[kind]), ==, 0);
	}
	g_assert_cmpuint(support_largest(field->map[DYNAMIC]), ==, field->largest);
	while (qalloc_malloc(field->map[STATIC], ITEM))
		taken++;
	g_assert_cmpuint(taken, ==, field->items);
	check_map(field->map[DYNAMIC]);
	check_map(field->map[STATIC]);
	qalloc_cleanup();
}

static unsigned soak_seconds(void)
{
	const char *given = getenv("MA_SOAK_SECONDS");

	return given ? (unsigned)strtoul(given, NULL, 10) : 10;
}

static void soak(void)
{
	struct field field;
	uint64_t began = support_now_us(), done;

	set_up(&field);
	run(&field, soak_seconds());
	done = calls(&field);
	g_test_message("soak: %.1f s, %zu kills, %zu late, %" G_GUINT64_FORMAT " calls, %" G_GUINT64_FORMAT
		       " threads got to work",
		       (double)(support_now_us() - began) / 1e6, field.kills, field.late, (guint64)done,
		       (guint64)atomic_load(&field.soak->started));
	g_assert_cmpuint(field.kills, >, 0);
	g_assert_cmpuint(done, >, 0);
	settle(&field);
	everything_came_back(&field);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/stress/soak", soak);
	return support_run();
}
