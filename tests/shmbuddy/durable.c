/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Durable regions: what an opener finds after a power cut, and that it finds it only then; growth, several processes and fork children between
 * checkpoints; checkpoints in two steps; going back on purpose.
 */
#include "tests/support/support_cut.h"
#include "tests/support/support_fd.h"

#define MOST 400

/* ---- what is in a region ---- */

static uint64_t mixed(uint64_t digest, const void *bytes, size_t count)
{
	const unsigned char *byte = bytes;

	for (size_t i = 0; i < count; i++)
		digest = (digest ^ byte[i]) * UINT64_C(0x100000001b3);
	return digest;
}

struct digest {
	shmbuddy_t *region;
	uint64_t value;
};

static int mix_block(shm_offt offset, size_t size, void *arg)
{
	struct digest *digest = arg;

	digest->value = mixed(digest->value, &offset, sizeof(offset));
	digest->value = mixed(digest->value, shmbuddy_address(digest->region, offset), size);
	return 0;
}

static int mix_root(const char *name, shm_offt offset, void *arg)
{
	struct digest *digest = arg;

	digest->value = mixed(digest->value, name, strlen(name));
	return mix_block(offset, 1, digest);
}

/* All blocks, their contents, the roots and the size. */
static uint64_t digest_of(shmbuddy_t *region)
{
	struct digest digest = { region, buddy_stats(region).capacity };

	g_assert_cmpint(shmbuddy_walk(region, mix_block, &digest), ==, 0);
	g_assert_cmpint(shmbuddy_walkroots(region, mix_root, &digest), ==, 0);
	return digest.value;
}

static int count_for_free(shm_offt offset, size_t size, void *arg)
{
	struct digest *digest = arg;

	(void)size;
	if (++digest->value % 3 == 0)
		g_assert_cmpint(shmbuddy_free(digest->region, offset), ==, 0);
	return 0;
}

/* Some blocks go, others come, what stays changes, and so does a root. */
static void change(shmbuddy_t *region, struct support_rand *rand)
{
	size_t largest = buddy_stats(region).largest;
	shm_offt last = SHM_NULL;

	shmbuddy_walk(region, count_for_free, &(struct digest){ region, support_rand_below(rand, 3) });
	for (size_t i = 0; i < MOST; i++) {
		size_t size = i % 40 ? support_rand_between(rand, 1, largest / 16) : largest / 2;
		shm_offt at = shmbuddy_malloc(region, size);

		if (at == SHM_NULL)
			continue;
		memset(shmbuddy_address(region, at), (int)support_rand_next(rand), size);
		last = at;
	}
	if (last != SHM_NULL)
		g_assert_cmpint(shmbuddy_setroot(region, "last", last), ==, 0);
}

static shmbuddy_t *open_shape(const char *path, const struct shmbuddy_options *shape)
{
	shmbuddy_t *region = shmbuddy_open(path, shape);

	g_assert_nonnull(region);
	return region;
}

static uint64_t sync_and_digest(shmbuddy_t *region)
{
	errno = 77;
	if (shmbuddy_sync(region) < 0)
		g_error("%s", shmbuddy_errmsg());
	g_assert_cmpint(errno, ==, 77);
	return digest_of(region);
}

static void close_and_cut(shmbuddy_t *region, const char *path, struct support_rand *rand)
{
	buddy_close(region);
	cut_power(path, rand, true);
}

/* After a cut it is in this state, and all of it can be used. */
static shmbuddy_t *finds(const char *path, uint64_t digest)
{
	shmbuddy_t *region = open_after_cut(path);

	g_assert_cmpuint(digest_of(region), ==, digest);
	return region;
}

/* ---- cuts ---- */

static void goes_back(void)
{
	struct support_rand rand;

	support_rand_seed(&rand, 1);
	for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
		const char *path = support_path("region");
		shmbuddy_t *region = open_shape(path, &shapes[i]);
		uint64_t digest;

		g_assert_cmpint(shmbuddy_settag(region, 5), ==, 0);
		change(region, &rand);
		g_assert_cmpint(shmbuddy_durable(region), ==, 0);
		digest = digest_of(region);
		for (unsigned round = 0; round < 6; round++) {
			change(region, &rand);
			if (round % 3)
				digest = sync_and_digest(region);
			change(region, &rand);
			if (round == 4)
				digest = sync_and_digest(region);
			close_and_cut(region, path, &rand);
			region = finds(path, digest);
			g_assert_cmpuint(shmbuddy_gettag(region), ==, 5);
		}
		buddy_free_all(region);
		if (buddy_stats(region).capacity >= buddy_stats(region).largest)
			buddy_is_empty(region);
		buddy_close(region);
	}
}

static int change_and_die(void *arg)
{
	struct support_rand rand;
	shmbuddy_t *region = open_again(arg, false);

	support_rand_seed(&rand, 2);
	change(region, &rand);
	g_assert_cmpint(shmbuddy_setroot(region, "mine", shmbuddy_getroot(region, "last")), ==, 0);
	raise(SIGKILL);
	return 0;
}

