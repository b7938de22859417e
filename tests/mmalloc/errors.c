/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each errno of each call on a descriptor; that mmalloc_errno() says the same, for each descriptor and each thread; and what is
 * printed about it. Attaching is in errors_open.c, full disks are in disk.c.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_mmalloc.h"

#define fails_void(md, call, expected) heap_fails(md, ((call), 0), 0, expected)

static const struct mmalloc_options small = { .reserve = 8 << 20 };

static int go_on(void *block, size_t size, void *arg)
{
	(void)block, (void)size, (void)arg;
	return 0;
}

static bool all_zero(struct mstats figures)
{
	static const struct mstats none;

	return memcmp(&figures, &none, sizeof(none)) == 0;
}

/* The default heap, an anonymous one, one in a file. */
static void *each_heap(size_t i)
{
	int fd = i == 2 ? heap_file(support_path("each")) : -1;
	void *md = i == 0 ? NULL : mmalloc_attach_opt(fd, NULL, &small);

	if (fd >= 0)
		close(fd);
	g_assert_true(md || i == 0);
	return md;
}

static void taking_and_giving(void *md)
{
	char *block = mmalloc(md, 100), *large = mmalloc(md, 200000), local[64];
	char *const bad[] = { block + 16, block + 1, large + 65536, large + 16, local, (char *)8 };

	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		fails_void(md, mfree(md, bad[i]), EINVAL);
		heap_fails(md, mrealloc(md, bad[i], 10), NULL, EINVAL);
		heap_fails(md, mrealloc(md, bad[i], 300000), NULL, EINVAL);
		heap_fails(md, mrealloc(md, bad[i], 0), NULL, EINVAL);
		heap_fails(md, mmalloc_usable_size(md, bad[i]), 0, EINVAL);
	}
	heap_fails(md, mmalloc(md, SIZE_MAX), NULL, ENOMEM);
	heap_fails(md, mmalloc(md, (size_t)1 << 45), NULL, ENOMEM);
	heap_fails(md, mrealloc(md, NULL, (size_t)1 << 45), NULL, ENOMEM);
	heap_fails(md, mrealloc(md, block, (size_t)1 << 45), NULL, ENOMEM);
	heap_fails(md, mrealloc(md, large, SIZE_MAX), NULL, ENOMEM);
	heap_fails(md, mcalloc(md, SIZE_MAX, 2), NULL, ENOMEM);
	heap_fails(md, mcalloc(md, (size_t)1 << 32, ((size_t)1 << 32) + 1), NULL, ENOMEM);
	heap_fails(md, mcalloc(md, 2, (size_t)1 << 45), NULL, ENOMEM);
	heap_fails(md, mmemalign(md, 64, SIZE_MAX), NULL, ENOMEM);
	heap_fails(md, mmemalign(md, (size_t)1 << 62, 10), NULL, ENOMEM);
	heap_fails(md, mmemalign(md, 0, 10), NULL, EINVAL);
	heap_fails(md, mmemalign(md, 48, 10), NULL, EINVAL);
	heap_fails(md, mvalloc(md, SIZE_MAX - 100), NULL, ENOMEM);
	mfree(md, block);
	mfree(md, large);
	fails_void(md, mfree(md, block), EINVAL);
	fails_void(md, mfree(md, large), EINVAL);
	heap_check(md);
}

static void keys_roots_and_looking(void *md)
{
	char name[MMALLOC_ROOT_MAX + 2], *block = mmalloc(md, 100);
	struct mmalloc_stats stats;

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	heap_fails(md, mmalloc_setkey(md, -1, block), 0, EINVAL);
	heap_fails(md, mmalloc_setkey(md, MMALLOC_KEYS, block), 0, EINVAL);
	heap_fails(md, mmalloc_getkey(md, -1), NULL, EINVAL);
	heap_fails(md, mmalloc_getkey(md, MMALLOC_KEYS), NULL, EINVAL);
	heap_fails(md, mmalloc_setroot(md, NULL, block), -1, EINVAL);
	heap_fails(md, mmalloc_setroot(md, "", block), -1, EINVAL);
	heap_fails(md, mmalloc_setroot(md, name, block), -1, EINVAL);
	heap_fails(md, mmalloc_setroot(md, "a", &stats), -1, EINVAL);
	heap_fails(md, mmalloc_getroot(md, NULL), NULL, EINVAL);
	heap_fails(md, mmalloc_getroot(md, name), NULL, EINVAL);
	heap_fails(md, mmalloc_getroot(md, "a"), NULL, ENOENT);
	g_assert_cmpint(mmalloc_stats(md, &stats), ==, 0);
	heap_fails(md, mmalloc_setroot(md, "a", stats.base), -1, EINVAL);
	heap_fails(md, mmalloc_stats(md, NULL), -1, EINVAL);
	heap_fails(md, mmalloc_walk(md, NULL, NULL), -1, EINVAL);
	mfree(md, block);
	heap_check(md);
}

