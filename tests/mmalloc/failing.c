/* SPDX-License-Identifier: BSD-3-Clause */
/* Errors of a heap whose disk fails, or for which no addresses are free. */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_mmalloc.h"

/* --- a disk that fails --- */

static int disk_error;

/* Small, because Valgrind looks through all that is mapped when a child ends. */
static void *heap_of_64_mib(void)
{
	const struct mmalloc_options options = { .reserve = 64 << 20 };
	int fd = heap_file(support_path("disk"));
	void *md = mmalloc_attach_opt(fd, NULL, &options);

	close(fd);
	g_assert_nonnull(md);
	return md;
}

static int take_no_space(void *arg)
{
	void *md = heap_of_64_mib(), *block = mmalloc(md, 100000);

	(void)arg;
	g_assert_nonnull(block);
	if (!support_make_fail(SYS_fallocate, -1, disk_error))
		return SUPPORT_CANNOT;
	heap_fails(md, mmalloc(md, 32 * MIB), NULL, disk_error);
	heap_fails(md, mcalloc(md, 32, MIB), NULL, disk_error);
	heap_fails(md, mmemalign(md, MIB, 32 * MIB), NULL, disk_error);
	heap_fails(md, mvalloc(md, 32 * MIB), NULL, disk_error);
	heap_fails(md, mrealloc(md, block, 32 * MIB), NULL, disk_error);
	heap_fails(md, mrealloc(md, NULL, 32 * MIB), NULL, disk_error);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, 1);
	mfree(md, block);
	heap_detach(md);
	return 0;
}

static int grow_no_file(void *arg)
{
	void *md = heap_of_64_mib();

	(void)arg;
	/* Where there is no fallocate(2), which makes files longer elsewhere. */
	if (!support_make_fail(SYS_fallocate, -1, EOPNOTSUPP) || !support_make_fail(SYS_ftruncate, -1, disk_error))
		return SUPPORT_CANNOT;
	heap_fails(md, mmalloc(md, 32 * MIB), NULL, disk_error);
	heap_detach(md);
	return 0;
}

static void disk_fails(void)
{
	static const int errors[] = { EIO, ENOSPC, EDQUOT, EFBIG };

	for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
		disk_error = errors[i];
		support_run_or_skip(take_no_space, "no seccomp filter here");
		support_run_or_skip(grow_no_file, "no seccomp filter here");
	}
}

static int sync_nothing(void *arg)
{
	void *md = heap_of_64_mib();

	(void)arg;
	if (!support_make_fail(SYS_msync, -1, EIO))
		return SUPPORT_CANNOT;
	heap_fails(md, mmalloc_sync(md), -1, EIO);
	g_assert_nonnull(mmalloc(md, 10));
	heap_detach(md);
	return 0;
}

static void writing_fails(void)
{
	support_run_or_skip(sync_nothing, "no seccomp filter here");
}

static void no_base(void)
{
	void *wall;

	assert_null(mmalloc_findbase(SIZE_MAX), ENOMEM);
	assert_null(mmalloc_findbase((size_t)1 << 46), ENOMEM);
	/* Each place for so much has this page in it. */
	wall = mmap((void *)0x300000000000, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	assert_null(mmalloc_findbase((size_t)60 << 40), ENOMEM);
	if (wall != MAP_FAILED)
		munmap(wall, 4096);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/failing/disk", disk_fails);
	support_add("/mmalloc/failing/writing", writing_fails);
	support_add("/mmalloc/failing/findbase", no_base);
	return support_run();
}