/* The kernel has every store of theirs. */
static void deaths_undo_nothing(void)
{
	char *path = g_strdup(support_path("region"));
	shmbuddy_t *region = open_shape(path, &shapes[2]);

	g_assert_cmpint(shmbuddy_durable(region), ==, 0);
	buddy_close(region);
	g_assert_cmpint(support_wait(support_fork(change_and_die, path)), ==, SIGKILL);
	region = open_again(path, false);
	g_assert_cmpuint(shmbuddy_getroot(region, "mine"), !=, SHM_NULL);
	buddy_close(region);
	g_free(path);
}

static void growth(void)
{
	const char *path = support_path("region");
	shmbuddy_t *region = open_shape(path, &shapes[3]);
	struct support_rand rand;
	uint64_t digest;
	off_t bytes;

	support_rand_seed(&rand, 3);
	g_assert_cmpint(shmbuddy_durable(region), ==, 0);
	for (unsigned i = 0; i < 4; i++) {
		change(region, &rand);
		sync_and_digest(region); /* From here on it is known what changes. */
		g_assert_cmpint(shmbuddy_grow(region, buddy_stats(region).capacity + 4096), ==, 0);
		digest = sync_and_digest(region);
		bytes = support_file_size(path);
		g_assert_cmpint(shmbuddy_grow(region, buddy_stats(region).capacity + 5 * MIB + 96), ==, 0);
		change(region, &rand);
		close_and_cut(region, path, &rand);
		region = finds(path, digest);
		g_assert_cmpint(support_file_size(path), ==, bytes);
		g_assert_cmpint(shmbuddy_grow(region, buddy_stats(region).capacity + 3 * MIB + 32), ==, 0);
		change(region, &rand);
		digest = sync_and_digest(region);
		close_and_cut(region, path, &rand);
		region = finds(path, digest);
	}
	buddy_close(region);
}

/* ---- processes ---- */

struct other {
	const char *path;
	shmbuddy_t *region;
	struct support_sync sync, visit;
	unsigned seed;
};

static struct other *new_other(const char *path)
{
	struct other *other = support_shared(sizeof(*other));

	other->path = path;
	return other;
}

static int change_beside(void *arg)
{
	struct other *other = arg;
	struct support_rand rand;
	shmbuddy_t *region = other->region ? other->region : open_again(other->path, false);

	support_rand_seed(&rand, other->seed++);
	change(region, &rand);
	support_point(&other->sync, "changed");
	g_assert_cmpint(shmbuddy_sync(region), ==, 0);
	change(region, &rand);
	support_point(&other->sync, "again");
	buddy_close(region);
	return 0;
}

/* A child of before the region was open: it has no handle of its parent's. */
static int visit(void *arg)
{
	struct other *other = arg;
	struct support_rand rand;
	shmbuddy_t *region;

	support_point(&other->visit, "visit");
	region = open_again(other->path, false);
	support_rand_seed(&rand, other->seed++);
	change(region, &rand);
	buddy_close(region);
	return 0;
}

/* Of a process that comes and goes between two checkpoints of another one nothing is missing, and neither of one that stays. */
static void two_processes(void)
{
	struct other *other = new_other(support_path("region"));
	struct support_rand rand;
	uint64_t digest;

	support_rand_seed(&rand, 4);
	for (unsigned i = 0; i < 4; i++) {
		pid_t visitor = support_fork(visit, other), pid;
		shmbuddy_t *region = open_shape(other->path, &shapes[2]);

		g_assert_cmpint(shmbuddy_durable(region), ==, 0);
		sync_and_digest(region); /* From here on it is known what changes. */
		pid = support_fork(change_beside, other);
		support_await(&other->sync, "changed");
		if (i % 2)
			sync_and_digest(region);
		support_go(&other->sync, "changed");
		support_await(&other->sync, "again");
		if (i < 2)
			sync_and_digest(region);
		support_go(&other->sync, "again");
		support_wait_ok(pid);
		sync_and_digest(region);
		sync_and_digest(region);
		support_await(&other->visit, "visit");
		support_go(&other->visit, "visit");
		support_wait_ok(visitor);
		digest = sync_and_digest(region);
		close_and_cut(region, other->path, &rand);
		buddy_close(finds(other->path, digest));
	}
}

