/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/image.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/support/support.h"

#define PAGE 4096u

struct page {
	size_t number;
	char bytes[PAGE];
};

struct state {
	size_t begin;
	bool exists;
	bool repeated;
	size_t size;
	GArray *pages; /* that differ from the state before */
};

/* --- memory --- */

/*
 * Each process of a scenario is a fork child of the driver and looks at neither images nor views: they are left out of the
 * fork, which otherwise copies their page tables, most of what a kill costs.
 */
static char *keep_from_children(void *memory, size_t size)
{
	g_assert_true(memory != MAP_FAILED);
	g_assert_cmpint(madvise(memory, size, MADV_DONTFORK), ==, 0);
	return memory;
}

static char *new_memory(size_t size)
{
	char *memory =
		keep_from_children(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), size);

	madvise(memory, size, MADV_HUGEPAGE); /* a hint */
	return memory;
}

/* --- the file --- */

/*
 * The driver's mapping of the one file that it looks at, made once for each inode: a mapping that is kept has its pages at
 * hand. Only read within the file's length, and while nobody can change that.
 */
static struct view {
	char *bytes;
	size_t room;
	dev_t dev;
	ino_t ino;
} view;

static void view_close(void)
{
	if (view.bytes)
		munmap(view.bytes, view.room);
	view = (struct view){ 0 };
}

static void view_open(const char *path, size_t room, const struct stat *st)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	view_close();
	g_assert_cmpint(fd, >=, 0);
	view.bytes = keep_from_children(mmap(NULL, room, PROT_READ, MAP_SHARED, fd, 0), room);
	view.room = room;
	view.dev = st->st_dev;
	view.ino = st->st_ino;
	close(fd);
}

/* NULL: there is no file. It may have come, gone, or become another one since. */
static const char *view_of(const char *path, size_t room, size_t *size)
{
	struct stat st;

	if (stat(path, &st) != 0) {
		view_close();
		return NULL;
	}
	*size = (size_t)st.st_size;
	g_assert_cmpuint(*size, <=, room);
	if (!view.bytes || view.room != room || view.dev != st.st_dev || view.ino != st.st_ino)
		view_open(path, room, &st);
	return view.bytes;
}

/* --- one image --- */

struct image image_new(size_t room)
{
	room = (room + PAGE - 1) / PAGE * PAGE;
	return (struct image){ .room = room, .bytes = new_memory(room) };
}

void image_free(struct image *image)
{
	munmap(image->bytes, image->room);
	image->bytes = NULL;
}

void image_copy(struct image *to, const struct image *from)
{
	g_assert_cmpuint(to->room, ==, from->room);
	to->exists = from->exists;
	to->size = from->size;
	memcpy(to->bytes, from->bytes, from->room);
}

/* Most pages are already as they shall be. */
static void update(char *to, const char *from, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE) {
		size_t part = MIN(size - at, PAGE);

		if (memcmp(to + at, from + at, part) != 0)
			memcpy(to + at, from + at, part);
	}
}

void image_take(struct image *image, const char *path)
{
	size_t size = 0, before = image->size;
	const char *now = view_of(path, image->room, &size);

	image->exists = now;
	image->size = size;
	if (now)
		update(image->bytes, now, size);
	if (size < before)
		memset(image->bytes + size, 0, before - size);
}

static void put_bytes(const struct image *image, const char *path, int fd)
{
	const char *now;
	size_t size;

	g_assert_cmpint(ftruncate(fd, (off_t)image->size), ==, 0);
	now = view_of(path, image->room, &size);
	for (size_t at = 0; at < image->size; at += PAGE) {
		size_t part = MIN(image->size - at, PAGE);

		if (memcmp(now + at, image->bytes + at, part) != 0)
			g_assert_cmpint(pwrite(fd, image->bytes + at, part, (off_t)at), ==, (gssize)part);
	}
}

void image_put(const struct image *image, const char *path)
{
	char *aside = g_strconcat(path, ".aside", NULL);
	int fd;

	if (!image->exists && access(path, F_OK) == 0)
		g_assert_cmpint(rename(path, aside), ==, 0);
	if (image->exists) {
		if (access(path, F_OK) != 0)
			g_assert_cmpint(rename(aside, path), ==, 0);
		fd = open(path, O_RDWR | O_CLOEXEC);
		g_assert_cmpint(fd, >=, 0);
		put_bytes(image, path, fd);
		close(fd);
	}
	g_free(aside);
}

void image_copy_file(const char *path)
{
	char *copy = g_strconcat(path, ".copy", NULL);

	support_file_copy(path, copy);
	g_assert_cmpint(rename(copy, path), ==, 0);
	g_free(copy);
}

size_t image_difference(const struct image *a, const struct image *b, bool (*varies)(size_t at))
{
	if (a->exists != b->exists || a->size != b->size)
		return MIN(a->size, b->size);
	for (size_t at = 0; at < a->room; at += PAGE)
		if (memcmp(a->bytes + at, b->bytes + at, PAGE) != 0)
			for (size_t i = at; i < at + PAGE; i++)
				if (a->bytes[i] != b->bytes[i] && !varies(i))
					return i;
	return IMAGE_EQUAL;
}

bool image_equal(const struct image *a, const struct image *b, bool (*varies)(size_t at))
{
	return image_difference(a, b, varies) == IMAGE_EQUAL;
}

/* --- all states of a call --- */

static struct state *get(const struct states *s, size_t index)
{
	return &g_array_index(s->state, struct state, index);
}

static bool differs(const struct states *s, size_t page, size_t size)
{
	size_t at = page * PAGE;
	size_t part = at >= size ? 0 : MIN(size - at, PAGE);

	return (part && memcmp(s->view + at, s->now.bytes + at, part) != 0);
}

