/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The soak of libmmalloc: processes and threads make random calls in one heap that grows, is trimmed and punched meanwhile,
 * with checksummed block contents, while a killer shoots one process every few milliseconds (killer.h).
 *
 * MA_SOAK_SECONDS (default 4) says how long. At the end the account must be right to the block, but for what a kill may
 * cost (support_ledger.h), the whole range must be there again in one piece, and trimming must leave a file that holds
 * next to nothing.
 *
 * Half of the workers attach the heap themselves, the others use the descriptor that they inherit through fork(); every
 * fourth one forks children at work. The ledger is a block of the heap, found by key.
 */
#include "tests/stress/killer.h"
#include "tests/support/support_ledger.h"
#include "tests/support/support_mmalloc.h"

#define THREADS     2
#define SLOTS       3000
#define LARGEST     (2500 * KIB) /* over a MiB the disk space is given back at once */
#define RESERVE     (256 * MIB)
#define LEDGER_KEY  63
#define KEYS        40 /* keys and roots lead to the ledger or nowhere, so each look can be checked */
#define CHILD_STEPS 200

struct soak {
	const char *path;
	_Atomic bool stop;
	_Atomic uint64_t started;
	_Atomic uint64_t children;
	_Atomic uint64_t trimmed; /* bytes */
	_Atomic uint64_t attached;
	_Atomic uint64_t longest; /* file */
};

struct field {
	struct soak *soak;
	void *md;
	struct ledger *ledger;
	size_t whole;
	size_t allowed;
};

struct duty {
	struct field *field;
	uint64_t incarnation;
};

static struct mmalloc_stats stats(void *md)
{
	struct mmalloc_stats figures;

	g_assert_cmpint(mmalloc_stats(md, &figures), ==, 0);
	return figures;
}

/* --- a worker --- */

static void step_names(struct field *field, struct support_rand *r)
{
	void *ledger = field->ledger, *found;
	char name[32];

	g_assert_cmpint(
		mmalloc_setkey(field->md, (int)support_rand_below(r, KEYS), support_rand_below(r, 3) ? ledger : NULL),
		==, 1);
	found = mmalloc_getkey(field->md, (int)support_rand_below(r, KEYS));
	g_assert_true(!found || found == ledger);
	g_snprintf(name, sizeof(name), "a name of several words %zu", support_rand_below(r, KEYS));
	g_assert_cmpint(mmalloc_setroot(field->md, name, support_rand_below(r, 3) ? ledger : NULL), ==, 0);
	g_snprintf(name, sizeof(name), "a name of several words %zu", support_rand_below(r, KEYS));
	found = mmalloc_getroot(field->md, name);
	g_assert_true(!found || found == ledger);
}

/* Once more, through a descriptor of the file: the same heap, and it stays when this one goes. */
static void step_attach(struct field *field)
{
	void *md = heap_attach(field->soak->path);

	g_assert_true(md == field->md);
	g_assert_null(mmalloc_detach(md));
	atomic_fetch_add(&field->soak->attached, 1);
}

static void step_trim(struct field *field)
{
	int64_t given = mmalloc_trim(field->md);
	uint64_t length = stats(field->md).file_bytes, longest = atomic_load(&field->soak->longest);

	g_assert_cmpint(given, >=, 0);
	atomic_fetch_add(&field->soak->trimmed, (uint64_t)given);
	g_assert_cmpuint(length, <=, (uint64_t)support_file_size(field->soak->path));
	while (length > longest && !atomic_compare_exchange_weak(&field->soak->longest, &longest, length))
		;
}

static void step(struct field *field, struct ledger_worker *worker)
{
	size_t what = support_rand_below(&worker->rand, 8192);

	if (what == 0)
		support_check_by(&support_mmalloc_calls, field->md);
	else if (what < 12)
		step_trim(field);
	else if (what < 30)
		step_attach(field);
	else if (what < 100)
		step_names(field, &worker->rand);
	else
		ledger_step(worker);
}

static void begin(struct field *field, struct ledger_worker *worker, uint64_t incarnation, unsigned thread)
{
	ledger_worker_init(worker, &support_mmalloc_calls, field->ledger, field->md, ledger_id(incarnation, thread));
	atomic_fetch_add(&field->soak->started, 1);
}

static void work(struct support_thread *self)
{
	struct duty *duty = self->arg;
	struct ledger_worker worker;

	begin(duty->field, &worker, duty->incarnation, self->index);
	while (!atomic_load(&duty->field->soak->stop))
		step(duty->field, &worker);
}

