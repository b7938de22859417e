/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A signal at every instruction of a call, whose handler makes the same calls in the same region; and how many instructions a call takes.
 */
#include <shm_alloc.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_trap.h"

#define HELD     16
#define MEASURED 16

/* What the handler holds; it gives one back and takes another, and looks whether they are as it left them. */
static struct {
	shmbuddy_t *region; /* NULL: the default one, by shm_malloc and shm_free. */
	shm_offt held[HELD];
	size_t largest;
	uint64_t signals, taken, refused, wrong;
} hand;

static volatile size_t instructions;

/*
 * The handler acts after the instruction of this number, once: if it did so again and again within one search, it would take
 * each word that the search finds before the search comes to it, and nobody but the handler would get anything done.
 */
static volatile size_t act_at;
static volatile bool acted;

static void *address(shm_offt offset)
{
	return hand.region ? shmbuddy_address(hand.region, offset) : SHM_OFFT_TO_ADDR(offset);
}

static void *name_of(size_t i, uint64_t turn)
{
	return (void *)(uintptr_t)(turn << 8 | i);
}

static void on_signal(int sig)
{
	size_t i = hand.signals % HELD, size = (hand.signals * 2654435761u >> 8) % hand.largest + 1;
	static void *expected[HELD];
	int saved = errno;

	(void)sig;
	if (instructions++ < act_at || acted)
		return;
	acted = true;
	hand.signals++;
	if (hand.held[i]) {
		hand.wrong += memcmp(address(hand.held[i]), &expected[i], sizeof(void *)) != 0;
		if (hand.region)
			hand.wrong += shmbuddy_free(hand.region, hand.held[i]) != 0;
		else
			shm_free(hand.held[i]);
	}
	hand.held[i] = hand.region ? shmbuddy_malloc(hand.region, size) : shm_malloc(size);
	hand.taken += hand.held[i] != SHM_NULL;
	hand.refused += hand.held[i] == SHM_NULL;
	if (hand.held[i]) {
		expected[i] = name_of(i, hand.signals);
		memcpy(address(hand.held[i]), &expected[i], sizeof(void *));
	}
	errno = saved;
}

static void let_go(void)
{
	for (size_t i = 0; i < HELD; i++) {
		if (hand.held[i] && hand.region)
			g_assert_cmpint(shmbuddy_free(hand.region, hand.held[i]), ==, 0);
		else if (hand.held[i])
			shm_free(hand.held[i]);
		hand.held[i] = SHM_NULL;
	}
	g_assert_cmpuint(hand.wrong, ==, 0);
	g_assert_cmpuint(hand.taken, >, 0);
	g_test_message("%" G_GUINT64_FORMAT " signals, %" G_GUINT64_FORMAT " blocks taken in them, %" G_GUINT64_FORMAT
		       " refused",
		       (guint64)hand.signals, (guint64)hand.taken, (guint64)hand.refused);
}

static void begin(shmbuddy_t *region, size_t largest)
{
	memset(&hand, 0, sizeof(hand));
	hand.region = region;
	hand.largest = largest;
}

/*
 * The call again and again, with the handler one instruction later each time, up to its end. A long one's instructions are sampled, from
 * a random one on, unless MA_CRASH_ALL is set.
 */
static void at_each_instruction(const char *name, void (*call)(size_t turn), size_t step)
{
	struct support_rand rand;
	size_t turns = 0;

	support_watchdog(4 * SUPPORT_HUNG_SECONDS);
	support_rand_seed(&rand, g_str_hash(name));
	step = support_stride(step);
	for (act_at = support_rand_below(&rand, step), acted = true; acted; act_at += step, turns++) {
		acted = false;
		instructions = 0;
		support_trap_on();
		call(turns);
		support_trap_off();
	}
	g_test_message("%s: a signal at %zu of %zu instructions", name, turns, instructions);
	g_assert_cmpuint(turns, >, 5u);
}

static void take_and_give_by_shm(size_t turn)
{
	shm_offt block = shm_malloc(100);

	hand.wrong += block == SHM_NULL;
	memset(SHM_OFFT_TO_ADDR(block), (int)turn, 100);
	shm_free(block);
}

/* Each one takes a whole word, and so must look for the next. */
static void take_whole_words(size_t turn)
{
	static shm_offt blocks[8];

	shm_free(blocks[turn % 8]);
	blocks[turn % 8] = shm_malloc(1000);
	hand.wrong += blocks[turn % 8] == SHM_NULL;
}

static int drop(shm_offt offset, size_t size, void *arg)
{
	(void)size;
	return shmbuddy_free(arg, offset);
}

static void original(void)
{
	const char *path = support_path("original");

	if (!support_trap_begin(on_signal))
		return;
	g_assert_true(shm_init(NULL, path));
	begin(NULL, 1024);
	at_each_instruction("shm_malloc and shm_free", take_and_give_by_shm, 1);
	at_each_instruction("shm_malloc of a word, shm_free", take_whole_words, 13);
	let_go();
	shm_deinit();
	hand.region = buddy_open(path, 0, 0, 0);
	buddy_check(hand.region);
	g_assert_cmpuint(buddy_stats(hand.region).used_blocks, ==, 8);
	g_assert_cmpint(shmbuddy_walk(hand.region, drop, hand.region), ==, 0);
	buddy_is_empty(hand.region);
	buddy_close(hand.region);
}

