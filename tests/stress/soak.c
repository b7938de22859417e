/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The soak: processes and threads make random calls on a dynamic and a static map at once, with checksummed block
 * contents, while a killer shoots one process every few milliseconds and starts another.
 *
 * MA_SOAK_SECONDS (default 5) says how long. At the end all stop, the maps are checked, and the account is made: nothing
 * overlapped, nothing was damaged, nobody hung, and everything came back but what a kill may cost: a worker inside
 * malloc or free when it died may have left one block, inside realloc two (support_ledger.h). That is at most one block a
 * killed thread on average, and far fewer in practice; both numbers are printed.
 *
 * Half of the workers load the maps themselves, the others use the handles that they inherit through fork(). Every fourth
 * one is a parent: while a thread of it works it forks one child after the other, which work for a while. They die with
 * it. The ledgers of both maps lie in the dynamic map, as a block of it: it is found through a root.
 */
#include "tests/stress/killer.h"
#include "tests/support/support_ledger.h"
#include "tests/support/support_qalloc.h"

#define THREADS       2
#define DYNAMIC_SLOTS 3000
#define STATIC_SLOTS  2000
#define ITEM          96
#define ROOTS         30 /* names; they all fit into the fixed tables */
#define CHILD_STEPS   200

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
	size_t allowed[KINDS];
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
		ledger_worker_init(&at[kind], &support_qalloc_calls, field->ledger[kind], field->map[kind],
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
	struct duty duty = { parents->field, parents->incarnation + KILLER_CHILD };
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

static int worker_main(uint64_t incarnation, void *arg)
{
	struct field *field = arg;
	struct duty duty = { field, incarnation };

	if (incarnation % 2) {
		for (int kind = 0; kind < KINDS; kind++) {
			support_close(field->map[kind]);
			field->map[kind] = support_load(field->soak->path[kind]);
			field->ledger[kind] = qalloc_getroot(field->map[DYNAMIC], kind ? "static" : "dynamic");
			g_assert_nonnull(field->ledger[kind]);
		}
	}
	support_threads(THREADS, incarnation % 4 == 3 ? be_parent : work, &duty);
	if (incarnation % 2)
		qalloc_cleanup();
	return 0;
}

static void sweep(uint64_t incarnation, void *arg)
{
	struct field *field = arg;

	for (int kind = 0; kind < KINDS; kind++)
		field->allowed[kind] += ledger_sweep(field->ledger[kind], incarnation);
}

static uint64_t calls(void *arg)
{
	const struct field *field = arg;

	return atomic_load(&field->ledger[DYNAMIC]->calls) + atomic_load(&field->ledger[STATIC]->calls);
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

	ledger_settle(&support_qalloc_calls, ledger, field->map[STATIC], NULL, field->allowed[STATIC]);
	g_assert_cmpuint(qalloc_usable_size(field->map[DYNAMIC], ledger), >=, bytes);
	assert_void(qalloc_free(ledger, field->map[DYNAMIC]), 0);
	ledger = field->ledger[DYNAMIC];
	ledger_settle(&support_qalloc_calls, ledger, field->map[DYNAMIC], ledger, field->allowed[DYNAMIC]);
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

static bool seen_all(void *arg)
{
	const struct field *field = arg;

	return atomic_load(&field->soak->children) > 0;
}

static void soak(void)
{
	struct field field;
	struct killer killer = {
		.arg = &field, .work = worker_main, .sweep = sweep, .calls = calls, .seen_all = seen_all
	};
	uint64_t began = support_now_us(), done;

	set_up(&field);
	killer.stop = &field.soak->stop;
	killer_run(&killer, killer_seconds(5));
	done = calls(&field);
	g_test_message("soak: %.1f s, %zu kills, %zu late, %" G_GUINT64_FORMAT " calls, %" G_GUINT64_FORMAT
		       " threads got to work, %" G_GUINT64_FORMAT " fork children ended well",
		       (double)(support_now_us() - began) / 1e6, killer.kills, killer.late, (guint64)done,
		       (guint64)atomic_load(&field.soak->started), (guint64)atomic_load(&field.soak->children));
	g_assert_cmpuint(killer.kills, >, 0);
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
