/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a thread remembers of a region is never more than a hint: room that one thread, handle or process has freed is everybody's at once,
 * whoever remembers it; and empty words that a free left open are merged when a larger block is wanted.
 *
 * A malloc that finds nothing looks through the whole region, but not again for some ms. So a test that fails one just before shows what
 * is found without that.
 */
#include "tests/support/support_buddy.h"

#define THREADS 40 /* More than there are places for hints. */

/* From now on, for some ms, nobody finds what is not listed. */
static void be_full(shmbuddy_t *region, size_t size)
{
	buddy_fails(ENOMEM, shmbuddy_malloc(region, size) == SHM_NULL);
}

static void name_it(shmbuddy_t *region, shm_offt block, uint64_t name)
{
	memcpy(shmbuddy_address(region, block), &name, sizeof(name));
}

static uint64_t name_of(shmbuddy_t *region, shm_offt block)
{
	uint64_t name;

	memcpy(&name, shmbuddy_address(region, block), sizeof(name));
	return name;
}

/* --- several handles --- */

static void replace(shmbuddy_t *region, shm_offt *block, size_t size, uint64_t name)
{
	if (*block) {
		g_assert_cmpuint(name_of(region, *block) >> 8, ==, name >> 8);
		g_assert_cmpint(shmbuddy_free(region, *block), ==, 0);
	}
	*block = shmbuddy_malloc(region, size);
	g_assert_cmpuint(*block, !=, SHM_NULL);
	name_it(region, *block, name);
}

/* One thread in three regions of different shapes, one of them open twice: no hint is taken for one of another region. */
static void several_handles(void)
{
	enum { LIVE = 100 };
	static shm_offt blocks[3][LIVE];
	const char *first = support_path("first");
	shmbuddy_t *regions[4];
	struct support_rand rand;

	regions[0] = buddy_open(first, 256 * KIB, 32, 1024);
	regions[1] = buddy_open(support_path("second"), 8 * MIB, 16, MIB);
	regions[2] = buddy_open(support_path("third"), 2 * MIB, 64, 64 * KIB);
	regions[3] = buddy_open(first, 0, 0, 0);
	support_rand_seed(&rand, 1);
	for (size_t step = 0; step < support_scale(60000); step++) {
		size_t r = support_rand_below(&rand, 4), k = support_rand_below(&rand, LIVE);

		replace(regions[r], &blocks[r % 3][k], support_rand_between(&rand, 16, 1024),
			(r % 3 * LIVE + k) << 8 | step % 200);
		if (step % 5000 == 0) {
			/* A handle's place in memory is used again, for another region. */
			buddy_close(regions[3]);
			regions[3] = buddy_open(first, 0, 0, 0);
		}
	}
	buddy_close(regions[3]);
	for (size_t r = 0; r < 3; r++) {
		for (size_t k = 0; k < LIVE; k++)
			g_assert_cmpint(shmbuddy_free(regions[r], blocks[r][k]), ==, 0);
		buddy_is_empty(regions[r]);
		buddy_close(regions[r]);
	}
}

/* What is freed by one handle can be had by the other, at once and to the last block; and hints of what is gone do no harm. */
static void nothing_is_kept(const char *name, uint64_t smallest, uint64_t largest, size_t size)
{
	const char *path = support_path(name);
	shmbuddy_t *one = buddy_open(path, 256 * KIB, smallest, largest), *other = buddy_open(path, 0, 0, 0);
	size_t all = 256 * KIB / size, freed = 0;
	shm_offt *blocks = g_new(shm_offt, all + 1);
	struct support_rand rand;

	support_rand_seed(&rand, size);
	g_assert_cmpuint(buddy_fill(one, size, blocks, all + 1), ==, all);
	for (size_t round = 0; round < support_scale(200); round++) {
		be_full(one, size);
		for (freed = 0; freed < all && freed <= round; freed++) {
			size_t k = freed + support_rand_below(&rand, all - freed);
			shm_offt block = blocks[k];

			blocks[k] = blocks[freed];
			blocks[freed] = block;
			g_assert_cmpint(shmbuddy_free(one, block), ==, 0);
		}
		g_assert_cmpuint(buddy_fill(other, size, blocks, freed), ==, freed);
	}
	for (size_t k = 0; k < all; k++)
		g_assert_cmpint(shmbuddy_free(k % 2 ? one : other, blocks[k]), ==, 0);
	g_free(blocks);
	buddy_is_empty(one);
	buddy_close(other);
	buddy_close(one);
	unlink(path);
}

