/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Growth that finds no room: on a small disk of its own, under limits of the process, at the end of the range. NULL and errno,
 * never SIGBUS; the heap stays sound, and goes on when there is room again. Space that goes back is in disk_back.c.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_mmalloc.h"

enum { MOST = 300000 };

static uint64_t disk_bytes(const char *path)
{
	struct stat st;

	g_assert_cmpint(stat(path, &st), ==, 0);
	return (uint64_t)st.st_blocks * 512;
}

/* Until there is no more. Writes all of what it got: SIGBUS if there is no space behind it. */
static size_t fill(void *md, char **blocks, size_t size, int expected)
{
	size_t count = 0;

	errno = 0;
	while (count < MOST && (blocks[count] = mmalloc(md, size)) != NULL)
		memset(blocks[count++], 0x5a, size);
	assert_errno_is(expected);
	g_assert_cmpint(mmalloc_errno(md), ==, expected);
	g_assert_cmpuint(count, >, 0);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, count);
	heap_check(md);
	return count;
}

static void empty(void *md, char **blocks, size_t count, size_t size)
{
	for (size_t i = 0; i < count; i++) {
		g_assert_true(blocks[i][0] == 0x5a && blocks[i][size - 1] == 0x5a);
		assert_void(mfree(md, blocks[i]), 0);
	}
	g_assert_cmpuint(mmstats(md).chunks_used, ==, 0);
	heap_check(md);
}

/* A block that cannot grow is as it was. */
static void realloc_fails(void *md, char *block, size_t size, int expected)
{
	assert_null(mrealloc(md, block, size + (64 << 20)), expected);
	g_assert_cmpint(mmalloc_errno(md), ==, expected);
	g_assert_cmpuint(mmalloc_usable_size(md, block), >=, size);
	for (size_t i = 0; i < size; i++)
		g_assert_true(block[i] == 0x5a);
}

/* Full; empty; full again, with what the first ones had. */
static void use_up(void *md, size_t size, int expected)
{
	char **blocks = g_new(char *, MOST);
	size_t count = fill(md, blocks, size, expected), again;

	realloc_fails(md, blocks[0], size, expected);
	realloc_fails(md, blocks[count - 1], size, expected);
	empty(md, blocks, count, size);
	g_assert_cmpint(mmalloc_trim(md), >=, 0);
	again = fill(md, blocks, size, expected);
	g_assert_cmpuint(again, >=, count - count / 8);
	empty(md, blocks, again, size);
	g_free(blocks);
}

static const size_t sizes[] = { 64, 3000, 65536, 300000 };

static int fill_small_disk(void *arg)
{
	(void)arg;
	if (!support_small_disk("size=4m"))
		return SUPPORT_CANNOT;
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		const char *path = support_path("full");
		void *md = heap_attach(path);

		use_up(md, sizes[i], ENOSPC);
		heap_detach(md);
		md = heap_attach(path); /* It is sound for the next one too. */
		g_assert_nonnull(mmalloc(md, sizes[i]));
		heap_detach(md);
		unlink(path);
	}
	return 0;
}

static void full_disk(void)
{
	support_run_or_skip(fill_small_disk, "no mount namespace here");
}

static int fill_up(const char *path)
{
	static char junk[65536];
	int fd = heap_file(path);

	while (write(fd, junk, sizeof(junk)) > 0)
		;
	return fd;
}