static void each_call(void)
{
	for (size_t i = 0; i < 3; i++) {
		void *md = each_heap(i);

		taking_and_giving(md);
		keys_roots_and_looking(md);
		if (md)
			heap_detach(md);
	}
	heap_fails(NULL, mmalloc_detach(NULL), NULL, EINVAL);
}

/* A heap without room. */
static void full(void)
{
	for (size_t i = 1; i < 3; i++) {
		void *md = each_heap(i), *block = mmalloc(md, 100), *large = mmalloc(md, 100000);
		char name[32];
		int roots = 0;

		while (mmalloc(md, 65536))
			;
		while (mmalloc(md, 16))
			;
		heap_fails(md, mmalloc(md, 16), NULL, ENOMEM);
		heap_fails(md, mmalloc(md, 3000), NULL, ENOMEM);
		heap_fails(md, mrealloc(md, block, 5000), NULL, ENOMEM);
		heap_fails(md, mrealloc(md, large, 500000), NULL, ENOMEM);
		heap_fails(md, mcalloc(md, 3, 100), NULL, ENOMEM);
		heap_fails(md, mmemalign(md, 64, 100), NULL, ENOMEM);
		heap_fails(md, mvalloc(md, 100), NULL, ENOMEM);
		do
			g_snprintf(name, sizeof(name), "root %d", ++roots);
		while (mmalloc_setroot(md, name, block) == 0 && roots < 100000);
		heap_fails(md, mmalloc_setroot(md, name, block), -1, ENOSPC);
		mfree(md, block);
		mfree(md, large);
		heap_detach(md);
	}
}

static void all_say_ebadf(void *md, void *block)
{
	struct mmalloc_stats stats;

	assert_null(mmalloc(md, 8), EBADF);
	assert_null(mmalloc(md, 100000), EBADF);
	assert_null(mrealloc(md, NULL, 8), EBADF);
	assert_null(mrealloc(md, block, 8), EBADF);
	assert_null(mcalloc(md, 1, 8), EBADF);
	assert_void(mfree(md, block), EBADF);
	assert_null(mmemalign(md, 16, 8), EBADF);
	assert_null(mvalloc(md, 8), EBADF);
	assert_void(g_assert_cmpuint(mmalloc_usable_size(md, block), ==, 0), EBADF);
	assert_void(g_assert_cmpint(mmalloc_setkey(md, 0, block), ==, 0), EBADF);
	assert_null(mmalloc_getkey(md, 0), EBADF);
	assert_minus1(mmalloc_setroot(md, "name", block), EBADF);
	assert_null(mmalloc_getroot(md, "name"), EBADF);
	assert_void(g_assert_true(all_zero(mmstats(md))), EBADF);
	assert_minus1(mmalloc_stats(md, &stats), EBADF);
	assert_minus1(mmalloc_check(md, NULL, NULL), EBADF);
	assert_minus1(mmalloc_walk(md, go_on, NULL), EBADF);
	assert_minus1(mmalloc_sync(md), EBADF);
	assert_minus1(mmalloc_trim(md), EBADF);
	assert_void(g_assert_true(mmalloc_detach(md) == md), EBADF);
	g_assert_cmpint(mmalloc_errno(md), ==, EBADF);
}

static void detached(void)
{
	for (size_t i = 1; i < 3; i++) {
		void *md = each_heap(i), *block = mmalloc(md, 100);

		heap_detach(md);
		g_assert_cmpint(mmalloc_errno(md), ==, 0);
		all_say_ebadf(md, block);
	}
}

/* When the address is given out again, the failures of its last holder are not the new one's. */
static void given_out_again(void)
{
	void *old = each_heap(1), *md = NULL;

	fails_void(old, mfree(old, &md), EINVAL);
	heap_detach(old);
	all_say_ebadf(old, &md);
	for (size_t i = 0; i < 200 && md != old; i++) {
		md = each_heap(1);
		g_assert_cmpint(mmalloc_errno(md), ==, 0);
		if (i < 64)
			g_assert_true(md != old);
		if (md != old)
			heap_detach(md);
	}
	g_assert_true(md == old);
	heap_detach(md);
}

