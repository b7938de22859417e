/* SPDX-License-Identifier: BSD-3-Clause */
/* Roots that many change at once: compare-and-set loses no change, find-or-create makes one block and no more, a walk shows all. */
#include <stdio.h>

#include "tests/support/support_buddy.h"

#define CHILDREN 4u

static const char *const names[] = { "it", NULL }; /* NULL: the root without a name. */

static shmbuddy_t *open_region(const char *path)
{
	return buddy_open(path, MIB, 32, 1024);
}

static void errors(void)
{
	const struct shmbuddy_options look = { .flags = SHMBUDDY_RDONLY };
	const char *path = support_path("errors");
	shmbuddy_t *region = open_region(path);
	shm_offt block = shmbuddy_malloc(region, 10), expected = SHM_NULL;
	int created = 2;

	buddy_fails(EINVAL, shmbuddy_casroot(region, "", &expected, block) == -1);
	buddy_fails(EINVAL, shmbuddy_casroot(region, "it", NULL, block) == -1);
	buddy_fails(EINVAL, shmbuddy_casroot(region, "it", &expected, 8) == -1);
	buddy_fails(EBADF, shmbuddy_casroot(NULL, "it", &expected, block) == -1);
	buddy_fails(EINVAL, shmbuddy_find_or_create(region, "", 10, NULL, NULL, &created) == SHM_NULL);
	g_assert_cmpint(created, ==, 0);
	buddy_fails(ENOMEM, shmbuddy_find_or_create(region, "it", 2000, NULL, NULL, NULL) == SHM_NULL);
	buddy_fails(EBADF, shmbuddy_find_or_create(NULL, "it", 10, NULL, NULL, NULL) == SHM_NULL);
	buddy_fails(EINVAL, shmbuddy_walkroots(region, NULL, NULL) == -1);
	buddy_fails(EBADF, shmbuddy_walkroots(NULL, NULL, NULL) == -1);
	buddy_close(region);
	region = shmbuddy_open(path, &look);
	buddy_fails(EROFS, shmbuddy_casroot(region, "it", &expected, SHM_NULL) == -1);
	buddy_fails(EROFS, shmbuddy_find_or_create(region, "it", 10, NULL, NULL, NULL) == SHM_NULL);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
}

static void values_of(shmbuddy_t *region, const char *name)
{
	shm_offt a = shmbuddy_malloc(region, 10), b = shmbuddy_malloc(region, 10), expected = a;

	errno = 0;
	g_assert_cmpint(shmbuddy_casroot(region, name, &expected, b), ==, 0);
	g_assert_cmpuint(expected, ==, SHM_NULL);
	g_assert_cmpint(shmbuddy_casroot(region, name, &expected, a), ==, 1);
	g_assert_cmpint(shmbuddy_casroot(region, name, &expected, b), ==, 0);
	g_assert_cmpuint(expected, ==, a);
	g_assert_cmpint(shmbuddy_casroot(region, name, &expected, b), ==, 1);
	g_assert_cmpuint(shmbuddy_getroot(region, name), ==, b);
	expected = b;
	g_assert_cmpint(shmbuddy_casroot(region, name, &expected, SHM_NULL), ==, 1);
	expected = SHM_NULL;
	g_assert_cmpint(shmbuddy_casroot(region, name, &expected, SHM_NULL), ==, 1);
	g_assert_cmpint(errno, ==, 0);
	buddy_fails(ENOENT, shmbuddy_getroot(region, name) == SHM_NULL);
	shmbuddy_free(region, a);
	shmbuddy_free(region, b);
}

static void values(void)
{
	shmbuddy_t *region = open_region(support_path("values"));

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		values_of(region, names[i]);
	buddy_is_empty(region);
	buddy_close(region);
}

static int fill(void *block, size_t size, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < size; i++)
		g_assert_cmpint(((char *)block)[i], ==, 0);
	memset(block, 0x5a, size);
	return 0;
}

static int fail_to_fill(void *block, size_t size, void *arg)
{
	(void)block, (void)size, (void)arg;
	errno = EMLINK;
	return 1;
}