static void handles_share(void)
{
	nothing_is_kept("keep-flat", 32, 1024, 32);
	nothing_is_kept("keep-words", 32, 1024, 1024);
	nothing_is_kept("keep-stacked", 16, 256 * KIB, 16);
	nothing_is_kept("keep-upper", 16, 256 * KIB, 1024);
	nothing_is_kept("keep-large", 16, 256 * KIB, 32 * KIB);
}

/* A copy is checked before it is used; every size, also those without hints, is what it was. */
static void in_a_copy(void)
{
	const char *path = support_path("original"), *copy = support_path("copy");
	shmbuddy_t *region = buddy_open(path, 64 * KIB, 16, 64 * KIB);
	gchar *bytes;
	gsize length;

	g_assert_cmpint(shmbuddy_sync(region), ==, 0);
	buddy_close(region);
	g_assert_true(g_file_get_contents(path, &bytes, &length, NULL));
	g_assert_true(g_file_set_contents(copy, bytes, (gssize)length, NULL));
	g_free(bytes);
	region = buddy_open(copy, 0, 0, 0);
	for (size_t turn = 0; turn < 3; turn++) {
		for (size_t size = 16; size <= 64 * KIB; size *= 2) {
			shm_offt block = shmbuddy_malloc(region, size);

			g_assert_cmpuint(shmbuddy_usable_size(region, block), ==, size);
			g_assert_cmpint(shmbuddy_free(region, block), ==, 0);
			buddy_is_empty(region);
		}
	}
	buddy_close(region);
}

/* --- fork --- */

struct family {
	shmbuddy_t *region;
	size_t *taken;
	struct support_barrier *barrier;
	shm_offt blocks[4096];
};

static void take_what_there_is(struct family *family, size_t who)
{
	size_t count;

	support_barrier_wait(family->barrier);
	count = buddy_fill(family->region, 32, family->blocks, G_N_ELEMENTS(family->blocks));
	for (size_t i = 0; i < count; i++)
		name_it(family->region, family->blocks[i], who);
	support_barrier_wait(family->barrier);
	for (size_t i = 0; i < count; i++)
		g_assert_cmpuint(name_of(family->region, family->blocks[i]), ==, who);
	family->taken[who] = count;
}

static int take_in_child(void *arg)
{
	take_what_there_is(arg, 1);
	return 0;
}

/* The child has its parent's memory, and so the same hints; what they say is taken by one of the two. */
static void after_fork(void)
{
	static struct family family; /* Static: the child has it at its end, too. */
	const char *path = support_path("family");

	for (size_t round = 0; round < support_scale(20); round++) {
		shmbuddy_t *region = buddy_open(path, 128 * KIB, 32, round % 2 ? 1024 : 128 * KIB);
		pid_t child;

		family.region = region;
		family.taken = support_shared(2 * sizeof(size_t));
		family.barrier = support_barrier_new(2);
		g_assert_cmpuint(buddy_fill(region, 32, family.blocks, 4096), ==, 4096);
		for (size_t i = 0; i < 4096; i++)
			g_assert_cmpint(shmbuddy_free(region, family.blocks[i]), ==, 0);
		child = support_fork(take_in_child, &family);
		take_what_there_is(&family, 0);
		support_wait_ok(child);
		g_assert_cmpuint(family.taken[0] + family.taken[1], ==, 4096);
		buddy_free_all(region);
		buddy_is_empty(region);
		buddy_close(region);
		unlink(path);
	}
}

/* --- empty words --- */

static int free_a_third(shm_offt offset, size_t size, void *arg)
{
	static size_t count;

	(void)size;
	return count++ % 3 ? 0 : shmbuddy_free(arg, offset);
}

