/* SPDX-License-Identifier: BSD-3-Clause */
/* shmbuddy_snapshot(): of regions in files and in memory, read-only, while others work and grow them, on a full disk; refusals. */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_fault.h"

#define BLOCKS 500

/* Each block has its number in all its bytes, and the offset of the one before it in front. */
static shm_offt fill_list(shmbuddy_t *region)
{
	shm_offt last = SHM_NULL;

	for (unsigned i = 0; i < BLOCKS; i++) {
		size_t size = 64 + i * 7 % 3000;
		shm_offt at = shmbuddy_malloc(region, size);
		char *block = shmbuddy_address(region, at);

		g_assert_cmpuint(at, !=, SHM_NULL);
		memset(block, (int)i, size);
		memcpy(block, &last, sizeof(last));
		last = at;
	}
	g_assert_cmpint(shmbuddy_setroot(region, "last", last), ==, 0);
	g_assert_cmpint(shmbuddy_settag(region, 77), ==, 0);
	return last;
}

static void look_at_list(shmbuddy_t *region, shm_offt last)
{
	g_assert_cmpuint(shmbuddy_getroot(region, "last"), ==, last);
	g_assert_cmpuint(shmbuddy_gettag(region), ==, 77);
	for (unsigned i = BLOCKS; i-- > 0;) {
		const char *block = shmbuddy_address(region, last);

		for (size_t k = sizeof(last); k < 64 + i * 7 % 3000; k++)
			g_assert_cmpint(block[k], ==, (char)i);
		memcpy(&last, block, sizeof(last));
	}
	g_assert_cmpuint(last, ==, SHM_NULL);
}

/* Sound, with the list, and it can be used up to its end. */
static void look_at_copy(const char *copy, shm_offt last)
{
	shmbuddy_t *region = shmbuddy_open(copy, NULL);
	size_t count = 0;

	g_assert_nonnull(region);
	look_at_list(region, last);
	while (shmbuddy_malloc(region, 100) != SHM_NULL)
		count++;
	g_assert_cmpuint(count, >, BLOCKS);
	look_at_list(region, last);
	buddy_close(region);
}

static void of_file(void)
{
	static const struct {
		uint64_t capacity, largest;
	} shapes[] = { { 4 * MIB, 1024 * 4 }, { 4 * MIB, MIB }, { 64 * MIB, 64 * MIB } };
	const char *path = support_path("region"), *copy = support_path("copy");

	for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
		shmbuddy_t *region = buddy_open(path, shapes[i].capacity, 32, shapes[i].largest);
		shm_offt last = fill_list(region);
		struct stat st;

		g_assert_cmpint(shmbuddy_snapshot(region, copy), ==, 0);
		g_assert_cmpint(stat(copy, &st), ==, 0);
		g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
		look_at_copy(copy, last);
		g_assert_cmpint(shmbuddy_snapshot(region, copy), ==, 0); /* In the place of the other one. */
		look_at_copy(copy, last);
		look_at_list(region, last);
		buddy_close(region);
		region = shmbuddy_open(path, &(struct shmbuddy_options){ .flags = SHMBUDDY_RDONLY });
		g_assert_nonnull(region);
		g_assert_cmpint(shmbuddy_snapshot(region, copy), ==, 0);
		look_at_copy(copy, last);
		g_assert_cmpint(shmbuddy_close(region), ==, 0);
		unlink(path);
		unlink(copy);
	}
}

static void of_memory(void)
{
	const char *copy = support_path("copy");
	void *memory = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	shmbuddy_t *region = shmbuddy_format(memory, 8 * MIB, &(struct shmbuddy_options){ .largest = 4096 });
	shm_offt last;

	g_assert_nonnull(region);
	last = fill_list(region);
	g_assert_cmpint(shmbuddy_snapshot(region, copy), ==, 0);
	look_at_copy(copy, last);
	buddy_close(region);
	munmap(memory, 8 * MIB);
}

/* ---- while others work ---- */

struct shared {
	shmbuddy_t *region;
	_Atomic unsigned rounds;
};

static int work(void *arg)
{
	struct shared *s = arg;
	shm_offt blocks[100];

	for (;;) {
		for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
			blocks[i] = shmbuddy_malloc(s->region, i % 10 ? 50 + i : 20000);
		for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
			shmbuddy_free(s->region, blocks[i]);
		atomic_fetch_add(&s->rounds, 1);
	}
	return 0;
}