static void create_one(shmbuddy_t *region, const char *name)
{
	int created = 2;
	shm_offt it;
	char *block;

	buddy_fails(EMLINK, shmbuddy_find_or_create(region, name, 10, fail_to_fill, NULL, &created) == SHM_NULL);
	g_assert_cmpint(created, ==, 0);
	errno = 0;
	it = shmbuddy_find_or_create(region, name, 10, fill, NULL, &created);
	block = shmbuddy_address(region, it);
	g_assert_true(block && created == 1 && errno == 0 && block[0] == 0x5a && block[9] == 0x5a);
	g_assert_cmpuint(shmbuddy_find_or_create(region, name, 1000, fail_to_fill, NULL, &created), ==, it);
	g_assert_true(created == 0 && errno == 0);
}

static void create(void)
{
	shmbuddy_t *region = open_region(support_path("create"));

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		create_one(region, names[i]);
	g_assert_cmpuint(buddy_stats(region).used_blocks, ==, G_N_ELEMENTS(names));
	buddy_close(region);
}

/* ---- many at once ---- */

struct shared {
	const char *path;
	size_t rounds;
	_Atomic uint32_t created, inits;
	struct support_barrier *barrier;
};

static struct shared *shared(const char *name)
{
	struct shared *s = support_shared(sizeof(*s));

	*s = (struct shared){ .path = support_path(name), .barrier = support_barrier_new(CHILDREN) };
	return s;
}

/* All come to one name, which no one has: one of them makes it, and in the end one of them takes it away. */
static int create_at_once(void *arg)
{
	struct shared *s = arg;
	shmbuddy_t *region = open_region(s->path);

	for (size_t i = 0; i < s->rounds; i++) {
		const char *name = i % 3 ? "it" : NULL;
		shm_offt it;
		int created;

		support_barrier_wait(s->barrier);
		it = shmbuddy_find_or_create(region, name, 40, fill, NULL, &created);
		g_assert_cmpuint(it, !=, SHM_NULL);
		atomic_fetch_add(&s->created, (uint32_t)created);
		atomic_fetch_add((_Atomic uint32_t *)shmbuddy_address(region, it), 1);
		support_barrier_wait(s->barrier);
		g_assert_cmpuint(*(uint32_t *)shmbuddy_address(region, it), ==, 0x5a5a5a5a + CHILDREN);
		support_barrier_wait(s->barrier);
		if (shmbuddy_casroot(region, name, &it, SHM_NULL) == 1 && it)
			g_assert_cmpint(shmbuddy_free(region, it), ==, 0);
	}
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
	return 0;
}

static void one_creates(void)
{
	struct shared *s = shared("one");
	shmbuddy_t *region = open_region(s->path);

	s->rounds = support_scale(600);
	support_run_children(create_at_once, s, CHILDREN);
	g_assert_cmpuint(atomic_load(&s->created), ==, s->rounds);
	buddy_is_empty(region);
	buddy_close(region);
}

/* A stack of blocks, each with the offset of the next one. */
static void push(shmbuddy_t *region, const char *name)
{
	shm_offt block = shmbuddy_malloc(region, 32), head = shmbuddy_getroot(region, name);
	int done;

	g_assert_cmpuint(block, !=, SHM_NULL);
	do
		*(shm_offt *)shmbuddy_address(region, block) = head;
	while ((done = shmbuddy_casroot(region, name, &head, block)) == 0);
	g_assert_cmpint(done, ==, 1);
}

static int push_often(void *arg)
{
	struct shared *s = arg;
	shmbuddy_t *region = open_region(s->path);

	for (size_t i = 0; i < s->rounds; i++)
		push(region, names[i % 2]);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
	return 0;
}

static void nothing_is_lost(void)
{
	struct shared *s = shared("stack");
	shmbuddy_t *region = open_region(s->path);
	size_t count = 0;

	s->rounds = support_scale(1000);
	support_run_children(push_often, s, CHILDREN);
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		for (shm_offt at = shmbuddy_getroot(region, names[i]); at;
		     at = *(shm_offt *)shmbuddy_address(region, at))
			count++;
	g_assert_cmpuint(count, ==, CHILDREN * s->rounds);
	g_assert_cmpuint(buddy_stats(region).used_blocks, ==, count);
	buddy_close(region);
}

