/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The soak of libshmbuddy: processes and threads make random calls in one region of several levels, with checksummed block
 * contents, while a killer shoots one process every few milliseconds (killer.h).
 *
 * MA_SOAK_SECONDS (default 4) says how long. At the end the account must be right to the block, but for what a kill may
 * cost (support_ledger.h); and when all is freed, the largest block can be had as often as in the new region, with no
 * call of shmbuddy_mend(): who finds no room mends.
 *
 * Half of the workers open the region themselves, the others use the handle that they inherit through fork(); every fourth one
 * forks children at work. All have it at one address, for the ledger's sake; now and then a worker opens it at another one, and
 * finds there by offset what it knows.
 */
#include "tests/stress/killer.h"
#include "tests/support/support_buddy.h"
#include "tests/support/support_ledger.h"

#define THREADS     2
#define SLOTS       3000
#define CAPACITY    (64 * MIB)
#define SMALLEST    16
#define LARGEST     (4 * MIB) /* twice what lies together on the disk */
#define MOST        (CAPACITY / LARGEST)
#define MARK_BYTES  1000
#define MARK_TAG    4711
#define ROOTS       40 /* each leads to the mark or nowhere, so each look can be checked */
#define CHILD_STEPS 200
#define CHURNERS    4
#define CHURN_SHIFT 16

struct soak {
	const char *path;
	shm_offt mark;
	void *base;
	_Atomic bool stop;
	_Atomic uint64_t started;
	_Atomic uint64_t children;
	_Atomic uint64_t opened;
};

struct field {
	struct soak *soak;
	shmbuddy_t *region;
	struct ledger *ledger;
	size_t allowed;
};

struct duty {
	struct field *field;
	uint64_t incarnation;
};

static shmbuddy_t *open_at(const char *path, void *address)
{
	const struct shmbuddy_options options = {
		.capacity = CAPACITY, .smallest = SMALLEST, .largest = LARGEST, .address = address
	};
	shmbuddy_t *region = shmbuddy_open(path, &options);

	g_assert_nonnull(region);
	return region;
}

/* How often the largest block can be had; all are freed again. */
static size_t count_largest(shmbuddy_t *region, size_t size)
{
	shm_offt blocks[MOST + 1];
	size_t count = buddy_fill(region, size, blocks, MOST + 1);

	for (size_t i = 0; i < count; i++)
		g_assert_cmpint(shmbuddy_free(region, blocks[i]), ==, 0);
	return count;
}

/* --- a worker --- */

static void step_roots(struct field *field, struct support_rand *r)
{
	shm_offt mark = field->soak->mark, found;
	char name[32];

	g_snprintf(name, sizeof(name), "root %zu", support_rand_below(r, ROOTS));
	g_assert_cmpint(shmbuddy_setroot(field->region, name, support_rand_below(r, 3) ? mark : SHM_NULL), ==, 0);
	g_snprintf(name, sizeof(name), "root %zu", support_rand_below(r, ROOTS));
	found = shmbuddy_getroot(field->region, name);
	g_assert_true(found == SHM_NULL || found == mark);
}

/* Once more, elsewhere: the same region. */
static void step_open(struct field *field)
{
	shmbuddy_t *other = open_at(field->soak->path, NULL);

	g_assert_true(shmbuddy_base(other) != field->soak->base);
	g_assert_cmpuint(shmbuddy_usable_size(other, field->soak->mark), >=, MARK_BYTES);
	g_assert_true(support_intact(shmbuddy_address(other, field->soak->mark), MARK_BYTES, MARK_TAG));
	g_assert_cmpint(shmbuddy_close(other), ==, 0);
	atomic_fetch_add(&field->soak->opened, 1);
}

static void step_bad_free(struct field *field, struct support_rand *r)
{
	shm_offt mark = field->soak->mark;

	buddy_fails(EINVAL, shmbuddy_free(field->region, mark + 1 + support_rand_below(r, MARK_BYTES)) == -1);
	g_assert_cmpuint(shmbuddy_usable_size(field->region, mark), >=, MARK_BYTES);
}

static void step(struct field *field, struct ledger_worker *worker)
{
	size_t what = support_rand_below(&worker->rand, 8192);

	if (what == 0)
		buddy_check(field->region);
	else if (what == 1)
		g_assert_cmpuint(buddy_stats(field->region).largest, ==, LARGEST);
	else if (what < 20)
		step_bad_free(field, &worker->rand);
	else if (what < 40)
		step_open(field);
	else if (what < 110)
		step_roots(field, &worker->rand);
	else
		ledger_step(worker);
}