/* Zeros became holes in place; and a snapshot where the kernel does not copy. */
static int lose_space(void *arg)
{
	const char *filler, *path, *copy;
	char *block;
	void *md;

	(void)arg;
	if (!support_small_disk("size=16m"))
		return SUPPORT_CANNOT;
	path = support_path("heap");
	copy = support_path("copy");
	filler = support_path("filler");
	md = heap_attach(path);
	block = mcalloc(md, 3, 1 << 20);
	g_assert_nonnull(block);
	g_assert_cmpint(mmalloc_setroot(md, "block", block), ==, 0);
	mmalloc_detach(md);
	g_assert_cmpuint(support_dig(path), >=, 3 << 20);
	support_fill_disk(filler);
	assert_null(mmalloc_attach(heap_file(path), NULL), ENOSPC);
	unlink(filler);
	md = heap_attach(path);
	support_fill_disk(filler);
	block = mmalloc_getroot(md, "block");
	memset(block, 7, 3 << 20);
	heap_check(md);
	g_assert_cmpint(mmalloc_snapshot(md, copy), ==, -1);
	assert_errno_is(ENOSPC);
	g_assert_cmpint(access(copy, F_OK), ==, -1);
	unlink(filler);
	if (!support_make_fail(SYS_copy_file_range, -1, 0))
		return SUPPORT_CANNOT;
	g_assert_cmpint(mmalloc_snapshot(md, copy), ==, 0);
	mmalloc_detach(md);
	md = heap_attach(copy);
	block = mmalloc_getroot(md, "block");
	for (size_t i = 0; i < 3 << 20; i++)
		g_assert_cmpint(block[i], ==, 7);
	mmalloc_detach(md);
	return 0;
}

static void space_lost_in_place(void)
{
	support_run_or_skip(lose_space, "no mount namespace, or no seccomp filter here");
}

static int disk_gets_room_again(void *arg)
{
	const char *filler, *path;
	char *block;
	void *md;

	(void)arg;
	if (!support_small_disk("size=8m"))
		return SUPPORT_CANNOT;
	path = support_path("heap");
	filler = support_path("filler");
	md = heap_attach(path);
	block = mmalloc(md, 2 << 20);
	memset(block, 0x5a, 2 << 20);
	close(fill_up(filler));
	realloc_fails(md, block, 2 << 20, ENOSPC);
	assert_null(mmalloc(md, 3 << 20), ENOSPC);
	heap_check(md);
	/* What is freed is the disk's again at once when asked for, and so the filler's. */
	mfree(md, block);
	g_assert_cmpint(mmalloc_trim(md), >=, 0);
	g_assert_cmpuint(disk_bytes(path), <, 2 << 20);
	g_assert_nonnull(block = mmalloc(md, 1 << 20));
	memset(block, 1, 1 << 20);
	unlink(filler);
	g_assert_nonnull(block = mmalloc(md, 4 << 20));
	memset(block, 1, 4 << 20);
	heap_detach(md);
	return 0;
}

static void room_again(void)
{
	support_run_or_skip(disk_gets_room_again, "no mount namespace here");
}

/* Free space is kept for the next block. When the disk is full, a block that does not fit there gets it all the same. */
static int kept_space_serves_others(void *arg)
{
	char *large[3], *small[20];
	void *md;

	(void)arg;
	if (!support_small_disk("size=8m"))
		return SUPPORT_CANNOT;
	md = heap_attach(support_path("heap"));
	for (size_t i = 0; i < G_N_ELEMENTS(large); i++)
		memset(large[i] = mmalloc(md, 2 << 20), 1, 2 << 20);
	mfree(md, large[0]);
	mfree(md, large[2]);
	close(fill_up(support_path("filler")));
	g_assert_nonnull(large[0] = mmalloc(md, 3 << 20)); /* Larger than either. */
	memset(large[0], 1, 3 << 20);
	mfree(md, large[0]);
	mfree(md, large[1]);
	for (size_t i = 0; i < G_N_ELEMENTS(small); i++) {
		g_assert_nonnull(small[i] = mmalloc(md, 150000));
		memset(small[i], 1, 150000);
	}
	heap_detach(md);
	return 0;
}

static void kept_space(void)
{
	support_run_or_skip(kept_space_serves_others, "no mount namespace here");
}

