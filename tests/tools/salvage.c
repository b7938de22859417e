/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Damaged maps of all kinds: what can be proved in them stays. Two kinds of damage: each page is at random that of an earlier moment, as a power cut
 * leaves it; and words of the tables are changed. After a salvage the map is sound, blocks that both moments had are there with their bytes, and no
 * other block lies over them.
 */
#include <errno.h>
#include <fcntl.h>
#include <mmalloc.h>
#include <signal.h>
#include <shmbuddy.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support_fault.h"
#include "tests/tools/durables.h"

#define KEPT     300
#define OTHERS   200
#define CHURN    2000
#define ROUNDS   6
#define rounds() (g_getenv("MA_CRASH_ALL") ? 10u * ROUNDS : ROUNDS)

/* ---- salvaging, by whichever library ---- */

struct told {
	unsigned count, dies_at;
	char last[256];
};

static void tell(const char *text, void *arg)
{
	struct told *told = arg;

	told->count++;
	g_strlcpy(told->last, text, sizeof(told->last));
	if (told->count == told->dies_at)
		raise(SIGKILL);
}

static void *salvage(const struct heap *heap, const char *path, struct told *told)
{
	int fd;
	void *map;

	if (is_of(heap, "qalloc"))
		return qalloc_salvage(path, tell, told);
	if (is_of(heap, "shmbuddy"))
		return shmbuddy_salvage(path, tell, told);
	fd = open(path, O_RDWR | O_CLOEXEC);
	map = mmalloc_salvage(fd, tell, told);
	close(fd);
	return map;
}

/* ---- a map with blocks that stay, at two moments ---- */

struct kept {
	uint64_t block;
	size_t size;
};

struct scene {
	const struct heap *heap;
	const char *path;
	struct support_rand rand;
	struct kept kept[KEPT];
	char *old, *new;
	gsize old_bytes, new_bytes;
};

static size_t size_of(struct scene *s)
{
	return is_of(s->heap, "qalloc-static") ? 64 : heap_size(s->heap, &s->rand);
}

static void keep_some(struct scene *s, void *map)
{
	for (unsigned i = 0; i < KEPT; i++) {
		struct kept *k = &s->kept[i];
		uint64_t other = s->heap->malloc(map, size_of(s));

		k->size = size_of(s);
		k->block = s->heap->malloc(map, k->size);
		if (k->block)
			memset(s->heap->at(map, k->block), (int)(i % 251) + 1, k->size);
		if (other && i % 2)
			s->heap->free(map, other);
	}
	s->heap->setroot(map, "kept", s->kept[0].block);
}

static void churn(struct scene *s, void *map)
{
	uint64_t others[OTHERS] = { 0 };

	for (unsigned i = 0; i < CHURN; i++) {
		uint64_t *other = &others[support_rand_below(&s->rand, OTHERS)];

		if (*other)
			s->heap->free(map, *other);
		*other = support_rand_below(&s->rand, 3) ? s->heap->malloc(map, size_of(s)) : 0;
		if (*other)
			memset(s->heap->at(map, *other), 0xcc, 16);
	}
}

static void set_scene(struct scene *s, const struct heap *heap, unsigned round)
{
	void *map;

	s->heap = heap;
	s->path = support_path("salvage");
	unlink(s->path);
	support_rand_seed(&s->rand, round);
	map = heap->open(s->path);
	g_assert_nonnull(map);
	keep_some(s, map);
	g_assert_cmpint(heap->close(map), ==, 0);
	s->old = support_file_read(s->path, &s->old_bytes);
	map = heap->open(s->path);
	churn(s, map);
	g_assert_cmpint(heap->close(map), ==, 0);
	s->new = support_file_read(s->path, &s->new_bytes);
}

static void strike_scene(struct scene *s)
{
	g_free(s->old);
	g_free(s->new);
}

/* ---- damage ---- */

/* In use when its machine died. */
static void disown(const char *path)
{
	forget_boot(path);
	put_state(path, MA_STATE_IN_USE);
}