static void read_only(void)
{
	const struct mmalloc_options look = { .flags = MMALLOC_RDONLY };
	const char *path = support_path("reading");
	void *md = heap_attach(path), *block = mmalloc(md, 100), *large = mmalloc(md, 100000);
	int fd = heap_file(path);

	heap_detach(md);
	md = mmalloc_attach_opt(fd, NULL, &look);
	close(fd);
	g_assert_nonnull(md);
	heap_fails(md, mmalloc(md, 8), NULL, EROFS);
	heap_fails(md, mmalloc(md, 100000), NULL, EROFS);
	heap_fails(md, mrealloc(md, block, 8), NULL, EROFS);
	heap_fails(md, mrealloc(md, large, 8), NULL, EROFS);
	heap_fails(md, mcalloc(md, 1, 8), NULL, EROFS);
	fails_void(md, mfree(md, block), EROFS);
	fails_void(md, mfree(md, large), EROFS);
	heap_fails(md, mmemalign(md, 64, 8), NULL, EROFS);
	heap_fails(md, mvalloc(md, 8), NULL, EROFS);
	heap_fails(md, mmalloc_setkey(md, 0, block), 0, EROFS);
	heap_fails(md, mmalloc_setroot(md, "name", block), -1, EROFS);
	heap_fails(md, mmalloc_trim(md), -1, EROFS);
	assert_void(g_assert_cmpint(mmalloc_sync(md), ==, 0), 0);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, 2);
	heap_detach(md);
}

/* --- more processes than a heap has room for --- */

struct crowd {
	void *md, *large;
	struct support_barrier *there;
	struct support_barrier *done;
};

static int one_of_the_crowd(void *arg)
{
	struct crowd *c = arg;

	g_assert_nonnull(mmalloc(c->md, 100));
	support_barrier_wait(c->there);
	support_barrier_wait(c->done);
	return 0;
}

/* Nothing of it is found free, or wrong: only too crowded. */
static int one_too_many(void *arg)
{
	struct crowd *c = arg;
	void *md = c->md;

	heap_fails(md, mmalloc(md, 100), NULL, EUSERS);
	heap_fails(md, mmalloc(md, 100000), NULL, EUSERS);
	heap_fails(md, mcalloc(md, 1, 100), NULL, EUSERS);
	heap_fails(md, mmemalign(md, 64, 100), NULL, EUSERS);
	heap_fails(md, mrealloc(md, c->large, 4000000), NULL, EUSERS);
	fails_void(md, mfree(md, c->large), EUSERS);
	heap_fails(md, mmalloc_setroot(md, "name", c->large), -1, EUSERS);
	heap_fails(md, mmalloc_trim(md), -1, EUSERS);
	g_assert_cmpuint(mmalloc_usable_size(md, c->large), >=, 100000);
	heap_check(md);
	return 0;
}

static void crowded(void)
{
	enum { CROWD = 63 }; /* And this process: 64. */
	const struct mmalloc_options options = { .processes = CROWD + 1 };
	struct crowd *c = support_shared(sizeof(*c));
	pid_t pids[CROWD];
	int fd;

	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("64 processes under a sanitizer or Valgrind take too much memory");
		return;
	}
	c->there = support_barrier_new(CROWD + 1);
	c->done = support_barrier_new(CROWD + 1);
	fd = heap_file(support_path("crowd"));
	c->md = mmalloc_attach_opt(fd, NULL, &options);
	close(fd);
	g_assert_nonnull(c->md);
	c->large = mmalloc(c->md, 100000);
	for (size_t i = 0; i < CROWD; i++)
		pids[i] = support_fork(one_of_the_crowd, c);
	support_barrier_wait(c->there);
	support_run_child(one_too_many, c);
	support_barrier_wait(c->done);
	for (size_t i = 0; i < CROWD; i++)
		support_wait_ok(pids[i]);
	mfree(c->md, c->large);
	heap_detach(c->md);
}

/* --- whose error it is --- */

static void *in_another_thread(void *md)
{
	g_assert_cmpint(mmalloc_errno(md), ==, 0);
	heap_fails(md, mmalloc(md, SIZE_MAX), NULL, ENOMEM);
	return NULL;
}

static void each_thread_has_its_own(void)
{
	void *md = each_heap(1), *other = each_heap(1);
	pthread_t thread;

	fails_void(md, mfree(md, &thread), EINVAL);
	g_assert_cmpint(pthread_create(&thread, NULL, in_another_thread, md), ==, 0);
	g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
	g_assert_cmpint(mmalloc_errno(md), ==, EINVAL);
	g_assert_cmpint(mmalloc_errno(other), ==, 0);
	heap_detach(md);
	heap_detach(other);
}

/* Sixteen are remembered; the seventeenth drives the first one out. */
static void each_descriptor_has_its_own(void)
{
	void *md[17];

	for (size_t i = 0; i < 17; i++) {
		md[i] = each_heap(1);
		if (i % 2)
			heap_fails(md[i], mmalloc(md[i], SIZE_MAX), NULL, ENOMEM);
		else
			fails_void(md[i], mfree(md[i], md), EINVAL);
	}
	for (size_t i = 1; i < 17; i++)
		g_assert_cmpint(mmalloc_errno(md[i]), ==, i % 2 ? ENOMEM : EINVAL);
	g_assert_cmpint(mmalloc_errno(md[0]), ==, 0);
	for (size_t i = 0; i < 17; i++)
		heap_detach(md[i]);
}

