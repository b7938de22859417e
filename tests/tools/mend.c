/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What check makes of each thing that a kill may leave, and of damage that looks like it; and that repair mends the one, keeping every
 * block and root, and leaves the other alone. Words are set by hand, in copies of golden maps.
 */
#include <errno.h>
#include <inttypes.h>
#include <mmalloc.h>
#include <qalloc.h>
#include <shmbuddy.h>
#include <stdio.h>

#include "common/boot.h"
#include "common/heap_internal.h"
#include "handle.h" /* Of libshmbuddy: its words are in no public header. */
#include "tests/support/support_golden.h"
#include "tests/tools/heaps.h"
#include "tools/view.h"

static struct view view;

/* Look into a copy, to know where things are, and change it. */
static const char *begin_with(const char *copy)
{
	static struct tool tool;

	tool = (struct tool){ .out = stderr, .err = stderr };
	assert_status(0, "check", copy);
	g_assert_cmpint(view_open(&tool, copy, &view), ==, STATUS_OK);
	g_assert_nonnull(view.kind);
	return copy;
}

static const char *begin(const char *golden)
{
	return begin_with(support_golden_copy(golden));
}

static void put(const char *path, const void *at, uint64_t value, size_t bytes)
{
	FILE *f = fopen(path, "r+e");

	g_assert_nonnull(f);
	g_assert_cmpint(fseek(f, (long)view_file_offset(&view, at), SEEK_SET), ==, 0);
	g_assert_cmpuint(fwrite(&value, 1, bytes, f), ==, bytes);
	fclose(f);
}

static char *contents(const char *path)
{
	char *text;

	assert_status(0, "dump", path);
	text = g_strdup(run_out);
	return text;
}

/* It is mended, and nothing of what it holds is another than in the golden map. status: 0, the next open would do the same. */
static void mends_from(int status, const char *golden, const char *path, const char *rule)
{
	char *was, *is;

	view_close(&view);
	assert_status(status, "check", path);
	assert_said(rule);
	assert_said(status ? ": repairable\n" : ": sound, not closed: the next open cleans up\n");
	assert_status(status, "info", "--json", path);
	assert_said(status ? "\"verdict\": \"repairable\"" : "\"verdict\": \"sound, not closed\"");
	assert_status(0, "repair", path);
	assert_said("repaired: sound");
	assert_status(0, "check", path);
	is = contents(path);
	was = contents(support_golden_copy(golden)); /* Over the one that was mended. */
	g_assert_cmpstr(is, ==, was);
	g_free(was);
	g_free(is);
}

static void mends(const char *golden, const char *path, const char *rule)
{
	mends_from(0, golden, path, rule);
}

/* A sound copy could only be had by guessing too. */
static void no_snapshot(const char *path, const char *rule)
{
	const char *copy = support_path("copy");

	assert_status(2, "snapshot", path, copy);
	assert_complained(rule);
	g_assert_false(g_file_test(copy, G_FILE_TEST_EXISTS));
}

/* It is called damaged, and not touched. */
static void leaves(const char *path, const char *rule)
{
	size_t size, again;
	char *before = support_file_read(path, &size), *after;

	view_close(&view);
	assert_status(2, "check", path);
	assert_said(rule);
	assert_status(2, "repair", path);
	assert_complained("could only be guessed");
	no_snapshot(path, rule);
	after = support_file_read(path, &again);
	g_assert_true(size == again && memcmp(before, after, size) == 0);
	g_free(before);
	g_free(after);
}

static const char *const with_locks[] = { "static-1.map", "dynamic-1.map", "mmalloc-1.map" };

static void locks(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(with_locks); i++) {
		const char *path = begin(with_locks[i]);

		put(path, &ma_body(&view.map)->root_lock, 3, 4);
		mends(with_locks[i], path, "state/lock");
		path = begin(with_locks[i]);
		put(path, &ma_body(&view.map)->length_lock, 0x80010007, 4);
		mends(with_locks[i], path, "the lock of the length is held by process slot 6");
		path = begin(with_locks[i]);
		put(path, &ma_stream(&view.map, 1)->lock, 0xffff, 4); /* No such slot. */
		mends(with_locks[i], path, "the lock of stream 1");
	}
}

