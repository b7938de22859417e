/* SPDX-License-Identifier: BSD-3-Clause */
/* What calls of durable regions refuse, and how: without a file, in the wrong order, on full disks, without their checkpoint files; copies. */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/support/support_cut.h"

#define CAPACITY (4 * MIB)

static shmbuddy_t *new_region(const char *path)
{
	return buddy_open(path, CAPACITY, 32, MIB);
}

/* Of a region that is on disk, with a block that all of its checkpoints have. */
static shmbuddy_t *new_durable(const char *path)
{
	shmbuddy_t *region = new_region(path);
	shm_offt at = shmbuddy_malloc(region, 100);

	strcpy(shmbuddy_address(region, at), "kept");
	g_assert_cmpint(shmbuddy_setroot(region, NULL, at), ==, 0);
	g_assert_cmpint(shmbuddy_durable(region), ==, 0);
	return region;
}

static void has_block(shmbuddy_t *region)
{
	g_assert_cmpstr(shmbuddy_address(region, shmbuddy_getroot(region, NULL)), ==, "kept");
}

static char *checkpoint_file(const char *path)
{
	return g_strconcat(path, ".checkpoint", NULL);
}

static void says(const char *part)
{
	if (!strstr(shmbuddy_errmsg(), part))
		g_error("\"%s\" says nothing of \"%s\"", shmbuddy_errmsg(), part);
}

/* ---- without a file to write to ---- */

static void no_file(shmbuddy_t *region)
{
	buddy_fails(EROFS, shmbuddy_durable(region) == -1);
	buddy_fails(EROFS, shmbuddy_capture(region) == -1);
	buddy_fails(EROFS, shmbuddy_commit(region) == -1);
	says("read-only");
	g_assert_cmpint(shmbuddy_sync(region), ==, 0);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
	buddy_fails(EBADF, shmbuddy_durable(region) == -1);
	buddy_fails(EBADF, shmbuddy_capture(region) == -1);
	buddy_fails(EBADF, shmbuddy_commit(region) == -1);
}

static void without_a_file(void)
{
	static _Alignas(64) char mem[1 << 20];
	const struct shmbuddy_options reading = { .flags = SHMBUDDY_RDONLY };
	const char *path = support_path("region");
	shmbuddy_t *region;

	no_file(shmbuddy_format(mem, sizeof(mem), NULL));
	buddy_close(new_durable(path));
	no_file(shmbuddy_open(path, &reading));
	buddy_fails(EBADF, shmbuddy_durable(NULL) == -1);
	buddy_fails(EBADF, shmbuddy_capture(NULL) == -1);
	buddy_fails(EBADF, shmbuddy_commit(NULL) == -1);
	region = buddy_open(path, 0, 0, 0);
	unlink(path);
	buddy_fails(ENOENT, shmbuddy_durable(region) == -1);
	buddy_fails(ENOENT, shmbuddy_sync(region) == -1);
	buddy_fails(ENOENT, shmbuddy_capture(region) == -1);
	buddy_close(region);
}

static void memfd(void)
{
	int fd = memfd_create("region", MFD_CLOEXEC);
	shmbuddy_t *region = shmbuddy_open_fd(fd, NULL);

	g_assert_nonnull(region);
	buddy_fails(ENOENT, shmbuddy_durable(region) == -1);
	says("has a name");
	g_assert_cmpint(shmbuddy_sync(region), ==, 0);
	buddy_close(region);
	close(fd);
}

/* ---- order ---- */

static void order(void)
{
	const char *path = support_path("region");
	shmbuddy_t *region = new_region(path);

	buddy_fails(EINVAL, shmbuddy_capture(region) == -1);
	says("not durable");
	buddy_fails(EINVAL, shmbuddy_commit(region) == -1);
	g_assert_cmpint(shmbuddy_durable(region), ==, 0);
	g_assert_cmpint(shmbuddy_durable(region), ==, 0);
	buddy_fails(EINVAL, shmbuddy_commit(region) == -1);
	g_assert_cmpint(shmbuddy_capture(region), ==, 0);
	buddy_fails(EBUSY, shmbuddy_capture(region) == -1);
	buddy_fails(EBUSY, shmbuddy_sync(region) == -1);
	buddy_fails(EBUSY, shmbuddy_durable(region) == -1);
	g_assert_cmpint(shmbuddy_commit(region), ==, 0);
	buddy_fails(EINVAL, shmbuddy_commit(region) == -1);
	buddy_close(region);
}

static void restoring(void)
{
	const char *path = support_path("region"), *other = support_path("other");
	shmbuddy_t *region = new_region(path);

	buddy_fails(EINVAL, shmbuddy_restore(NULL) == -1);
	buddy_fails(ENOENT, shmbuddy_restore("/no/such/file") == -1);
	buddy_fails(EBUSY, shmbuddy_restore(path) == -1);
	buddy_close(region);
	buddy_fails(ENOENT, shmbuddy_restore(path) == -1);
	says("make it durable");
	support_file_write(other, "no region", 9);
	buddy_fails(EMEDIUMTYPE, shmbuddy_restore(other) == -1);
	buddy_close(open_again(path, false));
}