static void begin(struct field *field, struct ledger_worker *worker, uint64_t incarnation, unsigned thread)
{
	ledger_worker_init(worker, &support_buddy_calls, field->ledger, field->region, ledger_id(incarnation, thread));
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
		g_assert_cmpint(shmbuddy_close(field->region), ==, 0);
		field->region = open_at(field->soak->path, field->soak->base);
		g_assert_true(shmbuddy_base(field->region) == field->soak->base);
	}
	support_threads(THREADS, incarnation % 4 == 3 ? be_parent : work, &duty);
	if (incarnation % 2)
		g_assert_cmpint(shmbuddy_close(field->region), ==, 0);
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
	struct soak *soak = support_shared(sizeof(*soak));

	*field = (struct field){ .soak = soak };
	soak->path = support_path("soak");
	field->region = open_at(soak->path, NULL);
	soak->base = shmbuddy_base(field->region);
	g_assert_cmpuint(count_largest(field->region, LARGEST), ==, MOST);
	soak->mark = shmbuddy_malloc(field->region, MARK_BYTES);
	support_fill(shmbuddy_address(field->region, soak->mark), MARK_BYTES, MARK_TAG);
	field->ledger = ledger_init(support_shared(ledger_bytes(SLOTS)), SLOTS, LARGEST);
}

/* Who finds no room mends, but not when somebody did just before: so this may take a few attempts. */
static void all_is_free(shmbuddy_t *region, size_t largest, size_t most)
{
	size_t count = 0;

	support_free_all_by(&support_buddy_calls, region);
	g_assert_cmpuint(buddy_stats(region).used_blocks, ==, 0);
	for (int attempt = 0; attempt < 50 && count < most; attempt++) {
		if (attempt > 0)
			support_sleep_us(20000);
		count = count_largest(region, largest);
	}
	g_assert_cmpuint(count, ==, most);
	buddy_check(region);
}

/* Also for who opens it now, with nobody left. */
static void everything_came_back(struct field *field)
{
	buddy_close(field->region);
	field->region = open_at(field->soak->path, NULL);
	all_is_free(field->region, LARGEST, MOST);
	buddy_close(field->region);
}

static bool seen_all(void *arg)
{
	const struct soak *soak = ((const struct field *)arg)->soak;

	return atomic_load(&soak->children) > 0 && atomic_load(&soak->opened) > 0;
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
		       " opened elsewhere",
		       (double)(support_now_us() - began) / 1e6, killer.kills, killer.late, (guint64)calls(&field),
		       (guint64)atomic_load(&soak->started), (guint64)atomic_load(&soak->children),
		       (guint64)atomic_load(&soak->opened));
	g_assert_cmpuint(killer.kills, >, 0);
	g_assert_cmpuint(calls(&field), >, 0);
	g_assert_cmpuint(atomic_load(&soak->children), >, 0);
	g_assert_cmpuint(atomic_load(&soak->opened), >, 0);
	g_assert_true(support_intact(shmbuddy_address(field.region, soak->mark), MARK_BYTES, MARK_TAG));
	g_assert_cmpint(shmbuddy_free(field.region, soak->mark), ==, 0);
	ledger_settle(&support_buddy_calls, field.ledger, field.region, NULL, field.allowed);
	everything_came_back(&field);
}

/* --- splitting and merging only --- */

static int be_churner(void *arg)
{
	shmbuddy_t *region = arg;
	struct support_rand r;
	size_t size = SMALLEST;

	support_rand_seed(&r, (uint64_t)getpid());
	while (shmbuddy_free(region, shmbuddy_malloc(region, size)) == 0)
		size = (size_t)1 << support_rand_below(&r, CHURN_SHIFT + 1);
	return 1; /* ends the test */
}

/*
 * In a region that is as good as empty nearly every call splits or merges, most of them over several levels: so of those killed at
 * random many die between two words.
 */
static void churn_once(void *memory, size_t bytes, const struct shmbuddy_options *options, struct support_rand *r)
{
	shmbuddy_t *region = shmbuddy_format(memory, bytes, options);
	unsigned longest = support_valgrind() ? 100000 : 3000;
	pid_t pid[CHURNERS];

	for (int i = 0; i < CHURNERS; i++)
		pid[i] = support_fork(be_churner, region);
	support_sleep_us((unsigned)support_rand_below(r, longest));
	for (int i = 0; i < CHURNERS; i++)
		g_assert_true(support_kill(pid[i]));
	buddy_check(region);
	g_assert_cmpuint(buddy_stats(region).used_blocks, <=, CHURNERS);
	all_is_free(region, options->largest, (size_t)(options->capacity / options->largest));
	buddy_close(region);
}

static void churn(void)
{
	const struct shmbuddy_options options = { .capacity = MIB,
						  .smallest = SMALLEST,
						  .largest = (uint64_t)1 << CHURN_SHIFT };
	uint64_t bytes = shmbuddy_size_needed(&options), end = support_now_us() + killer_seconds(4) * 1000000ull / 4;
	void *memory = support_shared(bytes);
	struct support_rand r;
	size_t rounds = 0;

	support_rand_seed(&r, 1);
	do {
		churn_once(memory, bytes, &options, &r);
		support_watchdog(SUPPORT_HUNG_SECONDS);
		rounds++;
	} while (support_now_us() < end);
	g_test_message("churn: %zu regions, %d processes killed in each", rounds, CHURNERS);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/stress/soak-shmbuddy", soak);
	support_add("/stress/soak-shmbuddy-churn", churn);
	return support_run();
}
