/* SPDX-License-Identifier: BSD-3-Clause */
/* Each call of shmbuddy.h on small regions in files, whose blocks are counted and compared byte by byte. */
#include <fcntl.h>
#include <sys/mman.h>

#include "tests/support/support_buddy.h"

static const struct range {
	uint64_t capacity, smallest, largest;
} ranges[] = {
	{ 64 * KIB, 32, 1024 },  { 64 * KIB, 32, 32 },     { 64 * KIB, 16, 64 },          { 64 * KIB, 16, 64 * KIB },
	{ 4096, 32, 1024 },      { 4096, 16, 4096 },       { 100 * 1024, 32, 64 * KIB },  { 3 * MIB + 4096, 64, MIB },
	{ 16 * MIB, 4096, MIB }, { 8 * MIB, 16, 8 * MIB }, { 256 * MIB, MIB, 128 * MIB },
};

/* Regions of every shape: all sizes, at both ends; everything is dealt out, once; and comes back whole. */
static void one_range(const struct range *range)
{
	const char *path = support_path("range");
	shmbuddy_t *region = buddy_open(path, range->capacity, range->smallest, range->largest);
	struct shmbuddy_stats stats = buddy_stats(region);

	g_assert_cmpuint(stats.capacity, >=, range->capacity);
	g_assert_cmpuint(stats.smallest, ==, range->smallest);
	g_assert_cmpuint(stats.largest, ==, range->largest);
	for (uint64_t size = range->smallest; size <= range->largest; size *= 2) {
		size_t most = stats.capacity / size, count;
		shm_offt *blocks = g_new(shm_offt, most + 1);

		if (most > support_scale(70000)) {
			g_free(blocks);
			continue;
		}
		count = buddy_fill(region, size - (size > range->smallest ? size / 2 - 1 : 0), blocks, most + 1);
		g_assert_cmpuint(count, ==, most);
		g_assert_cmpint(errno, ==, ENOMEM);
		for (size_t i = 0; i < count; i++) {
			char *at = shmbuddy_address(region, blocks[i]);

			g_assert_cmpuint(shmbuddy_usable_size(region, blocks[i]), ==, size);
			g_assert_cmpuint((uintptr_t)at % MIN(size, 2 * MIB), ==, 0u);
			memcpy(at, &blocks[i], sizeof(blocks[i]));
		}
		g_assert_cmpuint(buddy_stats(region).used_bytes, ==, count * size);
		buddy_check(region);
		for (size_t i = 0; i < count; i++) {
			g_assert_true(memcmp(shmbuddy_address(region, blocks[i]), &blocks[i], sizeof(blocks[i])) == 0);
			g_assert_cmpint(shmbuddy_free(region, blocks[i]), ==, 0);
		}
		buddy_check(region);
		buddy_is_empty(region);
		g_free(blocks);
	}
	buddy_close(region);
	unlink(path);
}

static void all_ranges(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(ranges); i++) {
		support_watchdog(SUPPORT_HUNG_SECONDS);
		one_range(&ranges[i]);
	}
}

struct live {
	shm_offt at;
	size_t size;
	unsigned char mark;
};

static void mark(shmbuddy_t *region, struct live *live, unsigned char value)
{
	live->mark = value;
	memset(shmbuddy_address(region, live->at), value, live->size);
}

static void verify(shmbuddy_t *region, const struct live *live, size_t bytes)
{
	const unsigned char *at = shmbuddy_address(region, live->at);

	for (size_t i = 0; i < bytes; i++)
		g_assert_cmpuint(at[i], ==, live->mark);
}