static void leases(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(with_locks); i++) {
		const char *path = begin(with_locks[i]);

		put(path, &ma_body(&view.map)->owner_top, 3, 4);
		put(path, view.base + view.map.lay.owner_off + 64, (uint64_t)5 << 16 | 9, 8);
		mends(with_locks[i], path, "1 lease of process slot 8");
	}
}

static void phases(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(with_locks); i++) {
		const char *path = begin(with_locks[i]);

		put(path, &view.map.header->phase, 0, 4);
		mends(with_locks[i], path, "state/phase");
		path = begin(with_locks[i]);
		put(path, &view.map.header->state, MA_STATE_IN_USE, 4);
		mends(with_locks[i], path, "state/in-use");
	}
}

/* The followers of a run whose head was never stored: with the intent that says so they are free. */
static void intent(void)
{
	const char *path = begin("dynamic-1.map");
	struct ma_stream *st = ma_stream(&view.map, 0);
	uint64_t chunk = 0;

	while (!ma_chunk_is_backed(&view.map, chunk) || ma_chunk_load(&view.map, chunk) != MA_FREE)
		g_assert_cmpuint(++chunk, <, view.map.lay.units);
	put(path, ma_chunk(&view.map, chunk), ma_word(MA_CONT, 0, chunk - 1), 8);
	put(path, &st->intent_first, 0, 8);
	put(path, &st->intent_count, view.map.lay.units, 8);
	put(path, &st->intent_valid, 1, 4);
	mends("dynamic-1.map", path, "state/intent");
	path = begin("dynamic-1.map");
	put(path, ma_chunk(&view.map, chunk), ma_word(MA_CONT, 0, chunk - 1), 8);
	leaves(path, "makes no sense"); /* Without an intent it may be what is left of a block. */
}

/* The same while a process uses the map: the next one that wants the lock cleans up, so that is no damage either. */
static void intent_in_use(void)
{
	const char *path = support_golden_copy("dynamic-1.map");
	struct ma_image *map = qalloc_loadmap(path);
	struct ma_stream *st = ma_stream(map, 0);
	uint64_t chunk = 0;

	g_assert_nonnull(map);
	while (!ma_chunk_is_backed(map, chunk) || ma_chunk_load(map, chunk) != MA_FREE)
		g_assert_cmpuint(++chunk, <, map->lay.units);
	ma_store(ma_chunk(map, chunk), ma_word(MA_CONT, 0, chunk - 1));
	assert_status(2, "check", path);
	assert_said("makes no sense");
	ma_store(&st->intent_first, chunk);
	ma_store(&st->intent_count, 1);
	ma_store(&st->intent_valid, 1);
	ma_store(&st->lock.word, 7);
	assert_status(0, "check", path);
	assert_said("the lock of stream 0 is held by process slot 6");
	assert_said("not closed: body/chunk");
	assert_said("sound, not closed: the processes that use it clean up");
	assert_status(0, "dump", path);
	g_assert_null(strstr(run_out, "\"damaged\""));
	ma_store(&st->intent_first, chunk + 1);
	assert_status(2, "check", path);
	ma_store(&st->intent_first, chunk);
	g_assert_cmpint(qalloc_close((void *)map), ==, 0);
	assert_status(0, "check", path);
	assert_said("sound, not closed: the next open");
	assert_status(0, "repair", path);
	assert_status(0, "check", path);
	assert_said(": sound\n");
}

/* Static maps have none: what stands there is neither reported nor in the way of what is to be mended. */
static void no_intent(void)
{
	const char *path = begin("static-1.map");

	put(path, &ma_stream(&view.map, 0)->intent_valid, 1, 4);
	put(path, &ma_body(&view.map)->root_lock, 3, 4);
	mends("static-1.map", path, "state/lock");
	path = begin("static-1.map");
	put(path, &ma_stream(&view.map, 1)->intent_valid, 0xabcd, 4);
	view_close(&view);
	assert_status(0, "check", path);
	assert_status(0, "repair", path);
	assert_said("nothing to repair");
}