/* ---- disks ---- */

static int on_full_disk(void *arg)
{
	const char *path;
	struct support_rand rand;
	shmbuddy_t *region;
	shm_offt at;

	(void)arg;
	if (!support_small_disk("size=5m"))
		return SUPPORT_CANNOT;
	path = support_path("region");
	region = new_durable(path);
	while ((at = shmbuddy_malloc(region, 65536)) != SHM_NULL)
		memset(shmbuddy_address(region, at), 1, 65536);
	buddy_fails(ENOSPC, shmbuddy_sync(region) == -1);
	buddy_fails(ENOSPC, shmbuddy_capture(region) == -1);
	buddy_close(region);
	support_rand_seed(&rand, 1);
	cut_power(path, &rand, false);
	region = open_after_cut(path);
	has_block(region);
	g_assert_cmpuint(buddy_stats(region).used_blocks, ==, 1);
	buddy_close(region);
	return 0;
}

static void full_disk(void)
{
	support_run_or_skip(on_full_disk, "no disk of its own can be mounted");
}

/* ---- the file beside it ---- */

static void missing(void)
{
	const char *path = support_path("region");
	char *file = checkpoint_file(path);
	const struct shmbuddy_options reading = { .flags = SHMBUDDY_RDONLY };
	struct support_rand rand;
	gsize bytes;
	char *was;

	support_rand_seed(&rand, 2);
	buddy_close(new_durable(path));
	was = support_file_read(file, &bytes);
	cut_power(path, &rand, false);
	buddy_fails(EUCLEAN, !shmbuddy_open(path, &reading));
	says("once for writing");
	cut_power(path, &rand, true);
	unlink(file);
	buddy_fails(EUCLEAN, !shmbuddy_open(path, NULL));
	says(".checkpoint is missing");
	support_file_write(file, was, bytes / 2);
	buddy_fails(EUCLEAN, !shmbuddy_open(path, NULL));
	says("damaged");
	support_file_write(file, was, bytes);
	has_block(open_after_cut(path));
	g_free(was);
	g_free(file);
}

static void of_another_region(void)
{
	const char *path = support_path("region"), *other = support_path("other");
	char *file = checkpoint_file(path), *from = checkpoint_file(other);
	shmbuddy_t *region = new_region(path);

	buddy_close(new_durable(other));
	support_file_copy(from, file);
	buddy_fails(EUCLEAN, shmbuddy_durable(region) == -1);
	says("another map");
	unlink(file);
	g_assert_cmpint(shmbuddy_durable(region), ==, 0);
	buddy_close(region);
	g_free(file);
	g_free(from);
}

/* A copy is durable when its checkpoint file came along. */
static void copies(void)
{
	const char *path = support_path("region"), *copy = support_path("copy");
	char *file = checkpoint_file(path), *beside = checkpoint_file(copy);
	shmbuddy_t *region = new_durable(path);
	shm_offt later = shmbuddy_malloc(region, 50);

	buddy_close(region);
	support_file_copy(path, copy);
	region = open_again(copy, false);
	g_assert_true(opening_of(region).copied);
	g_assert_cmpuint(shmbuddy_usable_size(region, later), ==, 64);
	buddy_fails(EINVAL, shmbuddy_capture(region) == -1);
	g_assert_cmpint(shmbuddy_sync(region), ==, 0);
	g_assert_cmpint(access(beside, F_OK), ==, -1);
	buddy_close(region);
	unlink(copy);
	support_file_copy(path, copy);
	support_file_copy(file, beside);
	region = open_again(copy, true);
	g_assert_true(opening_of(region).copied);
	g_assert_cmpuint(shmbuddy_usable_size(region, later), ==, 0);
	has_block(region);
	g_assert_cmpint(shmbuddy_capture(region), ==, 0);
	g_assert_cmpint(shmbuddy_commit(region), ==, 0);
	buddy_close(region);
	g_free(file);
	g_free(beside);
}

static void snapshots_are_not_durable(void)
{
	const char *path = support_path("region"), *copy = support_path("copy");
	char *beside = checkpoint_file(copy);
	shmbuddy_t *region = new_durable(path), *other;

	g_assert_cmpint(shmbuddy_snapshot(region, copy), ==, 0);
	other = open_again(copy, false);
	has_block(other);
	buddy_fails(EINVAL, shmbuddy_capture(other) == -1);
	g_assert_cmpint(access(beside, F_OK), ==, -1);
	buddy_close(other);
	buddy_close(region);
	g_free(beside);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/durable_errors/without-a-file", without_a_file);
	support_add("/shmbuddy/durable_errors/memfd", memfd);
	support_add("/shmbuddy/durable_errors/order", order);
	support_add("/shmbuddy/durable_errors/restoring", restoring);
	support_add("/shmbuddy/durable_errors/full-disk", full_disk);
	support_add("/shmbuddy/durable_errors/missing", missing);
	support_add("/shmbuddy/durable_errors/of-another-region", of_another_region);
	support_add("/shmbuddy/durable_errors/copies", copies);
	support_add("/shmbuddy/durable_errors/snapshots-are-not-durable", snapshots_are_not_durable);
	return support_run();
}