static void split_and_merge(size_t turn)
{
	shm_offt block = shmbuddy_malloc(hand.region, turn % 2 ? 16 : 2000);

	hand.wrong += block == SHM_NULL || shmbuddy_free(hand.region, block) != 0;
}

static void resize(size_t turn)
{
	shm_offt block = shmbuddy_calloc(hand.region, 10, 5), moved;

	moved = shmbuddy_realloc(hand.region, block, turn % 2 ? 100 : 1000);
	hand.wrong += block == SHM_NULL || moved == SHM_NULL || shmbuddy_free(hand.region, moved) != 0;
}

static void name_it(size_t turn)
{
	hand.wrong += shmbuddy_setroot(hand.region, "a root", turn % 2 ? hand.held[0] : SHM_NULL) != 0;
}

/* Split, merge, other sizes, resizing, roots; mending, when there is no room. */
static void stacked(void)
{
	shmbuddy_t *region = buddy_open(support_path("stacked"), 64 * KIB, 16, 64 * KIB);

	if (!support_trap_begin(on_signal))
		return;
	begin(region, 500);
	at_each_instruction("split, merge", split_and_merge, 31);
	at_each_instruction("calloc, realloc, free", resize, 31);
	at_each_instruction("setroot", name_it, 31);
	let_go();
	buddy_check(region);
	g_assert_cmpint(shmbuddy_mend(region), ==, 0);
	buddy_is_empty(region);
	buddy_close(region);
}

/* ---- two who set the same new name ---- */

static struct {
	shmbuddy_t *region;
	shm_offt outer, inner; /* What they set. */
	bool lower;            /* The handler finds a free place below that of the call. */
	int inner_won;
} race;

static void set_it_too(int sig)
{
	shm_offt expected = SHM_NULL;
	int saved = errno;

	(void)sig;
	if (instructions++ < act_at || acted)
		return;
	acted = true;
	if (race.lower)
		shmbuddy_setroot(race.region, "first place", SHM_NULL);
	race.inner_won = shmbuddy_casroot(race.region, "it", &expected, race.inner);
	errno = saved;
}

static void look_who_won(int outer_won)
{
	shm_offt root = shmbuddy_getroot(race.region, "it");

	g_assert_true(outer_won >= 0 && race.inner_won >= 0);
	g_assert_cmpint(outer_won + race.inner_won, ==, 1);
	g_assert_cmpuint(root, ==, outer_won ? race.outer : race.inner);
	g_assert_cmpint(shmbuddy_setroot(race.region, "it", SHM_NULL), ==, 0);
	buddy_fails(ENOENT, shmbuddy_getroot(race.region, "it") == SHM_NULL);
}

static void race_at_each_instruction(bool lower)
{
	const char *all = getenv("MA_CRASH_ALL");
	size_t step = all && strcmp(all, "0") != 0 ? 1 : 97;
	struct support_rand rand;
	int inner = 0, outer = 0;

	support_watchdog(4 * SUPPORT_HUNG_SECONDS);
	support_rand_seed(&rand, lower);
	race.lower = lower;
	for (act_at = support_rand_below(&rand, step), acted = true; acted; act_at += step) {
		shm_offt expected = SHM_NULL;
		int outer_won;

		g_assert_cmpint(shmbuddy_setroot(race.region, "first place", race.outer), ==, 0);
		race.inner_won = 0;
		acted = false;
		instructions = 0;
		support_trap_on();
		outer_won = shmbuddy_casroot(race.region, "it", &expected, race.outer);
		support_trap_off();
		outer += outer_won;
		inner += race.inner_won;
		look_who_won(outer_won);
	}
	g_test_message("the call set the name %d times, the handler %d times", outer, inner);
	g_assert_true(outer > 0 && inner > 1); /* Nobody interrupts the last one. */
}

static void casroot(void)
{
	if (!support_trap_begin(set_it_too))
		return;
	race.region = buddy_open(support_path("casroot"), 64 * KIB, 32, 1024);
	race.outer = shmbuddy_malloc(race.region, 32);
	race.inner = shmbuddy_malloc(race.region, 32);
	race_at_each_instruction(false);
	race_at_each_instruction(true);
	buddy_close(race.region);
}

static void count(int sig)
{
	(void)sig;
	instructions++;
}

static size_t cost(shmbuddy_t *region, size_t size, shm_offt *block)
{
	instructions = 0;
	support_trap_on();
	*block = shmbuddy_malloc(region, size);
	support_trap_off();
	return instructions;
}

struct figures {
	size_t sum, most;
};

/* Blocks taken and given at random; half of them are measured. */
static struct figures measure(shmbuddy_t *region, shm_offt *blocks, size_t live, struct support_rand *rand, size_t size)
{
	struct figures figures = { 0 };