static int free_and_leave(void *region)
{
	return shmbuddy_walk(region, free_a_third, region);
}

/* Children free, each a third of what there is, and are gone with all that they remember; then the largest block is there at once. */
static void empty_words_merge(void)
{
	static const size_t sizes[] = { 16, 100, 512, 3000 };
	const char *path = support_path("merge");

	for (size_t k = 0; k < G_N_ELEMENTS(sizes); k++) {
		shmbuddy_t *region = buddy_open(path, 64 * KIB, 16, 64 * KIB);
		shm_offt *blocks = g_new(shm_offt, 4097), block;

		g_assert_cmpuint(buddy_fill(region, sizes[k], blocks, 4097), >, 0);
		for (size_t i = 0; i < 3; i++)
			support_run_child(free_and_leave, region);
		be_full(region, 64 * KIB);
		buddy_free_all(region);
		g_assert_cmpuint(buddy_stats(region).largest_free, ==, 64 * KIB);
		block = shmbuddy_malloc(region, 64 * KIB);
		g_assert_cmpuint(block, !=, SHM_NULL);
		g_assert_cmpint(shmbuddy_free(region, block), ==, 0);
		buddy_close(region);
		g_free(blocks);
		unlink(path);
	}
}

/* Small and large in turn: the words that small ones leave open never stand in the way of a large one. */
static void small_and_large(void)
{
	shmbuddy_t *region = buddy_open(support_path("turns"), MIB, 16, MIB);
	struct support_rand rand;
	shm_offt blocks[300], large;

	support_rand_seed(&rand, 2);
	for (size_t round = 0; round < support_scale(300); round++) {
		size_t count = support_rand_between(&rand, 1, G_N_ELEMENTS(blocks));

		for (size_t i = 0; i < count; i++)
			blocks[i] = shmbuddy_malloc(region, support_rand_between(&rand, 1, 2000));
		be_full(region, MIB);
		for (size_t i = 0; i < count; i++)
			g_assert_cmpint(shmbuddy_free(region, blocks[i]), ==, 0);
		large = shmbuddy_malloc(region, MIB);
		g_assert_cmpuint(large, !=, SHM_NULL);
		g_assert_cmpint(shmbuddy_free(region, large), ==, 0);
	}
	buddy_close(region);
}

/* --- threads --- */

static void replace_in_thread(struct support_thread *self)
{
	shmbuddy_t *region = self->arg;
	struct support_rand rand;
	shm_offt blocks[20] = { 0 };

	support_rand_seed(&rand, self->index);
	for (size_t step = 0; step < support_scale(4000); step++) {
		size_t k = support_rand_below(&rand, 20);

		replace(region, &blocks[k], support_rand_between(&rand, 16, 1000),
			(self->index * 20 + k) << 8 | step % 200);
	}
	for (size_t k = 0; k < 20; k++)
		g_assert_cmpint(shmbuddy_free(region, blocks[k]), ==, 0);
}

/* More threads than there are places, twice: some share one. */
static void many_threads(void)
{
	shmbuddy_t *flat = buddy_open(support_path("threads-flat"), 4 * MIB, 32, 1024);
	shmbuddy_t *stacked = buddy_open(support_path("threads-stacked"), 4 * MIB, 16, 4 * MIB);

	for (size_t round = 0; round < 2; round++) {
		support_threads(THREADS, replace_in_thread, flat);
		support_threads(THREADS, replace_in_thread, stacked);
	}
	buddy_is_empty(flat);
	buddy_is_empty(stacked);
	buddy_close(flat);
	buddy_close(stacked);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/hints/several-handles", several_handles);
	support_add("/shmbuddy/hints/handles-share-room", handles_share);
	support_add("/shmbuddy/hints/in-a-copy", in_a_copy);
	support_add("/shmbuddy/hints/after-fork", after_fork);
	support_add("/shmbuddy/hints/empty-words-merge", empty_words_merge);
	support_add("/shmbuddy/hints/small-and-large", small_and_large);
	support_add("/shmbuddy/hints/many-threads", many_threads);
	return support_run();
}
