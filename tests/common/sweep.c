/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sweeps (common/heap_sweep.h): the first call that fails in a full map does not look through all of it, and still no block that was
 * freed before is missed.
 */
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/heap_sweep.h"
#include "common/image_fd.h"
#include "common/reclaim.h"
#include "common/slot.h"
#include "tests/support/support_qalloc.h"

#define SWEPT_BYTES support_size(32 * MIB, 8 * MIB)

/* A map, and all its blocks in some order. */
struct full {
	void *map;
	void **blocks;
	size_t count;
};

static void finish(struct full *full)
{
	check_map(full->map);
	support_close(full->map);
	g_free(full->blocks);
}

static uint64_t looks(void *map)
{
	return ma_load(&((struct ma_image *)map)->sweep.looks);
}

/* Allocates until no block is left; returns how many slabs the last call visited. */
static uint64_t fill_on(struct full *full, size_t size)
{
	uint64_t before;
	void *block;

	do {
		before = looks(full->map);
		block = qalloc_malloc(full->map, size);
		if (block)
			full->blocks[full->count++] = block;
	} while (block);
	g_assert_cmpint(errno, ==, ENOMEM);
	return looks(full->map) - before;
}

static void begin_to_fill(struct full *full, size_t size, unsigned streams)
{
	void *map = support_dyn(NULL, SWEPT_BYTES, streams);

	*full = (struct full){ .map = map, .blocks = g_new(void *, 2 * support_stats(map).user_bytes / size) };
}

/* The map has some 500 slabs. Without the sweep, the call visited each of them more than once. */
static void first_failures_are_short(void)
{
	static const size_t sizes[] = { 64, 200, 1000, 4096 };
	struct full full;

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		begin_to_fill(&full, sizes[i], 1 + i % 2);
		g_assert_cmpuint(fill_on(&full, sizes[i]), <, 128);
		finish(&full);
	}
}

/* A call that searches all of the map, whatever is known, finds nothing either. */
static void nothing_was_missed(struct full *full, size_t size)
{
	uint32_t patience = ma_patience;

	ma_patience = 0;
	for (uint32_t c = 0; c < MA_CLASSES; c++)
		ma_store(&((struct ma_image *)full->map)->failed[c].until_ns, 0);
	assert_null(qalloc_malloc(full->map, size), ENOMEM);
	ma_patience = patience;
}

static void free_some(struct full *full, struct support_rand *r, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t at = support_rand_below(r, full->count);

		qalloc_free(full->blocks[at], full->map);
		full->blocks[at] = full->blocks[--full->count];
	}
}

/* Frees before the sweep, while it goes on, and after it. The last part of the map is filled in between. */
static void sweeps_miss_no_free(void)
{
	static const size_t sizes[] = { 64, 1000, 4096 };
	struct support_rand r;
	struct full full;

	support_rand_seed(&r, 1);
	for (size_t round = 0; round < 3 * G_N_ELEMENTS(sizes); round++) {
		size_t size = sizes[round / 3], last = SWEPT_BYTES / size / 8;

		begin_to_fill(&full, size, 1);
		fill_on(&full, size);
		free_some(&full, &r, last);
		for (size_t i = 0; i < last; i++) {
			void *block = qalloc_malloc(full.map, size);

			g_assert_nonnull(block);
			full.blocks[full.count++] = block;
			if (support_rand_below(&r, last) < 8 * round)
				free_some(&full, &r, 1);
		}
		fill_on(&full, size);
		nothing_was_missed(&full, size);
		finish(&full);
	}
}

/* The same while the map is filled for the first time, so that slabs are given up and made behind the sweep. */
static void sweeps_of_a_filling_program_miss_no_free(void)
{
	struct support_rand r;
	struct full full;

	support_rand_seed(&r, 2);
	for (size_t round = 0; round < 8; round++) {
		size_t size = round % 2 ? 1000 : 4096, all = SWEPT_BYTES / size, from = all * (88 + round) / 100;
		void *block;

		begin_to_fill(&full, size, 1);
		while ((block = qalloc_malloc(full.map, size)) != NULL) {
			full.blocks[full.count++] = block;
			if (full.count >= from) {
				free_some(&full, &r, 1 + round);
				from = full.count + all / 100;
			}
		}
		nothing_was_missed(&full, size);
		finish(&full);
	}
}

/* Frees after the sweep: the claim holds until the first one. */
static void frees_end_claims(void)
{
	const size_t size = 1000;
	struct support_rand r;
	struct full full;

	support_rand_seed(&r, 4);
	begin_to_fill(&full, size, 1);
	fill_on(&full, size);
	g_assert_true(ma_sweep_claims(full.map, ma_class_of(size)));
	g_assert_true(ma_sweep_claims(full.map, MA_SWEEP_EMPTY));
	free_some(&full, &r, 3);
	g_assert_false(ma_sweep_claims(full.map, ma_class_of(size)));
	for (int i = 0; i < 3; i++) {
		full.blocks[full.count] = qalloc_malloc(full.map, size);
		g_assert_nonnull(full.blocks[full.count++]);
	}
	assert_null(qalloc_malloc(full.map, size), ENOMEM);
	finish(&full);
}

