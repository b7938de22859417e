/* SPDX-License-Identifier: BSD-3-Clause */
/* Which places of a checkpoint file are free, beside a list that is looked through from its start each time. */
#include "common/pagetable.h"
#include "tests/support/support.h"

#define PLACES 3000
#define ROUNDS 20000

static bool used[PLACES];

static uint64_t lowest(uint64_t count, uint64_t end)
{
	for (uint64_t first = 0, run = 0; first + count <= end; first += run + 1) {
		run = 0;
		while (run < count && !used[first + run])
			run++;
		if (run == count)
			return first;
	}
	return 0;
}

static void mark(uint64_t first, uint64_t count, bool as)
{
	for (uint64_t i = first; i < first + count; i++)
		used[i] = as;
}

/* The lowest run, single places and long ones, as they are taken and freed. */
static void same_as_a_list(void)
{
	struct ma_places places = { 0 };
	struct support_rand r;

	support_rand_seed(&r, 1);
	g_assert_true(ma_places_use(&places, 0, 2));
	mark(0, 2, true);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t count =
			support_rand_below(&r, 3) ? 1 + support_rand_below(&r, 3) : 1 + support_rand_below(&r, 150);
		uint64_t end = 200 + support_rand_below(&r, PLACES - 400), first = support_rand_below(&r, PLACES - 200);

		if (support_rand_below(&r, 2)) {
			uint64_t wanted = lowest(count, end);

			first = ma_places_take_below(&places, count, end);
			g_assert_cmpuint(first, ==, wanted);
			if (first)
				mark(first, count, true);
		} else if (first >= 2) {
			ma_places_free(&places, first, count);
			mark(first, count, false);
		}
	}
	ma_places_clear(&places);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/common/places/same-as-a-list", same_as_a_list);
	return support_run();
}
