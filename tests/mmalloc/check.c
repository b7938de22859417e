/* SPDX-License-Identifier: BSD-3-Clause */
/* mmcheck(): what it finds in this process, and what it leaves to programs that work on. Sharing: check_shared.c. */
#include <mmalloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/support/support_mmalloc.h"

#define FILL  0xce
#define FREED 0xde

static unsigned aborts;

static void on_abort(void)
{
	aborts++;
}

static size_t step(void)
{
	return support_valgrind() ? 331 : support_asan() || support_tsan() ? 13 : 1;
}

static bool all_are(const void *block, int byte, size_t size)
{
	const unsigned char *bytes = block;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] != byte)
			return false;
	return true;
}

static int count_block(void *block, size_t size, void *arg)
{
	(void)block, (void)size;
	++*(size_t *)arg;
	return 0;
}

static size_t live(void *md)
{
	size_t count = 0;

	g_assert_cmpint(mmalloc_walk(md, count_block, &count), ==, 0);
	return count;
}

static void *guarded_heap(const char *name)
{
	void *md = heap_attach(support_path(name));

	g_assert_cmpint(mmcheck(md, on_abort), ==, 1);
	return md;
}

/* The free must fail, loudly, once, and in these words. */
static void bad_free(void *md, void *ptr, const char *words)
{
	char *text;

	aborts = 0;
	support_capture_begin();
	mfree(md, ptr);
	text = support_capture_end();
	if (aborts != 1 || !strstr(text, words) || strchr(text, '\n') != text + strlen(text) - 1)
		g_error("%p: abort function called %u times, wanted \"%s\", got: %s", ptr, aborts, words, text);
	g_free(text);
}

static void good_free(void *md, void *ptr)
{
	aborts = 0;
	errno = 0;
	mfree(md, ptr);
	g_assert_cmpuint(aborts, ==, 0);
	g_assert_cmpint(errno, ==, 0);
}

static void keep_text(const char *text, void *arg)
{
	snprintf(arg, 200, "%s", text);
}

/* One byte beyond an end: mmalloc_check() tells, mfree() tells and frees all the same. */
static void damage(void *md, size_t alignment, size_t size, bool after)
{
	char *block = mmemalign(md, alignment, size);
	char words[120], told[200] = "";

	g_assert_nonnull(block);
	g_assert_cmpuint((uintptr_t)block % alignment, ==, 0);
	g_assert_cmpuint(mmalloc_usable_size(md, block), ==, size);
	g_assert_cmpint(mmalloc_check(md, NULL, NULL), ==, 0);
	block[after ? (ssize_t)size : -1] = 0;
	snprintf(words, sizeof(words), "the memory %s block %p of %zu bytes was overwritten",
		 after ? "after" : "before", (void *)block, size);
	errno = 0;
	g_assert_cmpint(mmalloc_check(md, keep_text, told), ==, -1);
	g_assert_cmpint(errno, ==, EUCLEAN);
	g_assert_nonnull(strstr(told, after ? "the memory after it" : "the memory before it"));
	bad_free(md, block, words);
	g_assert_cmpuint(live(md), ==, 0);
	g_assert_cmpint(mmalloc_check(md, NULL, NULL), ==, 0);
}

static void one_byte_beyond_small_blocks(void)
{
	void *md = guarded_heap("small");

	support_watchdog(120);
	for (size_t size = 1; size <= 5000; size += step()) {
		damage(md, 16, size, true);
		damage(md, 16, size, false);
	}
	heap_detach(md);
}

static void one_byte_beyond_large_blocks(void)
{
	static const size_t sizes[] = { 8176, 8192, 65511, 65512, 65513, 65536, 200000, 3 << 20 };
	void *md = guarded_heap("large");

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		damage(md, 16, sizes[i], true);
		damage(md, 16, sizes[i], false);
	}
	heap_detach(md);
}

static void one_byte_beyond_aligned_blocks(void)
{
	static const size_t sizes[] = { 1, 15, 100, 4096, 5000, 70000 };
	void *md = guarded_heap("aligned");

	for (size_t alignment = 1; alignment <= 1 << 20; alignment *= 2)
		for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
			damage(md, alignment, sizes[i], true);
			damage(md, alignment, sizes[i], false);
		}
	heap_detach(md);
}