static void while_others_work(void)
{
	const char *copy = support_path("copy");
	struct shared *s = support_shared(sizeof(*s));
	const struct shmbuddy_options options = { .capacity = 4 * MIB, .range = 64 * MIB, .largest = MIB };
	shm_offt last;
	pid_t pids[2];

	s->region = shmbuddy_open(support_path("region"), &options);
	g_assert_nonnull(s->region);
	last = fill_list(s->region);
	for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
		pids[i] = support_fork(work, s);
	for (size_t i = 0; i < support_scale(40); i++) {
		unsigned seen = atomic_load(&s->rounds);

		g_assert_cmpint(shmbuddy_snapshot(s->region, copy), ==, 0);
		look_at_copy(copy, last);
		if (i % 10 == 9)
			g_assert_cmpint(shmbuddy_grow(s->region, buddy_stats(s->region).capacity + MIB), ==, 0);
		while (atomic_load(&s->rounds) == seen)
			sched_yield();
	}
	for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
		support_kill(pids[i]);
	g_assert_cmpint(shmbuddy_mend(s->region), >=, 0);
	look_at_list(s->region, last);
	buddy_close(s->region);
}

/* ---- what it refuses ---- */

static int on_full_disk(void *arg)
{
	const char *copy;
	shmbuddy_t *region;

	(void)arg;
	if (!support_small_disk("size=3m"))
		return SUPPORT_CANNOT;
	region = buddy_open(support_path("region"), 2 * MIB, 32, 1024);
	copy = support_path("copy");
	while (shmbuddy_malloc(region, 1024) != SHM_NULL)
		;
	buddy_fails(ENOSPC, shmbuddy_snapshot(region, copy) == -1);
	g_assert_cmpint(access(copy, F_OK), <, 0);
	buddy_close(region);
	return 0;
}

static void full_disk(void)
{
	support_run_or_skip(on_full_disk, "no disk of its own can be mounted");
}

static void refusals(void)
{
	const char *path = support_path("region"), *copy = support_path("copy");
	char *below = g_strconcat(path, "/copy", NULL);
	shmbuddy_t *region = buddy_open(path, MIB, 32, 1024);
	uint64_t *word;
	shm_offt first;

	buddy_fails(EINVAL, shmbuddy_snapshot(region, NULL) == -1);
	buddy_fails(EINVAL, shmbuddy_snapshot(region, "") == -1);
	buddy_fails(EINVAL, shmbuddy_snapshot(region, path) == -1);
	buddy_fails(EINVAL, shmbuddy_snapshot(region, "/dev/null") == -1);
	buddy_fails(EISDIR, shmbuddy_snapshot(region, support_dir()) == -1);
	buddy_fails(ENOENT, shmbuddy_snapshot(region, "/no/such/folder/copy") == -1);
	buddy_fails(ENOTDIR, shmbuddy_snapshot(region, below) == -1);
	buddy_fails(EBADF, shmbuddy_snapshot(NULL, copy) == -1);
	/* Words whose bits are no tree of blocks. */
	first = shmbuddy_malloc(region, 40);
	g_assert_cmpuint(first, !=, SHM_NULL);
	word = (uint64_t *)shmbuddy_base(region) + 4096 / 8;
	for (uint64_t *end = shmbuddy_address(region, first); word < end && shmbuddy_check(region, NULL, NULL) == 0;
	     word++)
		if (*word >> 32 & 1)
			*word |= 0xfffffffe00000000u; /* Blocks begin at leaves that are not in use. */
	buddy_fails(EUCLEAN, shmbuddy_snapshot(region, copy) == -1);
	g_assert_cmpint(access(copy, F_OK), <, 0);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
	g_free(below);
	buddy_fails(EBADF, shmbuddy_snapshot(region, copy) == -1);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/snapshot/of-file", of_file);
	support_add("/shmbuddy/snapshot/of-memory", of_memory);
	support_add("/shmbuddy/snapshot/while-others-work", while_others_work);
	support_add("/shmbuddy/snapshot/full-disk", full_disk);
	support_add("/shmbuddy/snapshot/refusals", refusals);
	return support_run();
}