/*
 * As if it was no copy, and the machine had not gone down since: of such files the next opener believes nothing that follows from the
 * rest. The golden files are from another machine.
 */
static const char *begin_original(const char *golden)
{
	const char *path = begin(golden);
	uint64_t boot[MA_BOOT_ID / 8];

	ma_boot_id((uint8_t *)boot);
	for (size_t i = 0; i < G_N_ELEMENTS(boot); i++)
		put(path, view.map.header->boot_id + i * 8, boot[i], 8);
	put(path, &view.map.header->device, view.st.st_dev, 8);
	put(path, &view.map.header->inode, view.st.st_ino, 8);
	put(path, &view.map.header->mount, ma_boot_mount(view.fd), 8);
	return path;
}

/* Which chunks are free is told by their words: the bits that say so too are made anew. */
static void leaf(void)
{
	const char *path = begin_original("dynamic-1.map");

	put(path, view.base + view.map.lay.seg[0].leaf_off, 0, 8);
	mends_from(1, "dynamic-1.map", path, "body/free-chunks");
	path = begin_original("dynamic-1.map");
	put(path, view.base + view.map.lay.seg[0].leaf_off, UINT64_MAX, 8);
	mends_from(1, "dynamic-1.map", path, "counted wrong");
}

/* A leaf that somebody split, and died before its lower word was open: all that is above it goes on, and the leaf is free again. */
static void split(void)
{
	const char *path = begin("shmbuddy-1.map");
	const struct level *top = region_level(view.region, view.region->lay.top);
	_Atomic uint64_t *word = region_word(view.region, top, 0);
	uint64_t w = region_view(top, ma_load(word));
	unsigned leaf = 0;

	while (word_busy(w, WORD_UPPER) & 1u << leaf)
		g_assert_cmpuint(++leaf, <, view.user_bytes >> top->leaf_shift);
	put(path, word, word_divide(w, leaf), 8);
	mends("shmbuddy-1.map", path, "1 split or merge was not finished");
	assert_status(0, "stat", "--json", path);
	g_assert_cmpuint(run_number("largest_free"), ==, 4096);
}

/* Merging the word would make it right, and lose its blocks: but a copy's opener checks first, and refuses it. */
static void bad_word(void)
{
	const char *path = begin("shmbuddy-1.map");
	const struct level *lowest = region_level(view.region, 0);
	const struct shmbuddy_options how = { .flags = SHMBUDDY_EXISTING };
	uint64_t i = 0;

	while (!word_is_open(ma_load(region_word(view.region, lowest, i)), WORD_LEAVES))
		g_assert_cmpuint(++i, <, layout_words(lowest, view.user_bytes));
	put(path, region_word(view.region, lowest, i), word_open(WORD_LEAVES) | (uint64_t)1 << 40, 8);
	leaves(path, "body/word");
	g_assert_null(shmbuddy_open(path, &how));
	g_assert_cmpint(errno, ==, EUCLEAN);
}

/* A block there would lie beyond the file: whoever writes to it dies, or worse. */
static void beyond_the_end(void)
{
	const char *path = begin("shmbuddy-1.map");
	const struct level *top = region_level(view.region, view.region->lay.top);
	const struct shmbuddy_options how = { .flags = SHMBUDDY_EXISTING };
	uint64_t words = layout_words(top, view.user_bytes), last = top->leaves - 1, w;
	_Atomic uint64_t *word = region_word(view.region, top, words - 1);

	g_assert_cmpuint((words << top->cover_shift) - ((uint64_t)1 << top->leaf_shift), >=, view.user_bytes);
	w = region_view(top, ma_load(word));
	g_assert_false(word_busy(w, top->leaves) >> last & 1);
	put(path, word, word_take(w, top->leaves, (unsigned)last, 0), 8);
	leaves(path, "beyond the end of the area");
	g_assert_null(shmbuddy_open(path, &how));
	g_assert_cmpint(errno, ==, EUCLEAN);
}