static void one_step(shmbuddy_t *region, struct live *live, struct support_rand *rand, size_t largest)
{
	size_t size = support_rand_below(rand, support_rand_below(rand, largest) + 1) + 1;

	if (live->at == SHM_NULL) {
		live->size = size;
		live->at =
			support_rand_below(rand, 4) ? shmbuddy_malloc(region, size) : shmbuddy_calloc(region, 1, size);
	} else if (support_rand_below(rand, 3) == 0) {
		shm_offt to;

		verify(region, live, live->size);
		to = shmbuddy_realloc(region, live->at, size);
		if (!to)
			return;
		live->at = to;
		verify(region, live, MIN(size, live->size));
		live->size = size;
	} else {
		verify(region, live, live->size);
		g_assert_cmpint(shmbuddy_free(region, live->at), ==, 0);
		live->at = SHM_NULL;
	}
	if (live->at)
		mark(region, live, (unsigned char)support_rand_next(rand));
}

/* Random calls; each block keeps its bytes; afterwards all is one again, whatever the order. */
static void random_calls(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(ranges); i++) {
		const struct range *range = &ranges[i];
		const char *path = support_path("random");
		shmbuddy_t *region = buddy_open(path, range->capacity, range->smallest, range->largest);
		struct live live[300] = { { 0 } };
		struct support_rand rand;

		support_watchdog(SUPPORT_HUNG_SECONDS);
		support_rand_seed(&rand, i);
		for (size_t step = 0; step < support_scale(20000); step++) {
			one_step(region, &live[support_rand_below(&rand, 300)], &rand, MIN(range->largest, 64 * KIB));
			if (step % 1000 == 0)
				buddy_check(region);
		}
		buddy_check(region);
		for (size_t k = 0; k < 300; k++)
			if (live[k].at)
				verify(region, &live[k], live[k].size);
		buddy_free_all(region);
		buddy_is_empty(region);
		buddy_close(region);
		unlink(path);
	}
}

static void realloc_cases(void)
{
	shmbuddy_t *region = buddy_open(support_path("realloc"), 64 * KIB, 32, 8192);
	shm_offt a = shmbuddy_realloc(region, SHM_NULL, 10), b;

	g_assert_cmpuint(shmbuddy_usable_size(region, a), ==, 32);
	g_assert_cmpuint(shmbuddy_realloc(region, a, 200), ==, a); /* its buddies are free */
	g_assert_cmpuint(shmbuddy_usable_size(region, a), ==, 256);
	g_assert_cmpuint(shmbuddy_realloc(region, a, 250), ==, a);
	strcpy(shmbuddy_address(region, a), "contents");
	b = shmbuddy_realloc(region, a, 5000);
	g_assert_cmpstr(shmbuddy_address(region, b), ==, "contents");
	g_assert_cmpuint(shmbuddy_usable_size(region, a), ==, 0);
	a = shmbuddy_realloc(region, b, 0);
	g_assert_cmpuint(shmbuddy_usable_size(region, a), ==, 32);
	g_assert_cmpstr(shmbuddy_address(region, a), ==, "contents");
	buddy_fails(ENOMEM, shmbuddy_realloc(region, a, 8193) == SHM_NULL);
	buddy_fails(EINVAL, shmbuddy_realloc(region, a + 32, 100) == SHM_NULL);
	g_assert_cmpstr(shmbuddy_address(region, a), ==, "contents");
	g_assert_cmpint(shmbuddy_free(region, a), ==, 0);
	buddy_is_empty(region);
	buddy_close(region);
}

static void calloc_cases(void)
{
	shmbuddy_t *region = buddy_open(support_path("calloc"), 64 * KIB, 32, 1024);
	static const char zeros[1024];
	shm_offt a = shmbuddy_malloc(region, 1024);

	memset(shmbuddy_address(region, a), 0xff, 1024);
	shmbuddy_free(region, a);
	for (int i = 0; i < 64; i++) {
		a = shmbuddy_calloc(region, 256, 4);
		g_assert_true(memcmp(shmbuddy_address(region, a), zeros, 1024) == 0);
	}
	buddy_fails(ENOMEM, shmbuddy_calloc(region, 1, 1) == SHM_NULL);
	buddy_free_all(region);
	buddy_fails(ENOMEM, shmbuddy_calloc(region, SIZE_MAX / 2, 4) == SHM_NULL);
	buddy_fails(ENOMEM, shmbuddy_calloc(region, SIZE_MAX, SIZE_MAX) == SHM_NULL);
	g_assert_cmpuint(shmbuddy_calloc(region, 0, 8), !=, SHM_NULL);
	buddy_close(region);
}