static int attach_on_full_disk(void *arg)
{
	const char *path;
	int fd;

	(void)arg;
	if (!support_small_disk("size=64k"))
		return SUPPORT_CANNOT;
	path = support_path("new");
	fd = heap_file(path);
	close(fill_up(support_path("filler")));
	assert_null(mmalloc_attach(fd, NULL), ENOSPC);
	g_assert_cmpint(support_file_size(path), ==, 0);
	close(fd);
	return 0;
}

static void full_at_creation(void)
{
	support_run_or_skip(attach_on_full_disk, "no mount namespace here");
}

/* --- limits of the process --- */

static int grow_over_fsize(void *arg)
{
	const struct mmalloc_options options = { .reserve = 256 << 20 };
	const struct rlimit limit = { 16 << 20, 16 << 20 };
	int fd = heap_file(arg);
	void *md = mmalloc_attach_opt(fd, NULL, &options);

	signal(SIGXFSZ, SIG_IGN);
	g_assert_nonnull(md);
	g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
		use_up(md, support_size(sizes[i], 300000), EFBIG);
	heap_detach(md);
	g_assert_cmpint(ftruncate(fd, 0), ==, 0);
	md = mmalloc_attach(fd, NULL); /* The tables of 1 TiB do not fit into 16 MiB: the range is a smaller one. */
	g_assert_nonnull(md);
	g_assert_nonnull(mmalloc(md, 1 << 20));
	heap_detach(md);
	close(fd);
	return 0;
}

static void file_size_limit(void)
{
	support_run_child(grow_over_fsize, (void *)(uintptr_t)support_path("fsize"));
}

static int attach_in_little_space(void *arg)
{
	const struct rlimit limit = { (rlim_t)2 << 30, (rlim_t)2 << 30 };
	const struct mmalloc_options options = { .reserve = (size_t)4 << 30 };
	char **blocks = g_new(char *, MOST);
	struct mmalloc_stats stats;
	int fd = heap_file(arg);
	void *md;

	g_assert_cmpint(setrlimit(RLIMIT_AS, &limit), ==, 0);
	assert_null(mmalloc_attach_opt(fd, NULL, &options), ENOMEM); /* Asked for so much: not less. */
	assert_null(mmalloc_attach_opt(-1, NULL, &options), ENOMEM);
	md = mmalloc_attach(fd, NULL);
	g_assert_nonnull(md);
	g_assert_cmpint(mmalloc_stats(md, &stats), ==, 0);
	g_assert_cmpuint(stats.user_bytes, <, (uint64_t)2 << 30);
	g_assert_cmpuint(stats.user_bytes, >=, 64 << 20);
	blocks[0] = mmalloc(md, 10 << 20);
	memset(blocks[0], 0x5a, 10 << 20);
	assert_null(mmalloc(md, (size_t)2 << 30), ENOMEM);
	assert_null(mrealloc(md, blocks[0], (size_t)2 << 30), ENOMEM);
	empty(md, blocks, 1, 10 << 20);
	heap_detach(md);
	g_assert_nonnull(mmalloc(NULL, 1 << 20)); /* The default heap is made of what is left. */
	heap_check(NULL);
	g_free(blocks);
	close(fd);
	return 0;
}

static void address_space_limit(void)
{
	if (support_asan() || support_tsan() || support_valgrind())
		g_test_skip("RLIMIT_AS cannot be set under a sanitizer or Valgrind");
	else
		support_run_child(attach_in_little_space, (void *)(uintptr_t)support_path("as"));
}

/* The tables, and what of the range is not in use, do not come out of the limit: nearly all of it is for blocks. */
static int memory_within_data_limit(void *arg)
{
	const struct rlimit limit = { 48 << 20, 48 << 20 };
	uint64_t bytes = 0;
	void *block;

	(void)arg;
	g_assert_cmpint(setrlimit(RLIMIT_DATA, &limit), ==, 0);
	while ((block = mmalloc(NULL, 300)) != NULL) {
		memset(block, 1, 300);
		bytes += 300;
	}
	g_assert_cmpint(errno, ==, ENOMEM);
	heap_check(NULL);
	g_test_message("%zu KiB of blocks of 300 bytes within 48 MiB", (size_t)(bytes / 1024));
	g_assert_cmpuint(bytes, >=, 32 << 20);
	return 0;
}