/* All of the 16 bytes are gone: nobody knows the size, and the block stays until a walk finds it. */
static void a_whole_header_overwritten(void)
{
	void *md = guarded_heap("header");
	char *block = mmalloc(md, 100);

	memset(block - 16, 'x', 16);
	bad_free(md, block, "was overwritten, or no block starts there");
	g_assert_cmpint(errno, ==, EINVAL);
	g_assert_cmpuint(live(md), ==, 1);
	good_free(md, block - 16);
	g_assert_cmpuint(live(md), ==, 0);
	heap_detach(md);
}

static void pointers_that_are_no_blocks(void)
{
	static const char twice[] = "was freed before, or never allocated", foreign[] = "no block of this heap starts there";
	void *md = guarded_heap("foreign"), *other = heap_attach(support_path("other"));
	char *small = mmalloc(md, 100), *large = mmalloc(md, 300000), *aligned = mmemalign(md, 4096, 100);
	char here[64];

	memset(small, 'x', 100);
	memset(large, 0, 300000);
	bad_free(md, here + 16, twice);
	bad_free(md, (void *)16, twice);
	bad_free(md, (void *)UINTPTR_MAX, twice);
	bad_free(md, mmalloc(other, 10), twice);
	bad_free(md, small + 16, foreign);
	bad_free(md, small + 1, foreign);
	bad_free(md, small - 16, foreign);
	bad_free(md, aligned - 16, foreign);
	bad_free(md, aligned - 4096, foreign);
	bad_free(md, large + 150000, foreign);
	bad_free(md, large + 65536, foreign);
	aborts = 0;
	support_capture_begin();
	errno = 0;
	g_assert_null(mrealloc(md, small + 32, 10));
	g_free(support_capture_end());
	g_assert_cmpint(errno, ==, EINVAL);
	g_assert_cmpuint(aborts, ==, 1);
	g_assert_cmpuint(mmalloc_usable_size(md, small + 32), ==, 0);
	g_assert_cmpuint(aborts, ==, 1);
	g_assert_true(all_are(small, 'x', 100));
	g_assert_cmpuint(live(md), ==, 3);
	good_free(md, small);
	good_free(md, large);
	good_free(md, aligned);
	good_free(md, NULL);
	bad_free(md, small, twice);
	bad_free(md, large, twice);
	bad_free(md, aligned, twice);
	heap_detach(md);
	heap_detach(other);
}

static void patterns(void)
{
	void *md = guarded_heap("patterns");

	for (size_t size = 1; size <= 200000; size += size < 3000 ? step() : 9973) {
		char *block = mmalloc(md, size), *zeros = mcalloc(md, 1, size);

		g_assert_true(all_are(block, FILL, size));
		g_assert_true(all_are(zeros, 0, size));
		memset(block, 'x', size);
		mfree(md, block);
		g_assert_true(all_are(block, FREED, size));
		mfree(md, zeros);
		g_assert_true(all_are(zeros, FREED, size));
	}
	heap_detach(md);
}

static void resizing(void)
{
	void *md = guarded_heap("resizing");
	struct support_rand r;
	unsigned char *block = NULL;
	size_t size = 0;

	support_rand_seed(&r, 1);
	for (size_t i = 1; i < support_scale(2000); i++) {
		size_t next = support_rand_between(&r, 1, i % 20 ? 6000 : 200000);
		unsigned char *fresh = mrealloc(md, block, next);

		g_assert_nonnull(fresh);
		g_assert_true(all_are(fresh, (int)((i - 1) & 255), MIN(size, next)));
		g_assert_true(all_are(fresh + MIN(size, next), FILL, next - MIN(size, next)));
		g_assert_cmpuint(mmalloc_usable_size(md, fresh), ==, next);
		memset(fresh, (int)(i & 255), next);
		block = fresh;
		size = next;
	}
	heap_check(md);
	errno = 0;
	g_assert_null(mrealloc(md, block, (size_t)1 << 50));
	g_assert_null(mrealloc(md, block, SIZE_MAX));
	g_assert_cmpint(errno, ==, ENOMEM);
	g_assert_null(mmalloc(md, SIZE_MAX - 20));
	g_assert_null(mmemalign(md, (size_t)1 << 62, 10));
	errno = 0;
	g_assert_null(mmemalign(md, 48, 10));
	g_assert_cmpint(errno, ==, EINVAL);
	g_assert_cmpuint(mmalloc_usable_size(md, block), ==, size);
	aborts = 0;
	block[size] ^= 1;
	support_capture_begin();
	block = mrealloc(md, block, size + 10); /* It can still be told: it goes on. */
	g_free(support_capture_end());
	g_assert_cmpuint(aborts, ==, 1);
	g_assert_cmpuint(mmalloc_usable_size(md, block), ==, size + 10);
	g_assert_null(mrealloc(md, block, 0));
	g_assert_cmpuint(live(md), ==, 0);
	heap_detach(md);
}

