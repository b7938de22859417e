/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mixtures of old and new words, as a capture copies them, but slowly, while other processes split, merge and grow: each becomes a region whose
 * whole check passes, with all blocks that stayed. White-box: settle.c by itself.
 */
#include <handle.h>
#include <sys/mman.h>

#include "tests/support/support_cut.h"

#define MIXTURES 12
#define STAY     300
#define COUNT    400

struct scene {
	const char *path;
	uint64_t range;
	shm_offt stay[STAY];
	size_t bytes[STAY];
};

static int work(void *arg)
{
	const struct scene *scene = arg;
	shmbuddy_t *region = open_again(scene->path, false);
	size_t smallest = buddy_stats(region).smallest, largest = MIN(buddy_stats(region).largest, 256 * 1024);
	shm_offt block[COUNT];

	for (size_t size = smallest;; size = size >= largest ? smallest : size * 8) {
		size_t count = MAX(4, MIN(COUNT, MIB / size));

		for (size_t i = 0; i < count; i++)
			block[i] = shmbuddy_malloc(region, size);
		for (size_t i = 0; i < count; i++)
			shmbuddy_free(region, block[i]);
	}
	return 0;
}

/* What comes is used at once, and stays so. */
static int grow(void *arg)
{
	const struct scene *scene = arg;
	shmbuddy_t *region = open_again(scene->path, false);
	uint64_t capacity = buddy_stats(region).capacity, step = scene->range / 4000;

	for (; capacity < scene->range; capacity += step + 16) {
		g_assert_cmpint(shmbuddy_grow(region, MIN(scene->range, capacity)), ==, 0);
		for (unsigned i = 0; i < 8; i++)
			shmbuddy_malloc(region, step / 8);
		support_sleep_us(500);
	}
	for (;;)
		pause();
	return 0;
}

/*
 * All but the blocks, in the order of addresses, each word whole; with the length of the beginning. Most time passes where a capture goes from the
 * length to the crown, and from there to the parts. Returns the copy.
 */
static void *mix(shmbuddy_t *region, const char *path, uint64_t *area, struct support_rand *rand)
{
	const _Atomic uint64_t *from = (const _Atomic uint64_t *)shmbuddy_base(region);
	uint64_t length = ma_load_acquire(&region_header(region)->length), end = region->lay.area_at / 8;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint64_t *to;

	*area = shmbuddy__layout_area(&region->lay, length);
	g_assert_cmpint(ftruncate(fd, (off_t)length), ==, 0);
	to = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	g_assert_true(to != MAP_FAILED);
	close(fd);
	for (uint64_t i = 0; i < end; i++) {
		uint64_t word = ma_load_acquire(&from[i]);

		if (i == LAYOUT_CONTROL / 8 || i == region->lay.meta_at / 8)
			support_sleep_us((unsigned)support_rand_below(rand, 20000));
		if (i % 64 == 0 && word && support_rand_below(rand, 20) == 0)
			support_sleep_us((unsigned)support_rand_below(rand, 30));
		if (word)
			to[i] = word;
	}
	ma_store(&((struct ma_header *)(void *)to)->length, length);
	return to;
}

static void settle(const struct shmbuddy *region, const char *path, void *at, uint64_t area)
{
	struct shmbuddy *copy = g_new0(struct shmbuddy, 1);

	copy->lay = region->lay;
	copy->base = at;
	copy->fd = open(path, O_RDWR | O_CLOEXEC);
	ma_store(&copy->area, area);
	shmbuddy__handle_point(copy);
	shmbuddy__settle(copy);
	close(copy->fd);
	g_free(copy);
}

static bool is_consistent(const char *path)
{
	shmbuddy_t *region = shmbuddy_open(path, &(struct shmbuddy_options){ .flags = SHMBUDDY_RDONLY });

	if (!region)
		g_assert_cmpint(errno, ==, EUCLEAN);
	else
		buddy_close(region);
	return region;
}

static void look(const char *path, const struct scene *scene)
{
	shmbuddy_t *region = open_again(path, false);

	for (unsigned i = 0; i < STAY; i++)
		g_assert_cmpuint(shmbuddy_usable_size(region, scene->stay[i]), ==, scene->bytes[i]);
	for (unsigned i = 0; i < STAY; i++)
		g_assert_cmpint(shmbuddy_free(region, scene->stay[i]), ==, 0);
	while (shmbuddy_malloc(region, 4096) != SHM_NULL)
		;
	buddy_free_all(region);
	if (buddy_stats(region).largest <= buddy_stats(region).capacity)
		buddy_is_empty(region);
	buddy_close(region);
}

/* Returns how many mixtures were none but for being settled. */
static unsigned mix_all(shmbuddy_t *region, const struct scene *scene)
{
	const char *copy = support_path("copy");
	struct support_rand rand;
	unsigned mixed = 0;

	support_rand_seed(&rand, 1);
	for (size_t i = 0; i < support_scale(MIXTURES); i++) {
		uint64_t area;
		void *at = mix(region, copy, &area, &rand);

		mixed += !is_consistent(copy);
		settle(region, copy, at, area);
		munmap(at, region->lay.area_at + area);
		if (!is_consistent(copy))
			g_error("mixture %zu: %s", i, shmbuddy_errmsg());
		look(copy, scene);
		unlink(copy);
	}
	return mixed;
}

static void of_shape(const struct shmbuddy_options *shape)
{
	struct scene *scene = support_shared(sizeof(*scene));
	struct support_rand rand;
	shmbuddy_t *region;
	unsigned mixed;
	pid_t pids[3];

	support_rand_seed(&rand, 2);
	scene->path = support_path("region");
	scene->range = shape->range;
	region = shmbuddy_open(scene->path, shape);
	for (unsigned i = 0; i < STAY; i++) {
		size_t size = support_rand_between(&rand, 1, MIN(buddy_stats(region).largest, 4096));

		scene->stay[i] = shmbuddy_malloc(region, size);
		scene->bytes[i] = shmbuddy_usable_size(region, scene->stay[i]);
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(pids); i++)
		pids[i] = support_fork(i ? work : grow, scene);
	mixed = mix_all(region, scene);
	for (unsigned i = 0; i < G_N_ELEMENTS(pids); i++)
		g_assert_true(support_kill(pids[i]));
	g_test_message("%u were a mixture", mixed);
	buddy_close(region);
}

static void levels(void)
{
	of_shape(&shapes[2]);
}

static void growing(void)
{
	of_shape(&shapes[3]);
}

static void large_blocks(void)
{
	of_shape(&shapes[4]);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/model/settle/levels", levels);
	support_add("/model/settle/growing", growing);
	support_add("/model/settle/large-blocks", large_blocks);
	return support_run();
}
