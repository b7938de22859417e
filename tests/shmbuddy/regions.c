/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a region can be, how large, what is refused when it is opened, and what a full disk does. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_fault.h"

/* --- memory, descriptors --- */

static int use_from_elsewhere(void *arg)
{
	shmbuddy_t *region = shmbuddy_join(*(void **)arg);
	shm_offt block = shmbuddy_getroot(region, "block");

	g_assert_cmpstr(shmbuddy_address(region, block), ==, "in memory");
	g_assert_cmpint(shmbuddy_free(region, block), ==, 0);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
	return 0;
}

static void in_memory(void *mem, size_t size, const struct shmbuddy_options *options)
{
	shmbuddy_t *region = shmbuddy_format(mem, size, options);
	struct shmbuddy_stats stats;
	shm_offt block;

	g_assert_nonnull(region);
	stats = buddy_stats(region);
	g_assert_cmpuint(stats.region_bytes, <=, size);
	g_assert_cmpuint(stats.capacity + 16 * KIB + size / 20, >=, size);
	block = shmbuddy_malloc(region, 16);
	strcpy(shmbuddy_address(region, block), "in memory");
	g_assert_cmpint(shmbuddy_setroot(region, "block", block), ==, 0);
	support_run_child(use_from_elsewhere, &mem);
	buddy_is_empty(region);
	for (uint64_t at = 0; at + stats.largest <= stats.capacity; at += stats.largest)
		g_assert_cmpuint(shmbuddy_malloc(region, stats.largest), !=, SHM_NULL);
	for (uint64_t rest = stats.capacity % stats.largest; rest >= stats.smallest; rest -= stats.smallest)
		g_assert_cmpuint(shmbuddy_malloc(region, stats.smallest), !=, SHM_NULL);
	buddy_fails(ENOMEM, !shmbuddy_malloc(region, 1));
	buddy_free_all(region);
	buddy_close(region);
}

static void memory(void)
{
	static const size_t sizes[] = { 20 * KIB, 24 * KIB + 64, 100 * KIB, MIB + 12345, 9 * MIB };
	const struct shmbuddy_options stacked = { .smallest = 16, .largest = 4 * KIB };
	void *mem;

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		mem = mmap(NULL, sizes[i], PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		memset(mem, 0xa5, sizes[i]);
		in_memory(mem, sizes[i], NULL);
		in_memory(mem, sizes[i], &stacked);
		munmap(mem, sizes[i]);
	}
	mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	buddy_fails(EINVAL, !shmbuddy_format(mem, 4096, NULL));
	buddy_fails(EINVAL, !shmbuddy_format(NULL, MIB, NULL));
	buddy_fails(EINVAL, !shmbuddy_format((char *)mem + 8, MIB, NULL));
	buddy_fails(EMEDIUMTYPE, !shmbuddy_join(mem));
	buddy_fails(EINVAL, !shmbuddy_join(NULL));
	munmap(mem, 4096);
}

/* All sizes of memory: what is dealt out ends before it does. */
static void memory_ends(void)
{
	char *mem = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t regions = 0;

	for (size_t size = 0; size < 40000; size += support_valgrind() ? 6151 : 61) {
		const struct shmbuddy_options options = { .smallest = 16u << size % 5 };
		shmbuddy_t *region = shmbuddy_format(mem + 64, size, &options);

		if (!region)
			continue;
		regions++;
		mem[64 + size] = 77;
		for (shm_offt at; (at = shmbuddy_malloc(region, 1)) != SHM_NULL;)
			memset(shmbuddy_address(region, at), 1, shmbuddy_usable_size(region, at));
		g_assert_cmpint(mem[64 + size], ==, 77);
		g_assert_cmpuint(buddy_stats(region).used_bytes, ==, buddy_stats(region).capacity);
		buddy_close(region);
	}
	g_assert_cmpuint(regions, >, 2);
	munmap(mem, 64 * KIB);
}