/* The sum of these over all pages is the digest of an image: states with the same digest count as the same. */
static uint64_t digest_page(size_t number, const char *bytes)
{
	uint64_t hash = number + 1, word;

	for (size_t i = 0; i < PAGE; i += sizeof(word)) {
		memcpy(&word, bytes + i, sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 29;
	}
	return hash;
}

static void note_bytes(struct states *s, struct state *state, const struct page *page)
{
	char *now = s->now.bytes + page->number * PAGE;

	s->digest -= digest_page(page->number, now);
	memcpy(now, page->bytes, PAGE);
	s->digest += digest_page(page->number, now);
	if (!state->pages)
		state->pages = g_array_new(FALSE, FALSE, sizeof(struct page));
	g_array_append_vals(state->pages, page, 1);
}

static void note_page(struct states *s, struct state *state, size_t number, size_t size)
{
	struct page page = { .number = number };
	size_t at = number * PAGE;

	memcpy(page.bytes, s->view + at, at >= size ? 0 : MIN(size - at, PAGE));
	note_bytes(s, state, &page);
}

static void append(struct states *s, struct state *state)
{
	uint64_t *key = g_new(uint64_t, 1);

	s->now.exists = state->exists;
	s->now.size = state->size;
	*key = s->digest + state->size * 2 + state->exists;
	state->repeated = !g_hash_table_add(s->seen, key);
	s->distinct += !state->repeated;
	g_array_append_val(s->state, *state);
}

struct states *states_new(const char *path, size_t room)
{
	struct states *s = g_new0(struct states, 1);
	struct state state = { 0 };

	s->path = path;
	s->first = image_new(room);
	s->now = image_new(room);
	s->work = image_new(room);
	s->state = g_array_new(FALSE, TRUE, sizeof(struct state));
	s->seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	image_take(&s->first, path);
	image_copy(&s->now, &s->first);
	image_copy(&s->work, &s->first);
	state.exists = s->first.exists;
	state.size = s->first.size;
	s->view = view_of(path, s->now.room, &state.size);
	append(s, &state);
	return s;
}

void states_free(struct states *s)
{
	for (size_t i = 0; i < s->state->len; i++)
		if (get(s, i)->pages)
			g_array_free(get(s, i)->pages, TRUE);
	image_free(&s->first);
	image_free(&s->now);
	image_free(&s->work);
	g_array_free(s->state, TRUE);
	g_hash_table_destroy(s->seen);
	g_free(s);
}

/* What lies behind a file that became shorter, or is gone, is zeros again. */
static void cut(struct states *s, struct state *state)
{
	for (size_t page = state->size / PAGE; page * PAGE < s->now.size; page++) {
		struct page zeros = { .number = page };
		size_t keep = page * PAGE < state->size ? state->size - page * PAGE : 0;

		memcpy(zeros.bytes, s->now.bytes + page * PAGE, keep);
		note_bytes(s, state, &zeros);
	}
}

bool states_note(struct states *s, size_t k, bool renamed)
{
	struct state state = { .begin = k, .exists = s->now.exists, .size = s->now.size };

	if (renamed) {
		s->view = view_of(s->path, s->now.room, &state.size);
		state.exists = s->view;
	}
	if (!state.exists)
		state.size = 0;
	if (state.size < s->now.size)
		cut(s, &state);
	if (state.exists && s->view && memcmp(s->view, s->now.bytes, state.size) != 0)
		for (size_t page = 0; page * PAGE < state.size; page++)
			if (differs(s, page, state.size))
				note_page(s, &state, page, state.size);
	if (!state.pages && state.exists == s->now.exists && state.size == s->now.size)
		return false;
	append(s, &state);
	return true;
}

bool states_note_at(struct states *s, size_t k, size_t offset, size_t bytes)
{
	if (!s->view)
		return false;
	for (size_t page = offset / PAGE; page <= (offset + bytes - 1) / PAGE && page * PAGE < s->now.size; page++)
		if (differs(s, page, s->now.size))
			return states_note(s, k, false);
	return false;
}

ino_t states_inode(const struct states *s)
{
	return s->view ? view.ino : 0;
}

size_t states_count(const struct states *s)
{
	return s->state->len;
}

bool states_is_repeated(const struct states *s, size_t index)
{
	return get(s, index)->repeated;
}

size_t states_begin(const struct states *s, size_t index)
{
	return get(s, index)->begin;
}

size_t states_at(const struct states *s, size_t k)
{
	size_t low = 0, high = s->state->len;

	while (high - low > 1) {
		size_t middle = (low + high) / 2;

		if (get(s, middle)->begin <= k)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void go_back_to_first(struct states *s)
{
	while (s->present > 0) {
		const struct state *state = get(s, s->present--);

		for (size_t i = 0; state->pages && i < state->pages->len; i++) {
			size_t at = g_array_index(state->pages, struct page, i).number * PAGE;

			memcpy(s->work.bytes + at, s->first.bytes + at, PAGE);
		}
	}
	s->work.exists = s->first.exists;
	s->work.size = s->first.size;
}

const struct image *states_image(struct states *s, size_t index)
{
	if (index < s->present)
		go_back_to_first(s);
	while (s->present < index) {
		const struct state *state = get(s, ++s->present);

		s->work.exists = state->exists;
		s->work.size = state->size;
		for (size_t i = 0; state->pages && i < state->pages->len; i++) {
			const struct page *page = &g_array_index(state->pages, struct page, i);

			memcpy(s->work.bytes + page->number * PAGE, page->bytes, PAGE);
		}
	}
	return &s->work;
}