static void lose_first_part(const char *path)
{
	const struct shmbuddy_options how = { .flags = SHMBUDDY_EXISTING };

	put(path, view.region->backed, 0, 8);
	leaves(path, "has no disk space yet");
	g_assert_null(shmbuddy_open(path, &how));
	g_assert_cmpint(errno, ==, EUCLEAN);
}

/* Its words would not be looked at; who opens it would find zeros there, which say that blocks lie beyond its end. */
static void no_part(void)
{
	const char *fresh = support_path("fresh"), *copy = support_path("copy");

	lose_first_part(begin("shmbuddy-flat-1.map"));
	assert_status(0, "create", "shmbuddy", fresh, "--size=20K");
	support_file_copy(fresh, copy);
	lose_first_part(begin_with(copy));
}

/* What is between the guards is the block; a guard that was overwritten is damage. */
static void guards(void)
{
	const char *path = support_path("heap");
	void *md = heaps[2].open(path);
	char *block, *other, want[64];
	uint64_t offset;

	g_assert_cmpint(mmcheck(md, NULL), !=, 0);
	block = mmalloc(md, 40);
	other = mmalloc(md, 100000);
	memcpy(block, &other, sizeof(other));
	g_assert_cmpint(mmalloc_setroot(md, "block", block), ==, 0);
	offset = heaps[2].offset(md, (uintptr_t)block);
	g_assert_null(mmalloc_detach(md));
	assert_status(0, "check", path);
	assert_status(0, "leaks", "--json", path);
	g_assert_cmpuint(run_number("blocks"), ==, 2);
	assert_status(0, "list", "--json", path);
	snprintf(want, sizeof(want), "\"offset\": %" PRIu64 ", ", offset);
	assert_said(want);
	assert_said("\"size\": 40, \"reached\": true, \"roots\": [\"block\"]");
	assert_said("\"size\": 100000, \"reached\": true");
	md = heaps[2].open(path);
	block = mmalloc_getroot(md, "block");
	block[40] = 0; /* No byte of a guard is. */
	g_assert_null(mmalloc_detach(md));
	assert_status(2, "check", path);
	snprintf(want, sizeof(want), "body/guard at %#" PRIx64 ": block", offset);
	assert_said(want);
	assert_said("of 40 bytes: the memory after it was overwritten");
	assert_status(2, "repair", path);
	no_snapshot(path, "body/guard");
}

static void damage(void)
{
	const char *path = begin("static-1.map");

	put(path, view.base + view.map.lay.alloc_bytes_off, 7, 1);
	leaves(path, "body/item");
	path = begin("dynamic-1.map");
	for (uint64_t chunk = 0; chunk < view.map.lay.units; chunk++)
		if (ma_word_units(&view.map, ma_chunk_load(&view.map, chunk)))
			put(path, &view.map.slab_desc[chunk], 0, 8);
	leaves(path, "its allocation bytes are not its own");
}

/* Also while somebody uses the region, and the copy is all that can be checked. */
static void bad_root(void)
{
	const char *path = begin("shmbuddy-1.map");
	shmbuddy_t *region;

	put(path, &view.region->control->root, 16, 8);
	leaves(path, "body/root");
	region = shmbuddy_open(path, NULL);
	g_assert_nonnull(region);
	assert_status(2, "info", path);
	assert_said("attached     yes");
	no_snapshot(path, "body/root");
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
}

/* More is repairable than findings are listed: what is damaged is listed all the same. */
static void many(void)
{
	const char *path = support_path("map");

	assert_status(0, "create", "qalloc-dynamic", path, "--size", "400M", "--streams", "1024");
	g_assert_cmpint(view_open(&(struct tool){ .out = stderr, .err = stderr }, path, &view), ==, STATUS_OK);
	for (uint32_t s = 0; s < 1024; s++)
		put(path, &ma_stream(&view.map, s)->lock, 3, 4);
	put(path, &ma_body(&view.map)->root_lock, 3, 4);
	assert_status(0, "check", path);
	assert_said("and 1 more like these");
	put(path, &ma_stream(&view.map, 1023)->top, view.map.lay.seg[0].leaves + 1, 8);
	leaves(path, "body/stream");
	unlink(path);
}