/* Garbage, garbage behind a right magic number, and behind a right kind and format. */
static void memory_of_garbage(void)
{
	uint64_t *mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct support_rand rand;

	support_rand_seed(&rand, 5);
	for (size_t i = 0; i < support_scale(4000); i++) {
		for (size_t k = 0; k < 512; k++)
			mem[k] = support_rand_next(&rand);
		if (i % 2)
			memcpy(mem, "\x89MAPALC\n", 8);
		if (i % 4 == 3) {
			mem[1] = 4 | (uint64_t)1 << 32;
			mem[2] = mem[3] = mem[4] = 0;
		}
		g_assert_null(shmbuddy_join(mem));
	}
	munmap(mem, 4096);
}

static void by_descriptor(int fd)
{
	const struct shmbuddy_options look = { .flags = SHMBUDDY_RDONLY }, new = { .flags = SHMBUDDY_NEW };
	shmbuddy_t *region, *reader, *joined;
	struct shmbuddy_stats stats;
	shm_offt block;
	void *mem;

	g_assert_cmpint(fd, >=, 0);
	region = shmbuddy_open_fd(fd, NULL);
	g_assert_nonnull(region);
	buddy_fails(EEXIST, !shmbuddy_open_fd(fd, &new));
	reader = shmbuddy_open_fd(fd, &look);
	stats = buddy_stats(region);
	g_assert_cmpuint(stats.capacity, ==, 512 * MIB);
	mem = mmap(NULL, stats.region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	joined = shmbuddy_join(mem); /* One region, three times in this process. */
	close(fd);
	block = shmbuddy_malloc(region, 100);
	strcpy(shmbuddy_address(region, block), "seen by all");
	g_assert_cmpstr(shmbuddy_address(reader, block), ==, "seen by all");
	g_assert_cmpstr(shmbuddy_address(joined, block), ==, "seen by all");
	g_assert_cmpint(shmbuddy_free(joined, block), ==, 0);
	/* Without a descriptor it can have more space, too. */
	for (size_t i = 0; i < 3 * MIB / 1024; i++)
		memset(shmbuddy_address(joined, shmbuddy_malloc(joined, 1000)), 1, 1000);
	g_assert_cmpuint(buddy_stats(region).backed_bytes, >, 2 * MIB);
	buddy_close(joined);
	munmap(mem, stats.region_bytes);
	buddy_close(reader);
	buddy_close(region);
}

static void descriptors(void)
{
	char name[64];

	by_descriptor(memfd_create("region", MFD_CLOEXEC));
	g_snprintf(name, sizeof(name), "/mapalloc-test-%d", getpid());
	by_descriptor(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	shm_unlink(name);
	buddy_fails(EBADF, !shmbuddy_open_fd(-1, NULL));
	buddy_fails(EISDIR, !shmbuddy_open_fd(open(".", O_RDONLY | O_DIRECTORY),
					      &(struct shmbuddy_options){ .flags = SHMBUDDY_RDONLY }));
}

/* --- huge ones --- */

static void huge(uint64_t smallest, uint64_t largest)
{
	const char *path = support_path("huge");
	shmbuddy_t *region = buddy_open(path, support_huge(), smallest, largest);
	shm_offt blocks[40];
	struct stat st;
	size_t n = 0;

	for (uint64_t size = smallest; size <= MIN(largest, 64 * MIB); size *= 2)
		blocks[n++] = shmbuddy_malloc(region, size);
	for (size_t i = 0; i < n; i++) {
		g_assert_cmpuint(blocks[i], !=, SHM_NULL);
		memset(shmbuddy_address(region, blocks[i]), (int)i, smallest);
	}
	for (size_t i = 0; i < n; i++)
		g_assert_cmpint(shmbuddy_free(region, blocks[n - 1 - i]), ==, 0);
	buddy_check(region);
	g_assert_cmpuint(buddy_stats(region).largest_free, ==, largest);
	g_assert_cmpint(stat(path, &st), ==, 0);
	g_assert_cmpuint((uint64_t)st.st_blocks * 512, <, MAX((uint64_t)st.st_size / 100, 256 * MIB));
	buddy_close(region);
	unlink(path);
}

static void terabytes(void)
{
	support_watchdog(4 * SUPPORT_HUNG_SECONDS);
	huge(32, 1024);
	huge(16, 64 * MIB);
	huge(4096, support_huge());
}

/* --- coalescing --- */

static void any_order(void)
{
	struct support_rand rand;

	support_rand_seed(&rand, 9);
	for (size_t round = 0; round < support_scale(30); round++) {
		uint64_t largest = (uint64_t)1024 << support_rand_below(&rand, 9);
		shmbuddy_t *region = buddy_open(support_path("order"), 256 * KIB, 32, largest);
		shm_offt *blocks = g_new(shm_offt, 8192);
		size_t n = 0;

		while (n < 8192 && (blocks[n] = shmbuddy_malloc(region, support_rand_below(&rand, largest) + 1)))
			n++;
		n += buddy_fill(region, 1, blocks + n, 8192 - n);
		for (; n; n--) {
			size_t k = support_rand_below(&rand, n);

			g_assert_cmpint(shmbuddy_free(region, blocks[k]), ==, 0);
			blocks[k] = blocks[n - 1];
		}
		buddy_is_empty(region);
		buddy_close(region);
		g_free(blocks);
	}
}

/* --- refusals --- */

static void options(void)
{
	static const struct shmbuddy_options bad[] = {
		{ .smallest = 8 },
		{ .smallest = 48 },
		{ .smallest = 2 * MIB },
		{ .largest = 48 },
		{ .largest = 16 },
		{ .largest = GIB, .capacity = MIB },
		{ .capacity = 100 },
		{ .flags = 0x100 },
		{ .flags = SHMBUDDY_NEW | SHMBUDDY_EXISTING },
		{ .flags = SHMBUDDY_ZEROED },
		{ .mode = 01000 },
		{ .reserved = { 0, 0, 1 } },
		{ .capacity = MIB, .range = MIB / 2 },
		{ .range = MIB },
		{ .range = UINT64_MAX },
		{ .capacity = MIB, .range = 2 * MIB, .largest = 4 * MIB },
		{ .capacity = UINT64_MAX },
	};
	const struct shmbuddy_options existing = { .flags = SHMBUDDY_EXISTING };
	const char *path = support_path("options");
	shmbuddy_t *region;

	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
		buddy_fails(EINVAL, !shmbuddy_open(path, &bad[i]));
	buddy_fails(EINVAL, !shmbuddy_open(NULL, NULL));
	buddy_fails(ENOENT, !shmbuddy_open(path, &existing));
	region = buddy_open(path, MIB, 64, 4096);
	g_assert_cmpint(support_file_size(path) >= (off_t)MIB, ==, 1);
	buddy_fails(EINVAL, !shmbuddy_open(path, &(struct shmbuddy_options){ .smallest = 32 }));
	buddy_fails(EINVAL, !shmbuddy_open(path, &(struct shmbuddy_options){ .largest = 1024 }));
	buddy_fails(EINVAL, !shmbuddy_open(path, &(struct shmbuddy_options){ .capacity = 2 * MIB }));
	buddy_fails(EINVAL, !shmbuddy_open(path, &(struct shmbuddy_options){ .capacity = MIB / 2 }));
	buddy_fails(EINVAL, !shmbuddy_open(path, &(struct shmbuddy_options){ .range = 2 * MIB }));
	buddy_close(region);
	buddy_fails(EBADF, shmbuddy_close(region) == -1);
	buddy_fails(EBADF, !shmbuddy_malloc(region, 1));
	buddy_fails(EBADF, !shmbuddy_calloc(region, 1, 1));
	buddy_fails(EBADF, !shmbuddy_realloc(region, 64, 1));
	buddy_fails(EBADF, shmbuddy_free(region, 64) == -1);
	buddy_fails(EBADF, !shmbuddy_usable_size(region, 64));
	buddy_fails(EBADF, !shmbuddy_address(region, 64));
	buddy_fails(EBADF, !shmbuddy_offset(region, path));
	buddy_fails(EBADF, !shmbuddy_base(region));
	buddy_fails(EBADF, shmbuddy_setroot(region, "a", 64) == -1);
	buddy_fails(EBADF, !shmbuddy_getroot(region, "a"));
	buddy_fails(EBADF, shmbuddy_check(region, NULL, NULL) == -1);
	buddy_fails(EBADF, shmbuddy_sync(region) == -1);
	buddy_fails(EBADF, shmbuddy_walk(region, NULL, NULL) == -1);
	buddy_fails(EBADF, shmbuddy_stats(region, NULL) == -1);
	buddy_fails(EBADF, shmbuddy_mend(NULL) == -1);
	g_assert_cmpint(shmbuddy_unlink(path), ==, 0);
	buddy_fails(ENOENT, shmbuddy_unlink(path) == -1);
	support_file_write(path, "something else", 14);
	buddy_fails(EMEDIUMTYPE, shmbuddy_unlink(path) == -1);
	buddy_fails(EMEDIUMTYPE, !shmbuddy_open(path, NULL));
}

static void bad_frees(void)
{
	shmbuddy_t *region = buddy_open(support_path("frees"), 64 * KIB, 32, 16 * KIB);
	shm_offt a = shmbuddy_malloc(region, 1000), b = shmbuddy_malloc(region, 5000),
		 end = buddy_stats(region).region_bytes;
	const shm_offt bad[] = { 1,
				 32,
				 4096,
				 a + 1,
				 a + 32,
				 a - 32,
				 b + 32,
				 b + 4096,
				 b + 8192,
				 end,
				 end - 32,
				 (shm_offt)-1,
				 (shm_offt)-32,
				 (shm_offt)1 << (sizeof(shm_offt) * 8 - 1) };

	g_assert_cmpint(shmbuddy_free(region, SHM_NULL), ==, 0);
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		buddy_fails(EINVAL, shmbuddy_free(region, bad[i]) == -1);
		buddy_fails(EINVAL, shmbuddy_usable_size(region, bad[i]) == 0);
		buddy_fails(EINVAL, shmbuddy_realloc(region, bad[i], 10) == SHM_NULL);
	}
	g_assert_cmpuint(buddy_stats(region).used_blocks, ==, 2);
	g_assert_cmpint(shmbuddy_free(region, a), ==, 0);
	buddy_fails(EINVAL, shmbuddy_free(region, a) == -1);
	g_assert_cmpint(shmbuddy_free(region, b), ==, 0);
	buddy_fails(EINVAL, shmbuddy_free(region, b) == -1);
	buddy_is_empty(region);
	buddy_close(region);
}

/* --- damage --- */

/* Any one byte of what is written once, changed; and any length but the right one. */
static void damaged_header(void)
{
	const char *path = support_path("damaged");
	size_t size;
	char *bytes;

	buddy_close(buddy_open(path, 64 * KIB, 32, 1024));
	bytes = support_file_read(path, &size);
	for (size_t at = 0; at < 200; at++) {
		if (at >= 152 && at < 192)
			continue;
		bytes[at] ^= 0x41;
		support_file_write(path, bytes, size);
		errno = 0;
		g_assert_null(shmbuddy_open(path, NULL));
		g_assert_true(errno == EMEDIUMTYPE || errno == EPROTOTYPE || errno == EPROTONOSUPPORT ||
			      errno == EOPNOTSUPP || errno == ENOEXEC || errno == EBADMSG || errno == EUCLEAN ||
			      errno == ENODATA);
		bytes[at] ^= 0x41;
	}
	for (size_t length = 1; length < size; length += 4096) {
		support_file_write(path, bytes, length);
		buddy_fails(length < 8 ? EMEDIUMTYPE : ENODATA, !shmbuddy_open(path, NULL));
	}
	support_file_write(path, bytes, size);
	buddy_close(buddy_open(path, 0, 0, 0));
	g_free(bytes);
}

/* Noise in all tables: a copy is checked and refused; where it is believed, no call crashes, or runs for ever. */
static void noise(void)
{
	struct support_rand rand;

	support_rand_seed(&rand, 3);
	for (size_t round = 0; round < support_scale(60); round++) {
		const char *path = support_path("noise");
		shmbuddy_t *region = buddy_open(path, 64 * KIB, 16, round % 2 ? 512 : 64 * KIB);
		unsigned char *base = shmbuddy_base(region);
		size_t from = round % 3 ? 11264 : 4096, to = shmbuddy_malloc(region, 1);
		shm_offt block;

		to -= to % 4096;
		for (size_t at = from; at < to; at++)
			if (round % 5 == 0 || support_rand_below(&rand, 4) == 0)
				base[at] = (unsigned char)support_rand_next(&rand);
		for (size_t i = 0; i < 300; i++) {
			block = shmbuddy_malloc(region, support_rand_below(&rand, 5000));
			if (block)
				memset(shmbuddy_address(region, block), 1, 16);
			shmbuddy_free(region, support_rand_next(&rand) % (128 * KIB));
			shmbuddy_realloc(region, (shm_offt)(to + support_rand_below(&rand, 4096) * 16), 100);
		}
		shmbuddy_check(region, NULL, NULL);
		shmbuddy_mend(region);
		shmbuddy_getroot(region, "a");
		shmbuddy_setroot(region, "a", block);
		buddy_stats(region);
		g_assert_cmpint(shmbuddy_close(region), ==, 0);
		unlink(path);
	}
}

/* Damage that a check sees: refused as a copy, which is looked at whole; a sound copy goes on, disk space and all. */
static void copies(void)
{
	const char *path = support_path("original"), *copy = support_path("copy");
	shmbuddy_t *region = buddy_open(path, 64 * KIB, 32, 8 * KIB);
	shm_offt block = shmbuddy_malloc(region, 10);
	size_t size;
	char *bytes;

	strcpy(shmbuddy_address(region, block), "copied");
	support_file_copy(path, copy);
	region = buddy_open(copy, 0, 0, 0);
	g_assert_cmpstr(shmbuddy_address(region, block), ==, "copied");
	g_assert_cmpint(shmbuddy_free(region, block), ==, 0);
	buddy_is_empty(region);
	buddy_close(region);
	bytes = support_file_read(copy, &size);
	/* The word of the first kilobyte: OPEN, though it merged. */
	for (size_t at = 11264; at + 8 < size; at += 8) {
		uint64_t w;

		memcpy(&w, bytes + at, 8);
		w |= (uint64_t)1 << 32;
		memcpy(bytes + at, &w, 8);
	}
	copy = support_path("damaged-copy");
	support_file_write(copy, bytes, size);
	buddy_fails(EUCLEAN, !shmbuddy_open(copy, NULL));
	g_free(bytes);
}

static void open_and_use(void *arg)
{
	const struct shmbuddy_options options = { .capacity = MIB };
	shmbuddy_t *region = shmbuddy_open(arg, &options);

	for (size_t bytes = 1; region && bytes < MIB; bytes *= 3)
		shmbuddy_free(region, shmbuddy_malloc(region, bytes));
	if (!region || shmbuddy_malloc(region, GIB) || shmbuddy_grow(region, 2 * MIB) < 0 || shmbuddy_close(region) < 0)
		g_error("on a small stack: %s", shmbuddy_errmsg());
	region = shmbuddy_open(arg, NULL);
	if (!region || shmbuddy_check(region, NULL, NULL) != 0 || shmbuddy_close(region) < 0 ||
	    shmbuddy_open("/no/such/region", NULL))
		g_error("on a small stack: %s", shmbuddy_errmsg());
}

static void smallest_stack(void)
{
	support_small_stack(open_and_use, (void *)(uintptr_t)support_path("small-stack"));
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/regions/memory", memory);
	support_add("/shmbuddy/regions/memory-ends", memory_ends);
	support_add("/shmbuddy/regions/memory-of-garbage", memory_of_garbage);
	support_add("/shmbuddy/regions/descriptors", descriptors);
	support_add("/shmbuddy/regions/terabytes", terabytes);
	support_add("/shmbuddy/regions/any-order", any_order);
	support_add("/shmbuddy/regions/options", options);
	support_add("/shmbuddy/regions/bad-frees", bad_frees);
	support_add("/shmbuddy/regions/damaged-header", damaged_header);
	support_add("/shmbuddy/regions/noise", noise);
	support_add("/shmbuddy/regions/copies", copies);
	support_add("/shmbuddy/regions/small-stack", smallest_stack);
	return support_run();
}