static void translation(void)
{
	shmbuddy_t *region = buddy_open(support_path("translate"), 64 * KIB, 32, 1024);
	shm_offt a = shmbuddy_malloc(region, 1000), end = (shm_offt)buddy_stats(region).region_bytes;
	char *base = shmbuddy_base(region);

	g_assert_true(shmbuddy_address(region, a) == base + a);
	g_assert_cmpuint(shmbuddy_offset(region, base + a + 999), ==, a + 999);
	errno = 5;
	g_assert_null(shmbuddy_address(region, SHM_NULL));
	g_assert_cmpuint(shmbuddy_offset(region, NULL), ==, SHM_NULL);
	g_assert_cmpint(errno, ==, 5);
	buddy_fails(EINVAL, !shmbuddy_address(region, 4096));
	buddy_fails(EINVAL, !shmbuddy_address(region, end));
	buddy_fails(EINVAL, !shmbuddy_address(region, (shm_offt)-1));
	buddy_fails(EINVAL, !shmbuddy_offset(region, base));
	buddy_fails(EINVAL, !shmbuddy_offset(region, base + end));
	buddy_fails(EINVAL, !shmbuddy_offset(region, &a));
	g_assert_nonnull(shmbuddy_address(region, end - 1));
	buddy_close(region);
}

static void roots(void)
{
	const char *path = support_path("roots");
	shmbuddy_t *region = buddy_open(path, 64 * KIB, 32, 1024), *other;
	shm_offt a = shmbuddy_malloc(region, 10), b = shmbuddy_malloc(region, 10);
	char name[80];

	buddy_fails(ENOENT, !shmbuddy_getroot(region, NULL));
	buddy_fails(ENOENT, !shmbuddy_getroot(region, "a"));
	g_assert_cmpint(shmbuddy_setroot(region, NULL, b), ==, 0);
	g_assert_cmpint(shmbuddy_setroot(region, "a", a), ==, 0);
	for (int i = 1; i < SHMBUDDY_ROOTS; i++) {
		g_snprintf(name, sizeof(name), "%061d.%d", i, i % 10); /* 63 bytes */
		g_assert_cmpint(shmbuddy_setroot(region, name, b), ==, 0);
	}
	buddy_fails(ENOSPC, shmbuddy_setroot(region, "one more", a) == -1);
	g_assert_cmpint(shmbuddy_setroot(region, "a", b), ==, 0);
	g_assert_cmpuint(shmbuddy_getroot(region, "a"), ==, b);
	g_assert_cmpint(shmbuddy_setroot(region, "a", SHM_NULL), ==, 0);
	buddy_fails(ENOENT, !shmbuddy_getroot(region, "a"));
	g_assert_cmpint(shmbuddy_setroot(region, "one more", a), ==, 0);
	other = buddy_open(path, 0, 0, 0);
	g_assert_cmpuint(shmbuddy_getroot(other, "one more"), ==, a);
	g_assert_cmpuint(shmbuddy_getroot(other, name), ==, b);
	g_assert_cmpuint(shmbuddy_getroot(other, NULL), ==, b);
	name[62] = 'x';
	buddy_fails(ENOENT, !shmbuddy_getroot(other, name));
	memset(name, 'n', 64);
	name[64] = '\0';
	buddy_fails(EINVAL, shmbuddy_setroot(region, name, a) == -1);
	buddy_fails(EINVAL, shmbuddy_setroot(region, "", a) == -1);
	buddy_fails(EINVAL, shmbuddy_setroot(region, "b", 8) == -1);
	buddy_close(other);
	buddy_close(region);
}

struct seen {
	size_t blocks, stop_at;
	shm_offt last;
};