/* Each page that changed since is old or new; the first one is new. */
static void mix_pages(struct scene *s)
{
	char *mixed = g_memdup2(s->new, s->new_bytes);
	uint64_t odds = support_rand_below(&s->rand, 10) + 1;

	for (gsize at = MA_PAGE; at + MA_PAGE <= s->new_bytes; at += MA_PAGE)
		if (support_rand_below(&s->rand, 11) < odds && at + MA_PAGE <= s->old_bytes)
			memcpy(mixed + at, s->old + at, MA_PAGE);
	support_file_write(s->path, mixed, s->new_bytes);
	disown(s->path);
	g_free(mixed);
}

struct marks {
	bool *is_block; /* Per word of the file. */
	gsize words;
};

static int mark_block(uint64_t offset, size_t size, void *arg)
{
	struct marks *marks = arg;

	for (gsize i = offset / 8; i < MIN((offset + size) / 8, marks->words); i++)
		marks->is_block[i] = true;
	return 0;
}

/* Words of the tables that say something become something else. */
static void change_words(struct scene *s)
{
	struct marks marks = { g_new0(bool, s->new_bytes / 8), s->new_bytes / 8 };
	void *map = s->heap->open(s->path);
	uint64_t *word = (uint64_t *)(void *)s->new;
	unsigned count = (unsigned)support_rand_below(&s->rand, 40) + 1;

	s->heap->walk(map, mark_block, &marks);
	g_assert_cmpint(s->heap->close(map), ==, 0);
	for (unsigned i = 0, tries = 0; i < count && tries < 4000000; tries++) {
		gsize at = MA_PAGE / 8 + support_rand_below(&s->rand, marks.words - MA_PAGE / 8);

		if (!word[at] || marks.is_block[at])
			continue;
		word[at] = i % 3 == 0   ? 0
			   : i % 3 == 1 ? support_rand_next(&s->rand)
					: word[at] ^ (uint64_t)1 << support_rand_below(&s->rand, 64);
		i++;
	}
	support_file_write(s->path, s->new, s->new_bytes);
	disown(s->path);
	g_free(marks.is_block);
}

/* ---- what must hold then ---- */

static int note_block(uint64_t offset, size_t size, void *arg)
{
	GHashTable *blocks = arg;

	g_hash_table_insert(blocks, GSIZE_TO_POINTER(offset), GSIZE_TO_POINTER(size));
	return 0;
}

static void has_kept(const struct scene *s, void *map)
{
	GHashTable *blocks = g_hash_table_new(NULL, NULL);

	s->heap->walk(map, note_block, blocks);
	for (unsigned i = 0; i < KEPT; i++) {
		const struct kept *k = &s->kept[i];
		const char *bytes = k->block ? s->heap->at(map, k->block) : NULL;

		if (!bytes)
			continue;
		if (!g_hash_table_contains(blocks, GSIZE_TO_POINTER(s->heap->offset(map, k->block))))
			g_error("%s: block %u, of %zu bytes, is lost", s->heap->kind, i, k->size);
		for (size_t at = 0; at < k->size; at++)
			if (bytes[at] != (char)(i % 251 + 1))
				g_error("%s: byte %zu of block %u is another", s->heap->kind, at, i);
	}
	g_assert_cmphex(s->heap->getroot(map, "kept"), ==, s->kept[0].block);
	g_hash_table_destroy(blocks);
}

/* All that can be had, written to. */
static void use_all(struct scene *s, void *map)
{
	for (unsigned i = 0; i < 4000; i++) {
		size_t size = size_of(s);
		uint64_t block = s->heap->malloc(map, size);

		if (block)
			memset(s->heap->at(map, block), 0xee, size);
	}
}

static void is_whole(struct scene *s, void *map, bool kept)
{
	if (kept)
		has_kept(s, map);
	use_all(s, map);
	if (kept)
		has_kept(s, map);
	g_assert_cmpint(s->heap->close(map), ==, 0);
	assert_status(0, "check", s->path);
	unlink(s->path);
}