/* ---- kills ---- */

static G_GNUC_NORETURN int come_and_go(void *arg)
{
	struct shared *s = arg;
	shmbuddy_t *region = open_region(s->path);

	for (size_t i = 0;; i++) {
		shm_offt it = shmbuddy_find_or_create(region, names[i % 2], 40, fill, NULL, NULL);

		g_assert_cmpuint(it, !=, SHM_NULL);
		if (shmbuddy_casroot(region, names[i % 2], &it, SHM_NULL) == 1 && it)
			shmbuddy_free(region, it);
	}
}

static int count_root(const char *name, shm_offt offset, void *arg)
{
	(void)offset;
	g_assert_true(!name || strcmp(name, "it") == 0);
	++*(size_t *)arg;
	return 0;
}

static void killed_creators(void)
{
	struct shared *s = shared("killed");
	shmbuddy_t *region = open_region(s->path);
	size_t kills = support_scale(200), roots = 0;
	char name[16];

	support_kill_at_random(come_and_go, s, CHILDREN, kills);
	g_assert_cmpint(shmbuddy_walkroots(region, count_root, &roots), ==, 0);
	g_assert_cmpuint(roots, <=, 2);
	g_assert_cmpuint(buddy_stats(region).used_blocks, <=, kills + CHILDREN + roots);
	/* No place of a root is lost to the dead. */
	shmbuddy_setroot(region, "it", SHM_NULL);
	for (int i = 0; i < SHMBUDDY_ROOTS; i++) {
		g_snprintf(name, sizeof(name), "%d", i);
		g_assert_cmpuint(shmbuddy_find_or_create(region, name, 10, NULL, NULL, NULL), !=, SHM_NULL);
	}
	buddy_fails(ENOSPC, shmbuddy_find_or_create(region, "it", 10, NULL, NULL, NULL) == SHM_NULL);
	buddy_close(region);
}

/* ---- walking ---- */

struct seen {
	shm_offt block;
	uint64_t names; /* A bit for each length; 0: the root without a name. */
	int most;
};

static int see(const char *name, shm_offt offset, void *arg)
{
	struct seen *seen = arg;
	size_t i = name ? strlen(name) : 0;

	g_assert_cmpuint(offset, ==, seen->block + i);
	g_assert_false(seen->names >> i & 1);
	seen->names |= (uint64_t)1 << i;
	return --seen->most == 0 ? 17 : 0;
}

static void walk(void)
{
	shmbuddy_t *region = open_region(support_path("walk"));
	struct seen seen = { .block = shmbuddy_malloc(region, 100) };
	char name[SHMBUDDY_ROOT_MAX + 1] = "";

	g_assert_cmpint(shmbuddy_walkroots(region, see, &seen), ==, 0);
	g_assert_cmpuint(seen.names, ==, 0);
	shmbuddy_setroot(region, NULL, seen.block);
	for (size_t i = 1; i <= SHMBUDDY_ROOT_MAX; i++) {
		name[i - 1] = 'n';
		g_assert_cmpint(shmbuddy_setroot(region, name, seen.block + i), ==, 0);
	}
	shmbuddy_setroot(region, "n", SHM_NULL);
	g_assert_cmpint(shmbuddy_walkroots(region, see, &seen), ==, 0);
	g_assert_cmpuint(seen.names, ==, UINT64_MAX - 2);
	seen = (struct seen){ .block = seen.block, .most = 5 };
	g_assert_cmpint(shmbuddy_walkroots(region, see, &seen), ==, 17);
	g_assert_cmpint(seen.most, ==, 0);
	buddy_close(region);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/roots/errors", errors);
	support_add("/shmbuddy/roots/values", values);
	support_add("/shmbuddy/roots/create", create);
	support_add("/shmbuddy/roots/one-creates", one_creates);
	support_add("/shmbuddy/roots/nothing-is-lost", nothing_is_lost);
	support_add("/shmbuddy/roots/killed-creators", killed_creators);
	support_add("/shmbuddy/roots/walk", walk);
	return support_run();
}