static void a_heap_in_use(void)
{
	void *md = heap_attach(support_path("used"));
	char *small = mmalloc(md, 100), *large = mmalloc(md, 100000), *third = mmalloc(md, 100), *fresh;

	memset(small, 's', 100);
	errno = 0;
	g_assert_cmpint(mmcheck(md, on_abort), ==, 0);
	g_assert_cmpint(errno, ==, EBUSY);
	g_assert_cmpint(mmalloc_errno(md), ==, EBUSY);
	g_assert_cmpint(mmcheckf(md, on_abort, 0), ==, 0);
	fresh = mmalloc(md, 100);
	g_assert_cmpuint(mmalloc_usable_size(md, fresh), >, 100); /* A refusal changes nothing. */
	g_assert_cmpint(mmcheckf(md, on_abort, 1), ==, 1);
	good_free(md, fresh);
	fresh = mmalloc(md, 100);
	g_assert_cmpuint(mmalloc_usable_size(md, fresh), ==, 100);
	g_assert_cmpuint(live(md), ==, 4);
	heap_check(md);
	good_free(md, large);
	small = mrealloc(md, small, 70);
	g_assert_cmpuint(mmalloc_usable_size(md, small), ==, 70);
	g_assert_true(all_are(small, 's', 70));
	bad_free(md, third + 16, "was overwritten, or no block starts there");
	good_free(md, third);
	bad_free(md, third, "was freed before");
	good_free(md, small);
	good_free(md, fresh);
	g_assert_cmpint(mmcheck(md, on_abort), ==, 1);
	heap_detach(md);
}

static unsigned others;

static void other_abort(void)
{
	others++;
}

/* Once the blocks are guarded, mmcheck() may come again; a read-only heap has nothing to guard. */
static void switching_on_again(void)
{
	const char *path = support_path("again");
	struct mmalloc_options readonly = { .flags = MMALLOC_RDONLY };
	void *md = heap_attach(path), *block;
	int fd = heap_file(path);

	g_assert_cmpint(mmcheck(md, on_abort), ==, 1);
	block = mmalloc(md, 10);
	g_assert_cmpint(mmcheck(md, other_abort), ==, 1); /* All blocks are guarded. */
	others = 0;
	support_capture_begin();
	mfree(md, (char *)block + 1);
	g_free(support_capture_end());
	g_assert_cmpuint(others, ==, 1);
	heap_detach(md);
	md = mmalloc_attach_opt(fd, NULL, &readonly);
	g_assert_nonnull(md);
	errno = 0;
	g_assert_cmpint(mmcheckf(md, on_abort, 1), ==, 0);
	g_assert_cmpint(errno, ==, EROFS);
	g_assert_null(mmalloc_detach(md));
	errno = 0;
	g_assert_cmpint(mmcheck(md, on_abort), ==, 0);
	g_assert_cmpint(errno, ==, EBADF);
	close(fd);
}

/* What an old handle was told is not told to the next heap that gets it. */
static void other_heaps_pay_nothing(void)
{
	const char *path = support_path("first");
	void *plain = heap_attach(support_path("plain")), *md;

	for (int i = 0; i < 70; i++) {
		md = heap_attach(path);
		g_assert_cmpint(mmcheck(md, on_abort), ==, 1);
		g_assert_cmpuint(mmalloc_usable_size(plain, mmalloc(plain, 100)), ==, 112);
		heap_detach(md);
	}
	for (int i = 0; i < 70; i++) {
		md = heap_attach(support_path("next"));
		g_assert_cmpuint(mmalloc_usable_size(md, mmalloc(md, 100)), ==, 112);
		heap_detach(md);
	}
	heap_detach(plain);
}

