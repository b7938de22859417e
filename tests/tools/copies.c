/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapalloc snapshot where the kernel's copy_file_range() does not copy, or stops after a part: the copy has each byte of each block, on
 * maps of all kinds.
 */
#include <linux/fs.h>
#include <sys/syscall.h>

#include "tests/support/support_fault.h"
#include "tests/tools/heaps.h"
#include "tests/tools/victim.h"

#define BLOCKS 400

static const struct heap *heap;
static int kernel_says;

static struct block {
	uint64_t block; /* At the same address in the copy, and in a region at the same offset. */
	size_t size;
	char *bytes;
} blocks[BLOCKS];
static unsigned count;

/* Random bytes, none of which is 0: a hole, or another place of the file, has others. */
static void make(const char *path)
{
	void *map = heap->open(path);
	struct support_rand r;

	support_rand_seed(&r, 5);
	for (count = 0; count < BLOCKS; count++) {
		struct block *b = &blocks[count];

		b->size = heap_size(heap, &r);
		b->block = heap->malloc(map, b->size);
		if (!b->block)
			break;
		b->bytes = g_malloc(b->size);
		for (size_t i = 0; i < b->size; i++)
			b->bytes[i] = (char)(1 + support_rand_below(&r, 255));
		memcpy(heap->at(map, b->block), b->bytes, b->size);
	}
	g_assert_cmpuint(count, >, 50);
	g_assert_cmpint(heap->setroot(map, "last", blocks[count - 1].block), ==, 0);
	heap->close(map);
}

static void compare(const char *path)
{
	void *map = heap->open(path);

	g_assert_nonnull(map);
	g_assert_cmpuint(heap->getroot(map, "last"), ==, blocks[count - 1].block);
	for (unsigned i = 0; i < count; i++)
		if (memcmp(heap->at(map, blocks[i].block), blocks[i].bytes, blocks[i].size) != 0)
			g_error("%s: block %u has other bytes in the copy (%d)", heap->kind, i, kernel_says);
	heap->close(map);
}

/* In this process: another program would not have the hook. */
static void snapshot_is_whole(const char *path)
{
	const char *copy = support_path("copy");
	char *list;

	victim_expect(0, "list", path);
	list = g_strdup(victim_said);
	victim_expect(0, "snapshot", path, copy);
	victim_expect(0, "check", copy);
	victim_expect(0, "list", copy);
	g_assert_cmpstr(victim_said, ==, list);
	compare(copy);
	g_free(list);
	unlink(copy);
	unlink(path);
}

static int without_help(void *arg)
{
	const char *path = support_path("map");

	(void)arg;
	make(path);
	if (!support_make_fail(SYS_ioctl, FICLONE, EOPNOTSUPP) ||
	    !support_make_fail(SYS_copy_file_range, -1, kernel_says))
		return SUPPORT_CANNOT;
	snapshot_is_whole(path);
	return 0;
}

/* 0 stands for a call that returns 0. */
static const int errors[] = { 0, EPERM, EIO, EXDEV };

static void each(support_child_fn *fn)
{
	if (!victim_begin())
		return;
	for (unsigned k = 0; k < HEAPS; k++) {
		for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
			heap = &heaps[k];
			kernel_says = errors[i];
			support_run_or_skip(fn, "no seccomp filter here");
		}
	}
}

static void kernel_does_not_copy(void)
{
	each(without_help);
}

#ifdef __x86_64__
static long calls;

/* A part of the first two, which ends in the middle of a page; then nothing more. */
static long copy_a_part(const long args[6])
{
	char bytes[5000];
	ssize_t got;

	if (calls++ > 1)
		return -kernel_says;
	got = pread((int)args[0], bytes, sizeof(bytes), *(off_t *)args[1]);
	return pwrite((int)args[2], bytes, (size_t)got, *(off_t *)args[3]);
}

static int with_a_part(void *arg)
{
	const char *path = support_path("map");

	(void)arg;
	make(path);
	if (!support_make_fail(SYS_ioctl, FICLONE, EOPNOTSUPP) || !support_hook(SYS_copy_file_range, copy_a_part))
		return SUPPORT_CANNOT;
	snapshot_is_whole(path);
	g_assert_cmpint(calls, >=, 3);
	return 0;
}

static void kernel_copies_a_part(void)
{
	each(with_a_part);
}
#endif

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/copies/none", kernel_does_not_copy);
#ifdef __x86_64__
	support_add("/tools/copies/part", kernel_copies_a_part);
#endif
	return support_run();
}