/* Room that no free made, and no return: it is noted, until it is used up. Of other classes it ends no claim. */
static void noted_room_ends_claims(void)
{
	const size_t size = 1000;
	const uint32_t class = ma_class_of(size);
	_Atomic uint8_t *byte;
	struct ma_image *map;
	struct ma_slab slab;
	struct full full;

	begin_to_fill(&full, size, 1);
	map = full.map;
	fill_on(&full, size);
	slab.id = (uint32_t)((uint64_t)((char *)full.blocks[full.count / 2] - map->user) / MA_CHUNK);
	g_assert_true(ma_slab_at(map, slab.id, &slab) && slab.class == class);
	byte = &slab.alloc_bytes[3];
	ma_store(byte, 0);
	ma_sweep_note_room(map, slab.id);
	g_assert_false(ma_sweep_claims(map, class));
	g_assert_true(ma_sweep_claims(map, class + 1));
	ma_store(byte, 1);
	g_assert_true(ma_sweep_claims(map, class));
	finish(&full);
}

struct helper {
	struct full *full;
	struct support_barrier *both;
	size_t size;
};

/* One thread fills the map, another one frees meanwhile. What is left at last, the first one finds. */
static void fill_and_free(struct support_thread *self)
{
	struct helper *helper = self->arg;
	struct full *full = helper->full;
	size_t count;

	if (self->index == 0) {
		for (count = SWEPT_BYTES / helper->size * 9 / 10; full->count < count;)
			full->blocks[full->count++] = qalloc_malloc(full->map, helper->size);
	}
	support_barrier_wait(helper->both);
	if (self->index == 1) {
		for (size_t i = 0; i < 200; i++) {
			qalloc_free(full->blocks[i * 7], full->map);
			sched_yield();
		}
	} else {
		fill_on(full, helper->size);
	}
	support_barrier_wait(helper->both);
	if (self->index == 0) {
		fill_on(full, helper->size);
		nothing_was_missed(full, helper->size);
	}
}

static void frees_of_another_thread_end_sweeps(void)
{
	struct full full;
	struct helper helper = { .full = &full, .both = support_barrier_new(2), .size = 1000 };

	for (int i = 0; i < 4; i++) {
		begin_to_fill(&full, helper.size, 2);
		support_threads(2, fill_and_free, &helper);
		finish(&full);
	}
}

/* Slabs of a small map may have one block: those of the freed blocks have room. */
static bool own_room(void *map, size_t size)
{
	void *blocks[8];

	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
		blocks[i] = qalloc_malloc(map, size);
	for (size_t i = 1; i < G_N_ELEMENTS(blocks); i++)
		qalloc_free(blocks[i], map);
	return blocks[0] != NULL;
}

/* A fork child that owns slabs with room, until it is killed. */
static pid_t begin_owner(void *map, size_t size)
{
	int ready[2];
	char byte = 0;
	pid_t pid;

	g_assert_cmpint(pipe(ready), ==, 0);
	pid = fork();
	if (pid == 0) {
		byte = own_room(map, size);
		if (write(ready[1], &byte, 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	g_assert_cmpint(pid, >, 0);
	g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
	g_assert_cmpint(byte, ==, 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

/* The locks end with the process, but for another one that reads its /proc/PID/stat, and so keeps its mappings a moment longer. */
static void await_end(struct ma_image *map, pid_t pid)
{
	for (uint32_t slot = 0; slot < map->lay.processes; slot++)
		while (ma_load(&ma_slot_row(map, slot)->pid) == (uint32_t)pid &&
		       ma_slot_is_held(map, ma_image_fd(map), slot))
			sched_yield();
}

/* What a process owned that died after a sweep is found when the claims, and the thread's own patience, have ended. */
static void deaths_are_found_after_claims(void)
{
	const size_t size = 1000;
	struct full full;
	struct ma_image *map;
	pid_t owner;

	begin_to_fill(&full, size, 1);
	map = full.map;
	owner = begin_owner(map, size);
	fill_on(&full, size);
	g_assert_true(ma_sweep_claims(map, ma_class_of(size)));
	g_assert_cmpint(kill(owner, SIGKILL), ==, 0);
	g_assert_cmpint(waitpid(owner, NULL, 0), ==, owner);
	await_end(map, owner);
	ma_store(&map->sweep.until_ns, 0);
	ma_store(&map->failed[ma_class_of(size)].until_ns, 0);
	ma_tcache_get(map)->barren_ns = 0;
	full.blocks[full.count] = qalloc_malloc(map, size);
	g_assert_nonnull(full.blocks[full.count]);
	full.count++;
	finish(&full);
}

/* A program that lives in a map that is nearly full: fewer and fewer of its refills begin a sweep, and fast frees are back. */
static void steady_programs_are_left_alone(void)
{
	const size_t size = 4096;
	struct ma_image *map;
	struct support_rand r;
	struct full full;

	support_rand_seed(&r, 3);
	begin_to_fill(&full, size, 1);
	map = full.map;
	fill_on(&full, size);
	free_some(&full, &r, full.count / 50);
	for (size_t i = 0; i < support_scale(100000); i++) {
		free_some(&full, &r, 1);
		full.blocks[full.count] = qalloc_malloc(full.map, size);
		g_assert_nonnull(full.blocks[full.count++]);
	}
	free_some(&full, &r, 1);
	g_assert_false(ma_load(&map->frees_are_seen));
	g_assert_cmpuint(map->sweep.waits, >=, 63);
	finish(&full);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	ma_sweep_ns = UINT64_MAX / 4;
	support_add("/sweep/first-failures-are-short", first_failures_are_short);
	support_add("/sweep/no-free-is-missed", sweeps_miss_no_free);
	support_add("/sweep/filling-programs", sweeps_of_a_filling_program_miss_no_free);
	support_add("/sweep/frees-end-claims", frees_end_claims);
	support_add("/sweep/noted-room", noted_room_ends_claims);
	support_add("/sweep/another-thread", frees_of_another_thread_end_sweeps);
	support_add("/sweep/deaths", deaths_are_found_after_claims);
	support_add("/sweep/steady-programs", steady_programs_are_left_alone);
	return support_run();
}