static int child_main(void *arg)
{
	struct duty *parents = arg;
	struct field *field = parents->field;
	struct ledger_worker worker;

	begin(field, &worker, parents->incarnation + KILLER_CHILD, 0);
	for (int i = 0; i < CHILD_STEPS && !atomic_load(&field->soak->stop); i++)
		step(field, &worker);
	return 0;
}

/* One at a time. One that ended well has left all its places in the ledger, so the next one can have its number. */
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

static int be_worker(uint64_t incarnation, void *arg)
{
	struct field *field = arg;
	struct duty duty = { field, incarnation };

	if (incarnation % 2) {
		g_assert_null(mmalloc_detach(field->md));
		field->md = heap_attach(field->soak->path);
		field->ledger = mmalloc_getkey(field->md, LEDGER_KEY);
		g_assert_nonnull(field->ledger);
	}
	support_threads(THREADS, incarnation % 4 == 3 ? be_parent : work, &duty);
	if (incarnation % 2)
		g_assert_null(mmalloc_detach(field->md));
	return 0;
}

static void sweep(uint64_t incarnation, void *arg)
{
	struct field *field = arg;

	field->allowed += ledger_sweep(field->ledger, incarnation);
}

static uint64_t calls(void *arg)
{
	return atomic_load(&((struct field *)arg)->ledger->calls);
}

/* --- before and after --- */

static void set_up(struct field *field)
{
	struct mmalloc_options options = { .streams = 4, .reserve = RESERVE };
	struct soak *soak = support_shared(sizeof(*soak));
	int fd;

	*field = (struct field){ .soak = soak };
	soak->path = support_path("soak");
	fd = heap_file(soak->path);
	field->md = mmalloc_attach_opt(fd, NULL, &options);
	g_assert_nonnull(field->md);
	close(fd);
	field->whole = stats(field->md).user_bytes;
	field->ledger = mmalloc(field->md, ledger_bytes(SLOTS));
	g_assert_nonnull(field->ledger);
	ledger_init(field->ledger, SLOTS, LARGEST);
	g_assert_cmpint(mmalloc_setkey(field->md, LEDGER_KEY, field->ledger), ==, 1);
}

/* Also for who attaches now, with nobody left. */
static void everything_came_back(struct field *field)
{
	void *all;

	heap_detach(field->md);
	field->md = heap_attach(field->soak->path);
	support_free_all_by(&support_mmalloc_calls, field->md);
	g_assert_cmpuint(stats(field->md).used_blocks, ==, 0);
	all = mmalloc(field->md, field->whole);
	g_assert_nonnull(all);
	mfree(field->md, all);
	g_assert_cmpint(mmalloc_trim(field->md), >=, 0);
	g_assert_cmpuint(stats(field->md).disk_bytes, <, 4 * MIB);
	heap_detach(field->md);
}

static bool seen_all(void *arg)
{
	const struct soak *soak = ((const struct field *)arg)->soak;

	return atomic_load(&soak->children) > 0 && atomic_load(&soak->trimmed) > 0;
}

static void soak(void)
{
	struct field field;
	struct killer killer = {
		.arg = &field, .work = be_worker, .sweep = sweep, .calls = calls, .seen_all = seen_all
	};
	uint64_t began = support_now_us();
	const struct soak *soak;

	set_up(&field);
	soak = field.soak;
	killer.stop = &field.soak->stop;
	killer_run(&killer, killer_seconds(4));
	g_test_message("soak: %.1f s, %zu kills, %zu late, %" G_GUINT64_FORMAT " calls, %" G_GUINT64_FORMAT
		       " threads got to work, %" G_GUINT64_FORMAT " fork children ended well, %" G_GUINT64_FORMAT
		       " attached, %" G_GUINT64_FORMAT " MiB trimmed, the file had up to %" G_GUINT64_FORMAT " MiB",
		       (double)(support_now_us() - began) / 1e6, killer.kills, killer.late, (guint64)calls(&field),
		       (guint64)atomic_load(&soak->started), (guint64)atomic_load(&soak->children),
		       (guint64)atomic_load(&soak->attached), (guint64)(atomic_load(&soak->trimmed) / MIB),
		       (guint64)(atomic_load(&soak->longest) / MIB));
	g_assert_cmpuint(killer.kills, >, 0);
	g_assert_cmpuint(calls(&field), >, 0);
	g_assert_cmpuint(atomic_load(&soak->children), >, 0);
	g_assert_cmpuint(atomic_load(&soak->trimmed), >, 0);
	ledger_settle(&support_mmalloc_calls, field.ledger, field.md, field.ledger, field.allowed);
	everything_came_back(&field);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/stress/soak-mmalloc", soak);
	return support_run();
}