static int see(shm_offt offset, size_t size, void *arg)
{
	struct seen *seen = arg;

	g_assert_cmpuint(size, >=, 32);
	g_assert_cmpuint(offset, >, seen->last);
	seen->last = offset;
	return ++seen->blocks == seen->stop_at ? 7 : 0;
}

static void walking(void)
{
	shmbuddy_t *region = buddy_open(support_path("walk"), 256 * KIB, 32, 64 * KIB);
	struct seen all = { 0 }, some = { .stop_at = 3 };

	for (size_t size = 1; size <= 64 * KIB; size *= 2)
		g_assert_cmpuint(shmbuddy_malloc(region, size), !=, SHM_NULL);
	g_assert_cmpint(shmbuddy_walk(region, see, &all), ==, 0);
	g_assert_cmpuint(all.blocks, ==, 17);
	g_assert_cmpint(shmbuddy_walk(region, see, &some), ==, 7);
	g_assert_cmpuint(some.blocks, ==, 3);
	buddy_fails(EINVAL, shmbuddy_walk(region, NULL, NULL) == -1);
	buddy_fails(EINVAL, shmbuddy_stats(region, NULL) == -1);
	buddy_free_all(region);
	buddy_is_empty(region);
	buddy_close(region);
}

static void readers(void)
{
	const char *path = support_path("reader");
	const struct shmbuddy_options look = { .flags = SHMBUDDY_RDONLY };
	shmbuddy_t *region = buddy_open(path, 64 * KIB, 32, 1024), *reader = shmbuddy_open(path, &look);
	shm_offt a = shmbuddy_malloc(region, 100);

	g_assert_nonnull(reader);
	strcpy(shmbuddy_address(region, a), "seen");
	g_assert_cmpstr(shmbuddy_address(reader, a), ==, "seen");
	g_assert_cmpuint(shmbuddy_usable_size(reader, a), ==, 128);
	buddy_fails(EROFS, !shmbuddy_malloc(reader, 1));
	buddy_fails(EROFS, !shmbuddy_calloc(reader, 1, 1));
	buddy_fails(EROFS, !shmbuddy_realloc(reader, a, 1));
	buddy_fails(EROFS, shmbuddy_free(reader, a) == -1);
	buddy_fails(EROFS, shmbuddy_setroot(reader, "a", a) == -1);
	buddy_fails(EROFS, shmbuddy_mend(reader) == -1);
	g_assert_cmpuint(buddy_stats(reader).used_blocks, ==, 1);
	g_assert_cmpint(shmbuddy_sync(reader), ==, 0);
	g_assert_cmpint(shmbuddy_sync(region), ==, 0);
	buddy_close(reader);
	buddy_close(region);
}

/* Successes leave errno alone, also those that take disk space, split and merge. */
static void errno_stays(void)
{
	shmbuddy_t *region = buddy_open(support_path("errno"), 64 * MIB, 32, 8 * MIB);
	shm_offt a;

	errno = 4711;
	for (size_t size = 1; size <= 8 * MIB; size *= 2) {
		a = shmbuddy_malloc(region, size);
		a = shmbuddy_realloc(region, a, size / 2);
		g_assert_cmpint(shmbuddy_free(region, a), ==, 0);
	}
	g_assert_cmpint(shmbuddy_setroot(region, "name", shmbuddy_malloc(region, 5 * MIB)), ==, 0);
	buddy_check(region);
	g_assert_cmpint(errno, ==, 4711);
	buddy_free_all(region);
	buddy_close(region);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/basic/all-ranges", all_ranges);
	support_add("/shmbuddy/basic/random-calls", random_calls);
	support_add("/shmbuddy/basic/realloc", realloc_cases);
	support_add("/shmbuddy/basic/calloc", calloc_cases);
	support_add("/shmbuddy/basic/translation", translation);
	support_add("/shmbuddy/basic/roots", roots);
	support_add("/shmbuddy/basic/walk", walking);
	support_add("/shmbuddy/basic/read-only", readers);
	support_add("/shmbuddy/basic/errno-stays", errno_stays);
	return support_run();
}
