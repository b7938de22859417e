/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All process slots, or all owner records, are in use: a call that fails does not ask the kernel of each one again. What is free again is found
 * at once.
 */
#include <signal.h>
#include <unistd.h>

#include "common/body.h"
#include "common/image.h"
#include "common/slot.h"
#include "tests/support/support_qalloc.h"

#define MOST  100u
#define CALLS 50u

/* Linked with --wrap: the kernel is asked there. */
bool __real_ma_slot_lock(struct ma_image *map, int fd, uint32_t slot);
bool __wrap_ma_slot_lock(struct ma_image *map, int fd, uint32_t slot);
bool __real_ma_proc_alive(struct ma_image *map, uint32_t slot);
bool __wrap_ma_proc_alive(struct ma_image *map, uint32_t slot);

static unsigned asked;

bool __wrap_ma_proc_alive(struct ma_image *map, uint32_t slot)
{
	asked++;
	return __real_ma_proc_alive(map, slot);
}

bool __wrap_ma_slot_lock(struct ma_image *map, int fd, uint32_t slot)
{
	asked++;
	return __real_ma_slot_lock(map, fd, slot);
}

struct holders {
	const char *path;
	_Atomic unsigned arrived;
	_Atomic bool one_leaves;
};

static int hold_a_slot(void *arg)
{
	struct holders *holders = arg;
	void *map = support_load(holders->path);

	g_assert_nonnull(qalloc_malloc(map, 100));
	if (atomic_fetch_add(&holders->arrived, 1) == 0) {
		while (!atomic_load(&holders->one_leaves))
			support_sleep_us(1000);
		support_close(map);
		support_close(map); /* Its parent had opened it before the fork. */
		return 0;
	}
	for (;;)
		pause();
}

static void assert_full(void *map)
{
	errno = 0;
	g_assert_null(qalloc_malloc(map, 100));
	g_assert_cmpint(errno, ==, EUSERS);
}

/* What is full, and of how many. */
struct full {
	const char *name;
	uint64_t bytes, processes;
	unsigned count;
	bool owners;
};

static const struct full slots = { "slots", 16 * MIB, MOST, MOST, false };
static const struct full owners = { "owners", MIB, MOST, 64, true };

static void end_all(const struct full *full, pid_t *pids)
{
	for (unsigned i = 0; i < full->count; i++)
		if (pids[i])
			support_kill(pids[i]);
}

static void *full_map(const struct full *full, struct holders *holders, pid_t *pids)
{
	const struct qalloc_options options = { .size = full->bytes, .processes = full->processes };
	void *map;

	holders->path = support_path(full->name);
	map = qalloc_make(holders->path, &options);
	g_assert_nonnull(map);
	for (unsigned i = 0; i < full->count; i++) {
		pids[i] = support_fork(hold_a_slot, holders);
		while (atomic_load(&holders->arrived) < i + 1)
			support_sleep_us(100);
	}
	return map;
}

/* For ever: then the time does not matter. */
static void remember(const struct full *full, void *map)
{
	struct ma_image *image = map;
	_Atomic uint64_t *until = full->owners ? &image->owners_held_until : &image->slots_held_until;

	asked = 0;
	assert_full(map);
	g_assert_cmpuint(asked, >=, full->count);
	g_assert_cmpuint(ma_load(until), >, 0);
	ma_store(until, UINT64_MAX);
	asked = 0;
	for (unsigned i = 0; i < CALLS; i++)
		assert_full(map);
	g_assert_cmpuint(asked, ==, 0);
}

static void one_that_was_given_back(gconstpointer arg)
{
	const struct full *full = arg;
	struct holders *holders = support_shared(sizeof(*holders));
	pid_t pids[MOST];
	void *map = full_map(full, holders, pids);

	remember(full, map);
	atomic_store(&holders->one_leaves, true);
	support_wait_ok(pids[0]);
	pids[0] = 0;
	if (!qalloc_malloc(map, 100))
		g_error("%s", qalloc_errmsg());
	end_all(full, pids);
	support_close(map);
}

static void one_of_the_dead(gconstpointer arg)
{
	const struct full *full = arg;
	struct holders *holders = support_shared(sizeof(*holders));
	pid_t pids[MOST];
	void *map = full_map(full, holders, pids), *block = NULL;

	remember(full, map);
	support_kill(pids[full->count - 1]);
	pids[full->count - 1] = 0;
	for (unsigned i = 0; i < 5 && !block; i++)
		block = qalloc_malloc(map, 100);
	g_assert_nonnull(block);
	end_all(full, pids);
	support_close(map);
}

#define NO_PID 0x7ffffffeu

/* The search passes over slots four at a time, in a table that is no multiple of four, and goes on where the last one ended. */
static void a_dead_one_at_each_place(void)
{
	const struct qalloc_options options = { .size = 16 * MIB, .processes = 67 };
	struct ma_image *map = qalloc_make(support_path("places"), &options);
	uint32_t mine;

	g_assert_nonnull(map);
	g_assert_nonnull(qalloc_malloc(map, 100));
	mine = ma_load(&map->slot);
	g_assert_cmpuint(map->lay.processes, ==, 67);
	for (uint32_t first = 0; first < 67; first++)
		for (uint32_t gap = 0; gap < 9; gap++) {
			uint32_t second = (first + gap) % 67;

			if (first == mine || second == mine)
				continue;
			ma_store(&ma_slot_row(map, first)->pid, NO_PID);
			ma_store(&ma_slot_row(map, second)->pid, NO_PID);
			g_assert_true(ma_body_reap(map, true));
			g_assert_cmpuint(ma_load(&ma_slot_row(map, first)->pid), ==, 0);
			g_assert_cmpuint(ma_load(&ma_slot_row(map, second)->pid), ==, 0);
			g_assert_false(ma_body_reap(map, true));
		}
	g_assert_cmpuint(ma_load(&ma_slot_row(map, mine)->pid), ==, (uint32_t)getpid());
	support_close(map);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	g_test_add_data_func("/common/slots/given-back", &slots, one_that_was_given_back);
	g_test_add_data_func("/common/slots/dead", &slots, one_of_the_dead);
	g_test_add_data_func("/common/slots/owner-given-back", &owners, one_that_was_given_back);
	g_test_add_data_func("/common/slots/owner-dead", &owners, one_of_the_dead);
	support_add("/common/slots/each-place", a_dead_one_at_each_place);
	return support_run();
}
