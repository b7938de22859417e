/* SPDX-License-Identifier: BSD-3-Clause */
/* Wild stores into a region that is open: whatever a word says, no call leaves the area, and none makes the file shorter. */
#include <fcntl.h>
#include <sys/mman.h>

#include "tests/support/support_buddy.h"

struct words {
	shmbuddy_t *region;
	struct shmbuddy_stats stats;
	uint64_t *first; /* All that is not the area, and not the header. */
	size_t count;
	char *image; /* As it was. */
	char *base;
};

static void begin(struct words *w, const char *path, uint64_t capacity, uint64_t smallest, uint64_t largest)
{
	shm_offt block;

	w->region = buddy_open(path, capacity, smallest, largest);
	for (uint64_t size = smallest; size <= largest; size *= 2)
		for (int i = 0; i < 2; i++) {
			block = shmbuddy_malloc(w->region, size);
			if (block && i)
				shmbuddy_free(w->region, block);
		}
	g_assert_cmpint(shmbuddy_stats(w->region, &w->stats), ==, 0);
	w->base = shmbuddy_base(w->region);
	w->first = (uint64_t *)(void *)(w->base + 4096);
	w->count = (w->stats.region_bytes - w->stats.capacity - 4096) / 8;
	w->image = g_memdup2(w->first, w->count * 8);
}

static void end(struct words *w)
{
	memcpy(w->first, w->image, w->count * 8);
	g_free(w->image);
	g_assert_cmpint(shmbuddy_check(w->region, NULL, NULL), ==, 0);
	g_assert_cmpint(shmbuddy_close(w->region), ==, 0);
}

static void require_inside(const struct words *w, shm_offt at, uint64_t bytes)
{
	if (at) {
		g_assert_cmpuint(at, >=, w->stats.region_bytes - w->stats.capacity);
		g_assert_cmpuint(at + bytes, <=, w->stats.region_bytes);
	}
}

/* Each offset that a block could have, and each size. What realloc gives back is inside, and so is all that it copied from. */
static void try_all(const struct words *w, uint64_t step)
{
	for (uint64_t at = w->stats.region_bytes - w->stats.capacity; at < w->stats.region_bytes; at += step) {
		uint64_t size = shmbuddy_usable_size(w->region, (shm_offt)at);

		require_inside(w, (shm_offt)at, size);
		if (size > step)
			require_inside(w, shmbuddy_realloc(w->region, (shm_offt)at, size * 2), size * 2);
	}
	for (uint64_t size = w->stats.smallest; size <= w->stats.largest; size *= 2)
		require_inside(w, shmbuddy_calloc(w->region, 1, size), size);
}

static void each_word(uint64_t capacity, uint64_t smallest, uint64_t largest)
{
	static const uint64_t values[] = {
		0,
		1,
		UINT64_MAX,
		UINT64_C(0x100000000),
		UINT64_C(0x1000000030),
		UINT64_C(0x1ffffffff),
		UINT64_C(0x1ff),
		0x1ff00,
		0x10100,
		0xff01ff,
		UINT64_C(0xffffffff00000000),
	};
	const char *path = support_path("words");
	struct words w;

	begin(&w, path, capacity, smallest, largest);
	for (size_t i = 0; i < w.count; i += support_size(1, 5)) {
		if (w.first[i] == 0 && i % 8 && i % 7)
			continue;
		for (size_t v = 0; v < G_N_ELEMENTS(values); v++) {
			memcpy(w.first, w.image, w.count * 8);
			w.first[i] = values[v];
			try_all(&w, smallest);
			memcpy(w.first, w.image, w.count * 8);
			w.first[i] ^= values[v];
			try_all(&w, smallest);
		}
	}
	g_assert_cmpint(support_file_size(path), ==, (off_t)w.stats.region_bytes);
	end(&w);
	unlink(path);
}

/* Areas that end within a word, and within a block of each size. */
static void blocks_end_in_the_area(void)
{
	each_word(3 * 65536, 65536, 131072);
	each_word(5 * 65536, 65536, 262144);
	each_word(100 * 256, 256, 16384);
}

/* The area's end moves by one word of the header. */
static void length_is_not_believed(void)
{
	static const uint64_t lies[] = { 0, 1, 4096, 65536, 1 << 20, 3 << 20, UINT64_C(1) << 40, UINT64_MAX };
	const char *path = support_path("length");
	const struct shmbuddy_options options = { .capacity = MIB, .smallest = 64, .largest = 65536, .range = 8 * MIB };

	for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
		shmbuddy_t *region = shmbuddy_open(path, &options);
		int fd = open(path, O_RDWR | O_CLOEXEC);
		off_t before;
		size_t blocks = 0;

		g_assert_nonnull(region);
		g_assert_cmpint(shmbuddy_grow(region, 2 * MIB), ==, 0);
		before = support_file_size(path);
		g_assert_cmpint(pwrite(fd, &lies[i], 8, 192), ==, 8);
		while (shmbuddy_calloc(region, 1, 4096))
			blocks++;
		g_assert_cmpuint(blocks, >, 256);
		shmbuddy_grow(region, 3 * MIB);
		while (shmbuddy_calloc(region, 1, 4096))
			;
		g_assert_cmpint(support_file_size(path), >=, before);
		close(fd);
		g_assert_cmpint(shmbuddy_close(region), ==, 0);
		unlink(path);
	}
}

static void kernel_files_are_left_alone(void)
{
	char *before, *after;
	size_t size;

	before = support_file_read("/proc/self/comm", &size);
	buddy_fails(EMEDIUMTYPE, shmbuddy_open("/proc/self/comm", NULL) == NULL);
	after = support_file_read("/proc/self/comm", &size);
	g_assert_cmpstr(before, ==, after);
	g_free(before);
	g_free(after);
}

/* Its kind reads as another one there: who unlinks regions must not take it for one. */
static void byte_order_is_seen_first(void)
{
	const char *path = support_path("order");
	static const uint32_t swapped[] = { 0x04000000, 0x01000000 }, order = 0x04030201;
	int fd;

	g_assert_cmpint(shmbuddy_close(buddy_open(path, MIB, 0, 0)), ==, 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	g_assert_cmpint(pwrite(fd, swapped, 8, 8), ==, 8);
	g_assert_cmpint(pwrite(fd, &order, 4, 40), ==, 4);
	close(fd);
	buddy_fails(ENOEXEC, shmbuddy_open(path, NULL) == NULL);
	buddy_fails(ENOEXEC, shmbuddy_unlink(path) < 0);
	g_assert_cmpint(access(path, F_OK), ==, 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/words/blocks-end-in-the-area", blocks_end_in_the_area);
	support_add("/shmbuddy/words/length", length_is_not_believed);
	support_add("/shmbuddy/words/kernel-files", kernel_files_are_left_alone);
	support_add("/shmbuddy/words/byte-order-first", byte_order_is_seen_first);
	return support_run();
}