static void data_limit(void)
{
	if (support_asan() || support_tsan() || support_valgrind())
		g_test_skip("under a sanitizer or Valgrind most private memory is theirs");
	else
		support_run_child(memory_within_data_limit, NULL);
}

/* --- the end of the range --- */

static void range_used_up(void)
{
	const struct mmalloc_options options = { .reserve = 80 << 20 };
	const char *path = support_path("range");

	for (size_t i = 0; i < 4; i++) {
		int fd = i % 2 ? heap_file(path) : -1;
		void *md = mmalloc_attach_opt(fd, NULL, &options);

		g_assert_nonnull(md);
		use_up(md, i < 2 ? 65536 : 3 << 20, ENOMEM);
		heap_detach(md);
		if (fd >= 0)
			close(fd);
		unlink(path);
	}
}

/* --- other sorts of files --- */

static int look_into_memory(void *arg)
{
	void *md = mmalloc_attach(*(int *)arg, NULL);

	g_assert_nonnull(md);
	g_assert_cmpstr(mmalloc_getkey(md, 1), ==, "in memory");
	heap_detach(md);
	return 0;
}

static void memory_without_a_name(void)
{
	int fd = memfd_create("heap", MFD_CLOEXEC);
	char *text;
	void *md;

	g_assert_cmpint(fd, >=, 0);
	md = mmalloc_attach(fd, NULL);
	g_assert_nonnull(md);
	text = mmalloc(md, 3 << 20);
	strcpy(text, "in memory");
	mmalloc_setkey(md, 1, text);
	heap_detach(md);
	support_run_child(look_into_memory, &fd); /* The file is there as long as a descriptor is. */
	md = mmalloc_attach(fd, NULL);
	g_assert_true(mmalloc_getkey(md, 1) == text);
	heap_detach(md);
	close(fd);
}

/* /dev/shm is mostly a tmpfs, where the other tests' files are on a disk; or the other way round. */
static void another_file_system(void)
{
	static const char *const places[] = { "/dev/shm", "/tmp", "/var/tmp", "/run" };
	struct statfs here, there;
	size_t tried = 0;

	g_assert_cmpint(statfs(support_dir(), &here), ==, 0);
	for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
		char *path = g_strdup_printf("%s/mapalloc-disk.%d", places[i], (int)getpid());
		void *md, *block;

		if (statfs(places[i], &there) == 0 && there.f_type != here.f_type && access(places[i], W_OK) == 0) {
			md = heap_attach(path);
			block = mmalloc(md, 5 << 20);
			memset(block, 1, 5 << 20);
			mmalloc_setkey(md, 0, block);
			heap_detach(md);
			md = heap_attach(path);
			g_assert_true(mmalloc_getkey(md, 0) == block);
			mfree(md, block);
			heap_detach(md);
			unlink(path);
			g_test_message("%s: type %#lx", places[i], (unsigned long)there.f_type);
			tried++;
		}
		g_free(path);
	}
	if (tried == 0)
		g_test_skip("all places here are on one sort of file system");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/disk/full", full_disk);
	support_add("/mmalloc/disk/room-again", room_again);
	support_add("/mmalloc/disk/kept-space", kept_space);
	support_add("/mmalloc/disk/lost", space_lost_in_place);
	support_add("/mmalloc/disk/full-at-creation", full_at_creation);
	support_add("/mmalloc/disk/file-size-limit", file_size_limit);
	support_add("/mmalloc/disk/address-space-limit", address_space_limit);
	support_add("/mmalloc/disk/data-limit", data_limit);
	support_add("/mmalloc/disk/range", range_used_up);
	support_add("/mmalloc/disk/memfd", memory_without_a_name);
	support_add("/mmalloc/disk/another-file-system", another_file_system);
	return support_run();
}
