/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The soak: processes and threads make random calls on a dynamic and a static map at once, with checksummed block
 * contents, while a killer shoots one process every few milliseconds and starts another.
 *
 * MA_SOAK_SECONDS (default 20) says how long. At the end all stop, the maps are checked, and the account is made: nothing
 * overlapped, nothing was damaged, nobody hung, and everything came back but what a kill may cost: a worker inside
 * malloc or free when it died may have left one block, inside realloc two (support_ledger.h). That is at most one block a
 * killed thread on average, and far fewer in practice; both numbers are printed.
 *
 * Half of the workers load the maps themselves, the others use the handles that they inherit through fork(). Every fourth
 * one is a parent: while a thread of it works it forks one child after the other, which work for a while. They die with
 * it. The ledgers of both maps lie in the dynamic map, as a block of it: it is found through a root.
 */
#include <signal.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/support/support_ledger.h"

#define WORKERS       4
#define THREADS       2
#define DYNAMIC_SLOTS 3000
#define STATIC_SLOTS  2000
#define ITEM          96
#define ROOTS         30 /* names; they all fit into the fixed tables */
#define CHILD_STEPS   200
#define CHILD         ((uint64_t)1 << 32) /* what its incarnation has more than its parent's */

enum { DYNAMIC, STATIC, KINDS };

struct soak {
	const char *path[KINDS];
	_Atomic bool stop;
	_Atomic uint64_t started;  /* workers that reached their first step */
	_Atomic uint64_t children; /* of workers, that ended well */
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
	int alive[2]; /* a pipe that it and its children hold open */
};

/* --- a worker --- */

struct duty {
	struct field *field;
	uint64_t incarnation;
};

/* Every root points to where the ledger is, or to nothing: so each look-up can be checked. */
static void step_root(struct field *field, struct support_rand *r)
{
	void *map = field->map[DYNAMIC], *ledger = field->ledger[DYNAMIC], *found;
	char name[32];

	g_snprintf(name, sizeof(name), "a name of several words %zu", support_rand_below(r, ROOTS));
	g_assert_cmpint(qalloc_setroot(map, name, support_rand_below(r, 3) ? ledger : NULL), ==, 0);
	g_snprintf(name, sizeof(name), "a name of several words %zu", support_rand_below(r, ROOTS));
	found = qalloc_getroot(map, name);
	g_assert_true(!found || found == ledger);
}

static void step(struct field *field, struct ledger_worker at[KINDS])
{
	struct support_rand *r = &at[DYNAMIC].rand;
	size_t what = support_rand_below(r, 8192);

	if (what == 0)
		check_map(field->map[support_rand_below(r, KINDS)]);
	else if (what < 100)
		step_root(field, r);
	else
		ledger_step(&at[support_rand_below(r, 4) ? DYNAMIC : STATIC]);
}

static void begin(struct duty *duty, unsigned thread, struct ledger_worker at[KINDS])
{
	struct field *field = duty->field;

	for (int kind = 0; kind < KINDS; kind++)
		ledger_worker_init(&at[kind], field->ledger[kind], field->map[kind],
				   ledger_id(duty->incarnation, thread));
	atomic_fetch_add(&field->soak->started, 1);
}

static void work(struct support_thread *self)
{
	struct duty *duty = self->arg;
	struct ledger_worker at[KINDS];

	begin(duty, self->index, at);
	while (!atomic_load(&duty->field->soak->stop))
		step(duty->field, at);
}

static int child_main(void *arg)
{
	struct duty *parents = arg;
	struct duty duty = { parents->field, parents->incarnation + CHILD };
	struct ledger_worker at[KINDS];

	begin(&duty, 0, at);
	for (int i = 0; i < CHILD_STEPS && !atomic_load(&duty.field->soak->stop); i++)
		step(duty.field, at);
	return 0;
}

/* One at a time. One that ended well has left all its places in the ledgers, so the next one can have its number. */
static void be_parent(struct support_thread *self)
{
	struct duty *duty = self->arg;

	if (self->index > 0) {
		work(self);
		return;
	}
	while (!atomic_load(&duty->field->soak->stop)) {
		support_run_child(child_main, duty);
		atomic_fetch_add(&duty->field->soak->children, 1);
	}
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
	support_threads(THREADS, duty->incarnation % 4 == 3 ? be_parent : work, duty);
	if (duty->incarnation % 2)
		qalloc_cleanup();
	return 0;
}

/* --- the killer --- */

static void start(struct field *field, struct worker *worker)
{
	struct duty duty = { field, ++field->incarnation };

	worker->incarnation = duty.incarnation;
	g_assert_cmpint(pipe2(worker->alive, O_CLOEXEC), ==, 0);
	worker->pid = support_fork(worker_main, &duty);
	close(worker->alive[1]);
}

/* Its child gets the news of its death a little later: nobody has the pipe any more when that is dead too. */
static void sweep(struct field *field, const struct worker *worker)
{
	char byte;

	g_assert_cmpint(read(worker->alive[0], &byte, 1), ==, 0);
	close(worker->alive[0]);
	for (int kind = 0; kind < KINDS; kind++) {
		field->allowed[kind] += ledger_sweep(field->ledger[kind], worker->incarnation);
		field->allowed[kind] += ledger_sweep(field->ledger[kind], worker->incarnation + CHILD);
	}
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
	for (int i = 0; i < WORKERS; i++)
		sweep(field, &workers[i]); /* nothing to sweep, and nothing may be lost by it */
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

	return given ? (unsigned)strtoul(given, NULL, 10) : 20;
}

static void soak(void)
{
	struct field field;
	uint64_t began = support_now_us(), done;

	set_up(&field);
	run(&field, soak_seconds());
	done = calls(&field);
	g_test_message("soak: %.1f s, %zu kills, %zu late, %" G_GUINT64_FORMAT " calls, %" G_GUINT64_FORMAT
		       " threads got to work, %" G_GUINT64_FORMAT " fork children ended well",
		       (double)(support_now_us() - began) / 1e6, field.kills, field.late, (guint64)done,
		       (guint64)atomic_load(&field.soak->started), (guint64)atomic_load(&field.soak->children));
	g_assert_cmpuint(field.kills, >, 0);
	g_assert_cmpuint(done, >, 0);
	g_assert_cmpuint(atomic_load(&field.soak->children), >, 0);
	settle(&field);
	everything_came_back(&field);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/stress/soak", soak);
	return support_run();
}