static void success_leaves_both_alone(void)
{
	void *md = each_heap(2), *block;

	fails_void(md, mfree(md, &md), EINVAL);
	errno = ERANGE;
	block = mrealloc(md, mmalloc(md, 10), 200000);
	mfree(md, block);
	mfree(md, NULL);
	g_assert_null(mmalloc(md, 0));
	g_assert_null(mrealloc(md, mmemalign(md, 128, 10), 0));
	g_assert_cmpuint(mmalloc_usable_size(md, NULL), ==, 0);
	g_assert_cmpint(mmalloc_setkey(md, 5, md), ==, 1);
	g_assert_null(mmalloc_getkey(md, 6));
	g_assert_cmpint(mmalloc_sync(md), ==, 0);
	assert_errno_is(ERANGE);
	g_assert_cmpint(mmalloc_errno(md), ==, EINVAL);
	heap_detach(md);
}

/* --- what is printed --- */

static void fail_in_many_ways(void *md)
{
	mmalloc(md, SIZE_MAX / 2);
	mfree(md, &md);
	mmalloc_setkey(md, -1, NULL);
	mmalloc_getroot(md, "absent");
	mmemalign(md, 3, 10);
	mcalloc(md, SIZE_MAX, 2);
	mmalloc_stats(md, NULL);
}

static size_t lines(const char *text)
{
	size_t count = 0;

	for (; *text; text++)
		count += *text == '\n';
	return count;
}

static void nothing_is_printed_by_default(void)
{
	char *text;

	if (!support_in_process_with("MMALLOC_DEBUG", NULL))
		return;
	support_capture_begin();
	fail_in_many_ways(NULL);
	text = support_capture_end();
	g_assert_cmpstr(text, ==, "");
	g_free(text);
}

static void one_line_a_failure(void)
{
	char *text;
	void *md, *block;

	if (!support_in_process_with("MMALLOC_DEBUG", "1"))
		return;
	support_capture_begin();
	md = each_heap(1);
	block = mmalloc(md, 10);
	mfree(md, block);
	text = support_capture_end();
	g_assert_cmpstr(text, ==, "");
	g_free(text);
	support_capture_begin();
	fail_in_many_ways(md);
	text = support_capture_end();
	g_test_message("%s", text);
	g_assert_cmpuint(lines(text), ==, 6);
	g_assert_nonnull(strstr(text, "mmalloc["));
	g_assert_nonnull(strstr(text, "(ENOMEM)\n"));
	g_assert_nonnull(strstr(text, "(EINVAL)\n"));
	g_assert_nonnull(strstr(text, "no key -1"));
	g_assert_null(strstr(text, "\"absent\"")); /* Whether a root is there may be asked. */
	g_free(text);
	heap_detach(md);
}

/* A heap that another program has written into. */
static void damaged(void)
{
	void *md = each_heap(2);
	struct mmalloc_stats stats;
	size_t found = 0;

	mmalloc(md, 100);
	g_assert_cmpint(mmalloc_stats(md, &stats), ==, 0);
	/* Somewhere in the tables are the chunks' words: try each until the check sees it. */
	for (size_t at = 4096; at < stats.file_bytes - stats.used_bytes - 65536 && !found; at += 8) {
		uint64_t *word = (uint64_t *)(void *)((char *)stats.base + at), before = *word;

		if (before == 0)
			continue;
		*word = before | 0x7;
		if (*word != before && mmalloc_check(md, NULL, NULL) != 0)
			found = at;
		if (found)
			heap_fails(md, mmalloc_check(md, NULL, NULL), -1, EUCLEAN);
		*word = before;
	}
	g_assert_cmpuint(found, >, 0);
	heap_detach(md);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/errors/each-call", each_call);
	support_add("/mmalloc/errors/full", full);
	support_add("/mmalloc/errors/damaged", damaged);
	support_add("/mmalloc/errors/detached", detached);
	support_add("/mmalloc/errors/given-out-again", given_out_again);
	support_add("/mmalloc/errors/read-only", read_only);
	support_add("/mmalloc/errors/crowded", crowded);
	support_add("/mmalloc/errors/threads", each_thread_has_its_own);
	support_add("/mmalloc/errors/descriptors", each_descriptor_has_its_own);
	support_add("/mmalloc/errors/success", success_leaves_both_alone);
	support_add("/mmalloc/errors/silent", nothing_is_printed_by_default);
	support_add("/mmalloc/errors/debug", one_line_a_failure);
	return support_run();
}