	for (size_t i = 0; i < MEASURED; i++) {
		size_t k = support_rand_below(rand, live), n;

		g_assert_cmpint(shmbuddy_free(region, blocks[k]), ==, 0);
		n = cost(region, size, &blocks[k]);
		g_assert_cmpuint(blocks[k], !=, SHM_NULL);
		figures.sum += n;
		figures.most = MAX(figures.most, n);
	}
	return figures;
}

/* From a tenth to 99 hundredths of the region; the cost of a malloc stays what it is. */
static void fill_costs_nothing(const char *name, uint64_t capacity, uint64_t largest, size_t size)
{
	shmbuddy_t *region = buddy_open(support_path(name), capacity, 32, largest);
	size_t all = capacity / size, live = 0;
	shm_offt *blocks = g_new(shm_offt, all);
	struct figures first = { 0 }, last = { 0 };
	struct support_rand rand;

	support_rand_seed(&rand, size);
	for (unsigned percent = 10; percent <= 99; percent += percent == 10 ? 40 : 49) {
		/* Whole words, so that what is freed below must be searched for. */
		while (live < all * percent / 100 / 128 * 128)
			g_assert_cmpuint(blocks[live++] = shmbuddy_malloc(region, size), !=, SHM_NULL);
		last = measure(region, blocks, live, &rand, size);
		support_watchdog(4 * SUPPORT_HUNG_SECONDS);
		if (percent == 10)
			first = last;
		g_test_message("%s: %u %% full: %zu instructions a malloc, %zu at most", name, percent,
			       last.sum / MEASURED, last.most);
	}
	/* A scan of the words would take over a hundred thousand. */
	g_assert_cmpuint(last.sum / MEASURED, <, first.sum / MEASURED + 3000);
	g_assert_cmpuint(last.most, <, 20000);
	buddy_free_all(region);
	buddy_is_empty(region);
	buddy_close(region);
	g_free(blocks);
}

/*
 * Nearly full, and much was taken and given in turn, which leaves listings of what is taken again. Another handle, which has no hints, takes
 * what was freed: it comes by those listings, and takes them off, but never by more of them than there were frees.
 */
static void listings_are_paid_for(const char *name, uint64_t capacity, uint64_t largest, size_t size)
{
	const char *path = support_path(name);
	shmbuddy_t *region = buddy_open(path, capacity, 32, largest), *other = buddy_open(path, 0, 0, 0);
	size_t all = capacity / size, live = all * 99 / 100, sum = 0, turns = 5000;
	shm_offt *blocks = g_new(shm_offt, all);
	struct support_rand rand;

	support_rand_seed(&rand, size + 1);
	g_assert_cmpuint(buddy_fill(region, size, blocks, live), ==, live);
	for (size_t i = 0; i < turns; i++) {
		size_t k = support_rand_below(&rand, live);

		g_assert_cmpint(shmbuddy_free(region, blocks[k]), ==, 0);
		g_assert_cmpuint(blocks[k] = shmbuddy_malloc(region, size), !=, SHM_NULL);
	}
	for (size_t i = 0; i < MEASURED; i++) {
		size_t k = support_rand_below(&rand, live);

		g_assert_cmpint(shmbuddy_free(region, blocks[k]), ==, 0);
		sum += cost(other, size, &blocks[k]);
		g_assert_cmpuint(blocks[k], !=, SHM_NULL);
	}
	g_test_message("%s: %zu instructions for %u mallocs after %zu turns", name, sum, MEASURED, turns);
	g_assert_cmpuint(sum, <, turns * 500 + MEASURED * 3000);
	support_watchdog(4 * SUPPORT_HUNG_SECONDS);
	buddy_free_all(region);
	buddy_is_empty(region);
	buddy_close(other);
	buddy_close(region);
	g_free(blocks);
}

static void costs(void)
{
	if (!support_trap_begin(count))
		return;
	fill_costs_nothing("flat, 32 bytes", 16 * MIB, 1024, 32);
	fill_costs_nothing("flat, 1024 bytes", 64 * MIB, 1024, 1024);
	fill_costs_nothing("stacked, 32 bytes", 16 * MIB, 16 * MIB, 32);
	fill_costs_nothing("stacked, 8 KiB", 64 * MIB, MIB, 8 * KIB);
	listings_are_paid_for("listed, flat, 32 bytes", 4 * MIB, 1024, 32);
	if (support_stride(2) == 1) /* Two million instructions, each a signal: half a minute. */
		listings_are_paid_for("listed, flat, 1024 bytes", 64 * MIB, 1024, 1024);
	else
		g_test_message("listings of 1024 bytes: with MA_CRASH_ALL only");
	listings_are_paid_for("listed, stacked, 32 bytes", 4 * MIB, 4 * MIB, 32);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/signals/shm-malloc", original);
	support_add("/shmbuddy/signals/stacked", stacked);
	support_add("/shmbuddy/signals/casroot", casroot);
	support_add("/shmbuddy/signals/fill-costs-nothing", costs);
	return support_run();
}