static bool is_refused(const struct scene *s)
{
	void *map = s->heap->open(s->path);

	if (!map)
		g_assert_cmpint(errno, ==, EUCLEAN);
	else
		g_assert_cmpint(s->heap->close(map), ==, 0);
	return !map;
}

/* ---- the tests ---- */

/* An open that is not refused changes the file: the same damage again for the salvage. */
static void mixed_pages(void)
{
	unsigned all = 0;

	for (size_t i = 0; i < HEAPS; i++) {
		unsigned refused = 0;

		for (unsigned round = 0; round < rounds(); round++) {
			struct told told = { 0 };
			struct scene s;
			struct support_rand again;
			bool is;
			void *map;

			set_scene(&s, &heaps[i], round);
			again = s.rand;
			mix_pages(&s);
			is = is_refused(&s);
			s.rand = again;
			mix_pages(&s);
			map = salvage(&heaps[i], s.path, &told);
			g_assert_nonnull(map);
			if (is != (told.count > 0))
				g_error("%s, round %u: refused %d, told %u: %s", heaps[i].kind, round, is, told.count,
					told.last);
			refused += is;
			is_whole(&s, map, true);
			strike_scene(&s);
		}
		g_test_message("%s: %u of %u were refused, and salvaged", heaps[i].kind, refused, rounds());
		all += refused;
	}
	g_assert_cmpuint(all, >, 0);
}

/* Blocks whose words were hit may be lost: what is left is sound. What cannot be salvaged keeps every byte. */
static void changed_words(void)
{
	for (size_t i = 0; i < HEAPS; i++) {
		unsigned salvaged = 0, refused = 0;

		for (unsigned round = 0; round < rounds(); round++) {
			struct told told = { 0 };
			struct scene s;
			void *map;

			set_scene(&s, &heaps[i], round);
			change_words(&s);
			map = salvage(&heaps[i], s.path, &told);
			salvaged += map && told.count;
			refused += !map;
			if (map)
				is_whole(&s, map, false);
			else
				g_assert_cmpint(errno, ==, EUCLEAN);
			strike_scene(&s);
		}
		g_test_message("%s: of %u salvaged %u, refused %u", heaps[i].kind, rounds(), salvaged, refused);
		g_assert_cmpuint(refused, <, rounds() / 2);
	}
}

static int salvage_and_die(void *arg)
{
	const struct scene *scene = arg;
	struct told told = { .dies_at = 2 };
	void *map = salvage(scene->heap, scene->path, &told);

	return map && scene->heap->close(map) == 0 ? 0 : 1;
}

/* Killed where something is told: the next one goes on. */
static void killed(void)
{
	for (size_t i = 0; i < HEAPS; i++)
		for (unsigned round = 0; round < ROUNDS; round++) {
			struct told told = { 0 };
			struct scene s;
			void *map;

			set_scene(&s, &heaps[i], round);
			mix_pages(&s);
			support_wait(support_fork(salvage_and_die, &s));
			map = salvage(&heaps[i], s.path, &told);
			g_assert_nonnull(map);
			is_whole(&s, map, true);
			strike_scene(&s);
		}
}

static void sound(void)
{
	for (size_t i = 0; i < HEAPS; i++) {
		struct told told = { 0 };
		struct scene s;
		void *map, *other;

		set_scene(&s, &heaps[i], 1);
		map = salvage(&heaps[i], s.path, &told);
		g_assert_nonnull(map);
		g_assert_cmpuint(told.count, ==, 0);
		has_kept(&s, map);
		other = salvage(&heaps[i], s.path, &told);
		g_assert_null(other);
		g_assert_cmpint(errno, ==, EBUSY);
		is_whole(&s, map, true);
		strike_scene(&s);
	}
}

struct holder {
	const struct scene *scene;
	struct support_sync sync;
};

static int hold(void *arg)
{
	struct holder *h = arg;
	void *map = h->scene->heap->open(h->scene->path);

	g_assert_nonnull(map);
	support_point(&h->sync, "open");
	g_assert_cmpint(h->scene->heap->close(map), ==, 0);
	return 0;
}

