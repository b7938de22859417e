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

/* --- one image --- */

struct image image_new(size_t room)
{
	room = (room + PAGE - 1) / PAGE * PAGE;
	return (struct image){ .room = room, .bytes = g_malloc0(room) };
}

void image_free(struct image *image)
{
	g_free(image->bytes);
	image->bytes = NULL;
}

void image_copy(struct image *to, const struct image *from)
{
	g_assert_cmpuint(to->room, ==, from->room);
	to->exists = from->exists;
	to->size = from->size;
	memcpy(to->bytes, from->bytes, from->room);
}

void image_take(struct image *image, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = 0;

	image->exists = fd >= 0;
	if (fd >= 0) {
		g_assert_cmpuint((size_t)support_file_size(path), <=, image->room);
		got = pread(fd, image->bytes, image->room, 0);
		g_assert_cmpint(got, >=, 0);
		close(fd);
	}
	image->size = (size_t)got;
	memset(image->bytes + image->size, 0, image->room - image->size);
}

static void put_bytes(const struct image *image, int fd)
{
	const char *now;

	g_assert_cmpint(ftruncate(fd, (off_t)image->size), ==, 0);
	if (image->size == 0)
		return;
	now = mmap(NULL, image->size, PROT_READ, MAP_SHARED, fd, 0);
	g_assert_true(now != MAP_FAILED);
	for (size_t at = 0; at < image->size; at += PAGE) {
		size_t size = MIN(image->size - at, PAGE);

		if (memcmp(now + at, image->bytes + at, size) != 0)
			g_assert_cmpint(pwrite(fd, image->bytes + at, size, (off_t)at), ==, (gssize)size);
	}
	munmap((void *)(uintptr_t)now, image->size);
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
		put_bytes(image, fd);
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

bool image_equal(const struct image *a, const struct image *b, bool (*varies)(size_t at))
{
	if (a->exists != b->exists || a->size != b->size)
		return false;
	for (size_t at = 0; at < a->room; at += PAGE)
		if (memcmp(a->bytes + at, b->bytes + at, PAGE) != 0)
			for (size_t i = at; i < at + PAGE; i++)
				if (a->bytes[i] != b->bytes[i] && !varies(i))
					return false;
	return true;
}

/* --- all states of a call --- */

static struct state *get(const struct states *s, size_t index)
{
	return &g_array_index(s->state, struct state, index);
}

static void close_file(struct states *s)
{
	if (s->view)
		munmap(s->view, s->now.room);
	if (s->fd >= 0)
		close(s->fd);
	s->view = NULL;
	s->fd = -1;
}

/* The file may have come, gone, or become another one. */
static bool open_file(struct states *s, size_t *size)
{
	struct stat known = { 0 }, st;

	if (stat(s->path, &st) != 0) {
		close_file(s);
		return false;
	}
	*size = (size_t)st.st_size;
	if (s->fd >= 0 && fstat(s->fd, &known) == 0 && known.st_ino == st.st_ino)
		return true;
	close_file(s);
	s->fd = open(s->path, O_RDONLY | O_CLOEXEC);
	g_assert_cmpint(s->fd, >=, 0);
	s->view = mmap(NULL, s->now.room, PROT_READ, MAP_SHARED, s->fd, 0);
	g_assert_true(s->view != MAP_FAILED);
	return true;
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
	s->fd = -1;
	s->state = g_array_new(FALSE, TRUE, sizeof(struct state));
	s->seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	image_take(&s->first, path);
	image_copy(&s->now, &s->first);
	image_copy(&s->work, &s->first);
	state.exists = s->first.exists;
	state.size = s->first.size;
	open_file(s, &state.size);
	append(s, &state);
	return s;
}

void states_free(struct states *s)
{
	for (size_t i = 0; i < s->state->len; i++)
		if (get(s, i)->pages)
			g_array_free(get(s, i)->pages, TRUE);
	close_file(s);
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

	if (renamed)
		state.exists = open_file(s, &state.size);
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

bool states_note_at(struct states *s, size_t k, uintptr_t base, uintptr_t at)
{
	size_t page = (at - base) / PAGE;

	if (at < base || page * PAGE >= s->now.size || !s->view)
		return false;
	if (!differs(s, page, s->now.size) && !differs(s, page + 1, s->now.size))
		return false;
	return states_note(s, k, false);
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

const struct image *states_image(struct states *s, size_t index)
{
	if (index < s->present) {
		image_copy(&s->work, &s->first);
		s->present = 0;
	}
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
