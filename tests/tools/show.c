/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc show: one block of each kind of map, found by offset, address and root; what points to it; and stat --prometheus. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/tools/heaps.h"

struct scene {
	const struct heap *heap;
	const char *path;
	void *map;
	uint64_t first, second, lost; /* A root leads to first, first to second, and nothing to lost. */
};

static uint64_t block_new(const struct scene *s)
{
	uint64_t block = s->heap->malloc(s->map, 64);

	g_assert_cmpuint(block, !=, 0);
	memset(s->heap->at(s->map, block), 0, 64);
	return block;
}

static void scene_begin(struct scene *s, const struct heap *heap)
{
	s->heap = heap;
	s->path = support_path(heap->kind);
	s->map = heap->open(s->path);
	g_assert_nonnull(s->map);
	s->first = block_new(s);
	s->second = block_new(s);
	s->lost = block_new(s);
	memcpy((char *)heap->at(s->map, s->first) + 16, &s->second, sizeof(s->second));
	memcpy(heap->at(s->map, s->second), "a text of twenty one!", 22);
	g_assert_cmpint(heap->setroot(s->map, "head", s->first), ==, 0);
}

static char *number_text(uint64_t number)
{
	return g_strdup_printf("%#" G_GINT64_MODIFIER "x", number);
}

/* A test's own text is freed when the next one is made. */
static const char *text(const char *format, ...) G_GNUC_PRINTF(1, 2);
static const char *text(const char *format, ...)
{
	static char *last;
	va_list args;

	g_free(last);
	va_start(args, format);
	last = g_strdup_vprintf(format, args);
	va_end(args);
	return last;
}

static void is_shown(const struct scene *s, const char *where, uint64_t block, uint64_t byte)
{
	uint64_t offset = s->heap->offset(s->map, block);

	assert_status(0, "show", "--json", s->path, where);
	assert_said(text("\n  \"offset\": %" G_GUINT64_FORMAT ",", offset));
	g_assert_cmpuint(run_number("byte"), ==, byte);
}

/* By its offset, by that of a byte in it, by its address, by its root's name. */
static void found(const struct scene *s)
{
	uint64_t offset = s->heap->offset(s->map, s->first);
	char *at = number_text(offset), *inside = number_text(offset + 63), *address = number_text(s->first);

	is_shown(s, at, s->first, 0);
	is_shown(s, inside, s->first, 63);
	is_shown(s, address, s->first, 0);
	is_shown(s, "head", s->first, 0);
	assert_said("\"head\"");
	assert_said("\"pointers\": []");
	g_free(at);
	g_free(inside);
	g_free(address);
}

static void pointed_to(const struct scene *s)
{
	uint64_t first = s->heap->offset(s->map, s->first);
	char *at = number_text(s->heap->offset(s->map, s->second));

	assert_status(0, "show", s->path, at);
	assert_said(text("pointed to   from %#" G_GINT64_MODIFIER "x, byte 16 of %#" G_GINT64_MODIFIER "x (",
			 first + 16, first));
	assert_said(", root head\n");
	assert_said("       0  61 20 74 65 78 74 20 6f 66 20 74 77 65 6e 74 79 |a text of twenty|\n"
		    "      10  20 6f 6e 65 21 00 ");
	assert_status(0, "show", s->path, at, "--json", "--size=18");
	assert_said(text("{\"at\": %" G_GUINT64_FORMAT ", \"offset\": %" G_GUINT64_FORMAT ",", first + 16, first));
	assert_said("\"612074657874206f66207477656e7479\",\n    \"206f\"\n  ]");
	assert_status(0, "show", s->path, at, "--size=20");
	assert_said(" more bytes: see --size\n");
	g_free(at);
}

static void lost(const struct scene *s)
{
	char *at = number_text(s->heap->offset(s->map, s->lost));

	assert_status(0, "show", s->path, at);
	assert_said(", no root reaches it\n");
	g_assert_null(strstr(run_out, "pointed to"));
	s->heap->free(s->map, s->lost);
	assert_status(1, "show", s->path, at);
	assert_complained("no live block is there: ");
	g_assert_cmpstr(run_out, ==, "");
	assert_status(1, "show", s->path, "no such root");
	assert_complained("no live block is there: no such root; ");
	assert_status(1, "show", s->path, "0xffffffffffffffff");
	assert_status(1, "show", s->path, "0");
	g_free(at);
}