static void in_use(void)
{
	struct holder *h = support_shared(sizeof(*h));

	for (size_t i = 0; i < HEAPS; i++) {
		struct told told = { 0 };
		struct scene s;
		pid_t pid;

		memset(&h->sync, 0, sizeof(h->sync));
		set_scene(&s, &heaps[i], 2);
		h->scene = &s;
		pid = support_fork(hold, h);
		support_await(&h->sync, "open");
		g_assert_null(salvage(&heaps[i], s.path, &told));
		g_assert_cmpint(errno, ==, EBUSY);
		support_go(&h->sync, "open");
		support_wait_ok(pid);
		strike_scene(&s);
	}
}

static void wrong_calls(void)
{
	const char *path = support_path("empty");

	support_file_write(path, "", 0);
	g_assert_null(qalloc_salvage(NULL, NULL, NULL));
	g_assert_cmpint(errno, ==, EINVAL);
	g_assert_null(shmbuddy_salvage(NULL, NULL, NULL));
	g_assert_cmpint(errno, ==, EINVAL);
	g_assert_null(mmalloc_salvage(-1, NULL, NULL));
	g_assert_cmpint(errno, ==, EBADF);
	for (size_t i = 0; i < HEAPS; i++) {
		struct told told = { 0 };

		g_assert_null(salvage(&heaps[i], path, &told));
		g_assert_cmpint(errno, ==, EMEDIUMTYPE);
	}
}

/* The first mixture that is damaged. */
static void command(void)
{
	const struct heap *heap = &heaps[1];
	const char *copy = support_path("copy");
	struct scene s;
	unsigned round = 0;

	for (;; round++) {
		set_scene(&s, heap, round);
		mix_pages(&s);
		if (run("check", s.path, NULL) == 2)
			break;
		g_assert_cmpuint(round, <, 100);
		strike_scene(&s);
	}
	g_assert_null(heap->open(s.path));
	assert_contains(qalloc_errmsg(), "mapalloc repair --salvage", __FILE__, __LINE__);
	assert_status(2, "repair", s.path);
	assert_complained("mapalloc repair --salvage");
	assert_status(0, "repair", "--salvage", "--backup", copy, s.path);
	assert_said(": salvage: offset ");
	assert_said("repaired: sound");
	assert_status(0, "check", s.path);
	assert_status(2, "check", copy);
	assert_status(0, "repair", "--salvage", "--json", copy);
	assert_said("\"salvage\": [");
	assert_said("\"offset ");
	assert_said("\"after\": \"sound\"");
	assert_status(0, "repair", "--salvage", "--json", copy);
	assert_said("\"salvage\": []");
	strike_scene(&s);
}

/* A durable map without its checkpoint: it is what the machine's death left, and not durable any more. */
static void durable(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make_durable(&heaps[i]);
		struct told told = { 0 };
		void *map;

		unlink(beside(path));
		forget_boot(path);
		g_assert_null(heaps[i].open(path));
		g_assert_cmpint(errno, ==, EUCLEAN);
		map = salvage(&heaps[i], path, &told);
		g_assert_nonnull(map);
		g_assert_cmpuint(told.count, ==, 1);
		assert_contains(told.last, "not durable any more", __FILE__, __LINE__);
		g_assert_cmpint(heaps[i].close(map), ==, 0);
		assert_status(0, "info", "--json", path);
		assert_said("\"durable\": false");
		assert_status(0, "check", path);
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/salvage/mixed-pages", mixed_pages);
	support_add("/tools/salvage/changed-words", changed_words);
	support_add("/tools/salvage/killed", killed);
	support_add("/tools/salvage/sound", sound);
	support_add("/tools/salvage/in-use", in_use);
	support_add("/tools/salvage/wrong-calls", wrong_calls);
	support_add("/tools/salvage/command", command);
	support_add("/tools/salvage/durable", durable);
	return support_run();
}
