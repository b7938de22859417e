/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A signal at every instruction of a call, whose handler makes the same calls in the same region.
 */
#include <shm_alloc.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_trap.h"

#define HELD 16

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

/* Three thousand instructions, and each turn steps through those before the signal: with all of them it would be five minutes. */
static void race_at_instructions(bool lower)
{
	size_t step = support_stride(97) == 1 ? 5 : 97;
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
	race_at_instructions(false);
	race_at_instructions(true);
	buddy_close(race.region);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/signals/shm-malloc", original);
	support_add("/shmbuddy/signals/stacked", stacked);
	support_add("/shmbuddy/signals/casroot", casroot);
	return support_run();
}