static void show(void)
{
	for (int i = 0; i < HEAPS; i++) {
		struct scene s;

		scene_begin(&s, &heaps[i]);
		found(&s);
		pointed_to(&s);
		lost(&s);
		g_assert_cmpint(s.heap->close(s.map), ==, 0);
	}
}

/* A word that points to its own block, and one that does not lead into any. */
static void itself(void)
{
	for (int i = 0; i < HEAPS; i++) {
		uint64_t wild = UINT64_MAX - 7;
		struct scene s;

		scene_begin(&s, &heaps[i]);
		memcpy((char *)s.heap->at(s.map, s.first) + 8, &s.first, sizeof(s.first));
		memcpy((char *)s.heap->at(s.map, s.first) + 24, &wild, sizeof(wild));
		assert_status(0, "show", s.path, "head");
		assert_said(text(", byte 8 of itself, %#" G_GINT64_MODIFIER "x (", s.heap->offset(s.map, s.first)));
		g_assert_cmpint(s.heap->close(s.map), ==, 0);
	}
}

/* ---- metrics ---- */

static void metric_is(const struct scene *s, const char *name, const char *labels, uint64_t value)
{
	assert_said(text("# HELP mapalloc_%s ", name));
	assert_said(text("# TYPE mapalloc_%s gauge\n", name));
	assert_said(text("mapalloc_%s{file=\"%s\",kind=\"%s\"%s} %" G_GUINT64_FORMAT "\n", name, s->path, s->heap->kind,
			 labels, value));
}

/* As --json has it. Each metric has its head once. */
static void metrics(void)
{
	static const char *const same[] = { "capacity", "used_bytes", "used_blocks", "reserved_bytes", "largest_free" };
	static const char *const names[] = { "capacity_bytes", "used_bytes", "used_blocks", "reserved_bytes",
					     "largest_free_bytes" };

	for (int i = 0; i < HEAPS; i++) {
		uint64_t value[G_N_ELEMENTS(same)];
		struct scene s;

		scene_begin(&s, &heaps[i]);
		g_assert_cmpint(s.heap->close(s.map), ==, 0);
		assert_status(0, "stat", "--json", s.path);
		for (size_t m = 0; m < G_N_ELEMENTS(same); m++)
			value[m] = run_number(same[m]);
		assert_status(0, "stat", "--prometheus", s.path);
		for (size_t m = 0; m < G_N_ELEMENTS(same); m++)
			metric_is(&s, names[m], "", value[m]);
		metric_is(&s, "status", "", 0);
		metric_is(&s, "processes", "", 0);
		metric_is(&s, "durable", "", 0);
		g_assert_cmpstr(strstr(strstr(run_out, "# HELP mapalloc_size_blocks") + 1, "# HELP"), ==, NULL);
		assert_status(64, "stat", "--prometheus", "--json", s.path);
		assert_status(64, "stat", "--prometheus", "--interval=1", s.path);
	}
}

static void metrics_durable(void)
{
	struct scene s;

	scene_begin(&s, &heaps[1]);
	g_assert_cmpint(s.heap->close(s.map), ==, 0);
	assert_status(0, "set", s.path, "durable=on");
	assert_status(0, "stat", "--prometheus", s.path);
	metric_is(&s, "durable", "", 1);
	metric_is(&s, "checkpoint_number", "", 1);
}

/* Quotes, backslashes, newlines, and what is no UTF-8. */
static void labels(void)
{
	char *path = g_strconcat(support_path("x"), "\"\\\n\xc3\xa4\xff", NULL);
	void *map = heaps[1].open(path);

	g_assert_nonnull(map);
	g_assert_cmpint(heaps[1].close(map), ==, 0);
	assert_status(0, "stat", "--prometheus", path);
	assert_said("x\\\"\\\\\\n\xc3\xa4\xef\xbf\xbd\",kind=");
	unlink(path);
	g_free(path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/show/block", show);
	support_add("/tools/show/itself", itself);
	support_add("/tools/show/metrics", metrics);
	support_add("/tools/show/metrics-durable", metrics_durable);
	support_add("/tools/show/labels", labels);
	return support_run();
}