static int die_by_default(void *arg)
{
	void *md = mmalloc_attach(-1, NULL); /* Valgrind reads all of a file's range, when somebody dies with one. */
	char *block;

	(void)arg;
	g_assert_cmpint(mmcheck(md, NULL), ==, 1);
	block = mmalloc(md, 10);
	block[10] = 0;
	signal(SIGABRT, SIG_DFL);
	mfree(md, block);
	return 0;
}

static void the_default_is_abort(void)
{
	char *text;
	int status;

	support_capture_begin();
	status = support_wait(support_fork(die_by_default, NULL));
	text = support_capture_end();
	g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	g_assert_nonnull(strstr(text, "of 10 bytes was overwritten"));
	g_free(text);
}

static int guard_default_heap(void *arg)
{
	char *block;

	(void)arg;
	g_assert_cmpint(mmcheck(NULL, on_abort), ==, 1);
	block = mmalloc(NULL, 77);
	g_assert_cmpuint(mmalloc_usable_size(NULL, block), ==, 77);
	block[-1] = 0;
	bad_free(NULL, block, "the memory before block");
	block = mmalloc(NULL, 200);
	block[200] = 0;
	bad_free(NULL, block, "the memory after block");
	heap_check(NULL);
	return 0;
}

static void the_default_heap(void)
{
	support_run_child(guard_default_heap, NULL);
}

static void memory_without_a_file(void)
{
	void *md = mmalloc_attach(-1, NULL);
	char *block;

	g_assert_cmpint(mmcheck(md, on_abort), ==, 1);
	for (size_t size = 1; size < 100000; size = size * 3 + 1) {
		damage(md, 16, size, true);
		damage(md, 256, size, false);
	}
	block = mmalloc(md, 10);
	block = mrealloc(md, block, 4000);
	block = mrealloc(md, block, 20);
	good_free(md, block);
	heap_detach(md);
}

/* Headers and tails that anybody may have written: no call may leave the map for them. */
static void made_up_guards(void)
{
	void *md = heap_attach(support_path("made-up"));
	struct support_rand r;
	char *blocks[40];

	support_rand_seed(&r, 2);
	for (size_t i = 0; i < 40; i++)
		blocks[i] = mmemalign(md, 16, i < 30 ? 16 + i * 500 : i * 10000); /* Plain ones. */
	g_assert_cmpint(mmcheckf(md, on_abort, 1), ==, 1);
	for (size_t round = 0; round < support_scale(4000); round++) {
		char *block = blocks[support_rand_below(&r, 40)];
		uint64_t words[2] = { support_rand_next(&r), support_rand_next(&r) };

		if (round % 4)
			words[0] = (uint64_t)support_rand_between(&r, 3, 48) << 56 |
				   words[0] >> support_rand_between(&r, 8, 63);
		memcpy(block, words, sizeof(words));
		g_assert_cmpuint(mmalloc_usable_size(md, block + 16), ==, 0);
		g_assert_cmpuint(mmalloc_usable_size(md, block), >=, 16);
		if (round % 50 == 0)
			heap_check(md);
	}
	g_assert_cmpuint(live(md), ==, 40);
	for (size_t i = 0; i < 40; i++)
		good_free(md, blocks[i]);
	heap_detach(md);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/check/small", one_byte_beyond_small_blocks);
	support_add("/mmalloc/check/large", one_byte_beyond_large_blocks);
	support_add("/mmalloc/check/aligned", one_byte_beyond_aligned_blocks);
	support_add("/mmalloc/check/header", a_whole_header_overwritten);
	support_add("/mmalloc/check/no-blocks", pointers_that_are_no_blocks);
	support_add("/mmalloc/check/patterns", patterns);
	support_add("/mmalloc/check/realloc", resizing);
	support_add("/mmalloc/check/used-heap", a_heap_in_use);
	support_add("/mmalloc/check/again", switching_on_again);
	support_add("/mmalloc/check/other-heaps", other_heaps_pay_nothing);
	support_add("/mmalloc/check/abort", the_default_is_abort);
	support_add("/mmalloc/check/default-heap", the_default_heap);
	support_add("/mmalloc/check/memory", memory_without_a_file);
	support_add("/mmalloc/check/made-up", made_up_guards);
	return support_run();
}