/* The child has its parent's handle; of an exclusive region, its lock, too. */
static void fork_children(void)
{
	struct other *other = new_other(support_path("region"));
	struct support_rand rand;
	uint64_t digest;

	support_rand_seed(&rand, 5);
	for (unsigned i = 0; i < 4; i++) {
		struct shmbuddy_options shape = shapes[2];
		pid_t pid;

		shape.flags = i % 2 ? SHMBUDDY_EXCLUSIVE : 0;
		other->region = open_shape(other->path, &shape);
		g_assert_cmpint(shmbuddy_durable(other->region), ==, 0);
		if (i / 2) { /* The parent has captured when the child comes, and is to commit. */
			sync_and_digest(other->region);
			g_assert_cmpint(shmbuddy_capture(other->region), ==, 0);
		}
		pid = support_fork(change_beside, other);
		support_await(&other->sync, "changed");
		if (i / 2)
			g_assert_cmpint(shmbuddy_commit(other->region), ==, 0);
		sync_and_digest(other->region);
		support_go(&other->sync, "changed");
		support_await(&other->sync, "again");
		digest = sync_and_digest(other->region);
		support_kill_at(pid, &other->sync, "again");
		close_and_cut(other->region, other->path, &rand);
		buddy_close(finds(other->path, digest));
	}
}

/* ---- in two steps ---- */

static int capture_and_die(void *arg)
{
	struct support_rand rand;
	shmbuddy_t *region = open_again(arg, false);

	support_rand_seed(&rand, 6);
	change(region, &rand);
	g_assert_cmpint(shmbuddy_capture(region), ==, 0);
	raise(SIGKILL);
	return 0;
}

static void two_steps(void)
{
	char *path = g_strdup(support_path("region"));
	shmbuddy_t *region = open_shape(path, &shapes[2]);
	struct support_rand rand;
	uint64_t digest, then;

	support_rand_seed(&rand, 7);
	g_assert_cmpint(shmbuddy_durable(region), ==, 0);
	for (unsigned i = 0; i < 4; i++) {
		change(region, &rand);
		digest = sync_and_digest(region);
		change(region, &rand);
		errno = 77;
		g_assert_cmpint(shmbuddy_capture(region), ==, 0);
		g_assert_cmpint(errno, ==, 77);
		then = digest_of(region);
		change(region, &rand);
		errno = 77;
		if (i % 2)
			g_assert_cmpint(shmbuddy_commit(region), ==, 0);
		g_assert_cmpint(errno, ==, 77);
		close_and_cut(region, path, &rand);
		region = finds(path, i % 2 ? then : digest);
	}
	g_assert_cmpint(support_wait(support_fork(capture_and_die, path)), ==, SIGKILL);
	digest = sync_and_digest(region);
	close_and_cut(region, path, &rand);
	buddy_close(finds(path, digest));
	g_free(path);
}

/* ---- the rest ---- */

static void on_purpose(void)
{
	const char *path = support_path("region");
	shmbuddy_t *region = open_shape(path, &shapes[3]);
	const struct shmbuddy_options reading = { .flags = SHMBUDDY_RDONLY };
	struct support_rand rand;
	uint64_t digest;

	support_rand_seed(&rand, 8);
	change(region, &rand);
	g_assert_cmpint(shmbuddy_durable(region), ==, 0);
	digest = digest_of(region);
	change(region, &rand);
	g_assert_cmpint(shmbuddy_grow(region, 9 * MIB), ==, 0);
	buddy_close(region);
	g_assert_cmpint(shmbuddy_restore(path), ==, 0);
	buddy_fails(EUCLEAN, !shmbuddy_open(path, &reading));
	region = finds(path, digest);
	buddy_close(region);
	region = shmbuddy_open(path, &reading);
	g_assert_nonnull(region);
	g_assert_cmpuint(digest_of(region), ==, digest);
	g_assert_cmpint(shmbuddy_sync(region), ==, 0); /* As of any read-only one. */
	buddy_close(region);
	buddy_close(open_again(path, false));
}

/* The library opens its file again, and the checkpoint file is opened for each checkpoint. */
static void closed_descriptors(void)
{
	const char *path = support_path("region"), *other = support_path("other");
	shmbuddy_t *region = open_shape(path, &shapes[2]);
	struct support_rand rand;
	uint64_t digest;

	support_rand_seed(&rand, 9);
	g_assert_cmpint(shmbuddy_durable(region), ==, 0);
	change(region, &rand);
	support_file_write(other, "other", 5);
	fd_close_all(false);
	digest = sync_and_digest(region);
	change(region, &rand);
	fd_close_all(false);
	fd_take_numbers(other);
	fd_close_all(false);
	buddy_close(region);
	cut_power(path, &rand, true);
	buddy_close(finds(path, digest));
	g_assert_cmpint(support_file_size(other), ==, 5);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/durable/goes-back", goes_back);
	support_add("/shmbuddy/durable/deaths-undo-nothing", deaths_undo_nothing);
	support_add("/shmbuddy/durable/growth", growth);
	support_add("/shmbuddy/durable/two-processes", two_processes);
	support_add("/shmbuddy/durable/fork-children", fork_children);
	support_add("/shmbuddy/durable/two-steps", two_steps);
	support_add("/shmbuddy/durable/on-purpose", on_purpose);
	support_add("/shmbuddy/durable/closed-descriptors", closed_descriptors);
	return support_run();
}