/* A run of several chunks. */
static uint64_t find_run(void)
{
	for (uint64_t chunk = 0; chunk < view.map.lay.units; chunk++) {
		uint64_t word = ma_chunk_load(&view.map, chunk);

		if (ma_word_kind(word) == MA_RUN && ma_word_chunks(&view.map, chunk, word) > 1)
			return chunk;
	}
	g_assert_not_reached();
}

/*
 * What lies behind the chunks in use is made zero where nothing is certain, by repair and by whoever opens it next: so a run that
 * reaches beyond them is cut.
 */
static void cut_run(void)
{
	static const char *const goldens[] = { "dynamic-1.map", "mmalloc-1.map" };

	for (size_t i = 0; i < G_N_ELEMENTS(goldens); i++)
		for (int is_original = 0; is_original < 2; is_original++) {
			const char *path = is_original ? begin_original(goldens[i]) : begin(goldens[i]);
			uint64_t chunk = find_run();
			uint32_t stream = ma_stream_of(&view.map, chunk);

			if (is_original)
				put(path, &view.map.header->state, MA_STATE_IN_USE, 4);
			put(path, &ma_stream(&view.map, stream)->backed, chunk + 1 - ma_range_first(&view.map, stream),
			    8);
			/* Of the original only its users' death is certain, and nothing is made zero. */
			leaves(path, is_original ? "body/free-chunks" : "does not belong to the block");
		}
}

/* The file is long enough, but says that it is shorter than what it has in use: nobody opens that. */
static void too_short(void)
{
	static const char *const goldens[] = { "dynamic-1.map", "mmalloc-1.map" };

	for (size_t i = 0; i < G_N_ELEMENTS(goldens); i++) {
		const char *path = begin(goldens[i]);

		put(path, &view.map.header->length, view.map.engine->end(&view.map) - MA_PAGE, 8);
		leaves(path, i == 0 ? "header/numbers" : "body/end"); /* The first one never gets shorter than it was made. */
	}
}

/* A newer program's map, of which we know how to read it and not how to write it. */
static void only_readable(void)
{
	const char *path = support_golden_copy("bad-rocompat.map");
	struct tool tool = { .out = stderr, .err = stderr };

	assert_status(0, "check", path);
	g_assert_cmpint(view_open(&tool, path, &view), ==, STATUS_OK);
	put(path, &view.map.header->state, MA_STATE_IN_USE, 4);
	view_close(&view);
	assert_status(0, "check", path);
	assert_said("sound, not closed");
	assert_status(5, "repair", path);
	assert_complained("only read");
	assert_status(5, "snapshot", path, support_path("copy"));
	assert_complained("only read");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/mend/locks", locks);
	support_add("/tools/mend/leases", leases);
	support_add("/tools/mend/phases", phases);
	support_add("/tools/mend/intent", intent);
	support_add("/tools/mend/intent-in-use", intent_in_use);
	support_add("/tools/mend/no-intent", no_intent);
	support_add("/tools/mend/leaf", leaf);
	support_add("/tools/mend/split", split);
	support_add("/tools/mend/bad-word", bad_word);
	support_add("/tools/mend/beyond-the-end", beyond_the_end);
	support_add("/tools/mend/no-part", no_part);
	support_add("/tools/mend/guards", guards);
	support_add("/tools/mend/damage", damage);
	support_add("/tools/mend/bad-root", bad_root);
	support_add("/tools/mend/many", many);
	support_add("/tools/mend/cut-run", cut_run);
	support_add("/tools/mend/too-short", too_short);
	support_add("/tools/mend/only-readable", only_readable);
	return support_run();
}
