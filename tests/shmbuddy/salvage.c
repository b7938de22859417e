/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The salvage of damaged regions: it reports each thing once, and a region that cannot be salvaged keeps every byte. We know no damage of a
 * file that cannot be salvaged once its header is accepted. So here the disk gives the salvage one answer, and the check after it another.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_fault.h"
#include "tests/support/support_golden.h"

#define AT_STATE  212 /* doc/format.md */
#define AT_TABLES 4096
#define MOST      8
#define KILLS     3

/* ---- what is reported ---- */

struct told {
	unsigned count, dies_at;
	char text[MOST][160];
};

static void tell(const char *text, void *arg)
{
	struct told *told = arg;

	if (told->count < MOST)
		g_strlcpy(told->text[told->count], text, sizeof(told->text[0]));
	if (++told->count == told->dies_at)
		raise(SIGKILL);
}

static const struct {
	const char *name;
	const char *texts[3];
} damaged[] = {
	{ "bad-shmbuddy-end.map",
	  { "offset 98304, 32768 bytes: a block lies beyond the end of the area",
	    "root last pointed out of the region, and is taken away" } },
	{ "bad-shmbuddy-lost.map", { "offset 16384, 65536 bytes: a part has its words again, and its disk space" } },
	{ "bad-shmbuddy-split.map", { "offset 16384, 512 bytes: a word is open whose upper leaf is not split" } },
	{ "bad-shmbuddy-top.map", { "offset 16384, 32768 bytes: a top word is closed" } },
	{ "bad-shmbuddy-tree.map", { "offset 16384, 512 bytes: a word's bits are no tree of blocks" } },
};

static void tells(const char *path, const char *const *texts)
{
	struct told told = { 0 };
	shmbuddy_t *region = shmbuddy_salvage(path, tell, &told);
	unsigned count = 0;

	if (!region)
		g_error("%s", shmbuddy_errmsg());
	for (; count < G_N_ELEMENTS(damaged[0].texts) && texts[count]; count++)
		g_assert_cmpstr(told.text[count], ==, texts[count]);
	g_assert_cmpuint(told.count, ==, count);
	buddy_goes_on(region);
}

/* Each thing once, although the salvage is tried first; and nothing of a region that was salvaged. */
static void reports(void)
{
	static const char *const nothing[] = { NULL };

	for (size_t i = 0; i < G_N_ELEMENTS(damaged); i++) {
		const char *copy = support_golden_copy(damaged[i].name);

		buddy_fails(EUCLEAN, !shmbuddy_open(copy, NULL));
		tells(copy, damaged[i].texts);
		tells(copy, nothing);
	}
}

/* ---- a region with damaged words ---- */

/* Blocks of which several words have some, each of these with a free leaf. Returns the first block. */
static shm_offt use(shmbuddy_t *region)
{
	shm_offt blocks[160], first;

	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++) {
		blocks[i] = shmbuddy_malloc(region, 512);
		g_assert_cmpuint(blocks[i], !=, SHM_NULL);
	}
	first = blocks[0];
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++) {
		first = MIN(first, blocks[i]);
		if (i % 32 == 7)
			g_assert_cmpint(shmbuddy_free(region, blocks[i]), ==, 0);
	}
	return first;
}

static unsigned violations_of(shmbuddy_t *region)
{
	struct told told = { 0 };

	shmbuddy_check(region, tell, &told);
	return told.count;
}

/* A word that has small blocks and a free leaf, or a line of the index that looks like one. */
static bool may_be_word(uint64_t w)
{
	return w >> 32 & 1 && w >> 33 && (uint32_t)w != UINT32_MAX;
}

/* In several words, blocks begin at free leaves now. How many words these are; the number differs from region to region. */
static unsigned break_words(const char *path)
{
	shmbuddy_t *region = buddy_open(path, 16 * MIB, 512, 64 * KIB);
	uint64_t *end = shmbuddy_address(region, use(region));
	uint64_t *word = (uint64_t *)(void *)((char *)shmbuddy_base(region) + AT_TABLES);
	unsigned broken = 0;

	for (; word < end; word++) {
		uint64_t was = *word;

		if (!may_be_word(was))
			continue;
		*word |= UINT64_C(0xfffffffe00000000);
		if (violations_of(region) > broken)
			broken++;
		else
			*word = was;
	}
	g_assert_cmpuint(violations_of(region), ==, broken);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
	g_assert_cmpuint(broken, >=, KILLS);
	return broken;
}

static void set_state(const char *path, uint32_t state)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	g_assert_cmpint(pwrite(fd, &state, sizeof(state), AT_STATE), ==, sizeof(state));
	close(fd);
}

/* The salvage fails, and reports nothing. */
static void keeps_every_byte(const char *path, int error, const char *sentence)
{
	struct told told = { 0 };
	size_t before_bytes, after_bytes;
	char *before = support_file_read(path, &before_bytes), *after;

	buddy_fails(error, !shmbuddy_salvage(path, tell, &told));
	after = support_file_read(path, &after_bytes);
	g_assert_cmpuint(after_bytes, ==, before_bytes);
	for (size_t i = 0; i < before_bytes; i++)
		if (before[i] != after[i])
			g_error("byte %zu has changed", i);
	if (!strstr(shmbuddy_errmsg(), sentence))
		g_error("\"%s\" does not say \"%s\"", shmbuddy_errmsg(), sentence);
	g_assert_cmpuint(told.count, ==, 0);
	g_free(before);
	g_free(after);
}

static void is_salvaged(const char *path, unsigned reports_of)
{
	struct told told = { 0 };
	shmbuddy_t *region = shmbuddy_salvage(path, tell, &told);

	if (!region)
		g_error("%s", shmbuddy_errmsg());
	g_assert_cmpuint(told.count, ==, reports_of);
	buddy_goes_on(region);
}

/* ---- one that cannot be salvaged ---- */

static off_t first_asked;
static unsigned passes;

/* The tables of parts that have no disk space are zeros when they are read once, and something else when they are read again. */
static long another_answer(const long args[6])
{
	long result = support_real(args);

	if (args[3] < AT_TABLES || result <= 0)
		return result;
	if (passes == 0)
		first_asked = args[3];
	passes += args[3] == first_asked;
	if (passes == 2)
		memset((void *)(uintptr_t)args[1], 0xff, (size_t)result);
	return result;
}

/* No holes: a part that has no disk space is known by the zeros of its tables alone. */
static void fill_holes(const char *path)
{
	size_t bytes;
	char *all = support_file_read(path, &bytes);

	support_file_write(path, all, bytes);
	g_free(all);
}

/* In use, closed, closed and synced: what the header says of that stays, too. */
static uint32_t state;

static int salvage_changing(void *arg)
{
	const char *path = support_path("changing");
	unsigned broken = break_words(path);

	(void)arg;
	fill_holes(path);
	set_state(path, state);
	passes = 0;
	if (!support_make_fail(SYS_fallocate, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, EOPNOTSUPP) ||
	    !support_hook(SYS_pread64, another_answer))
		return SUPPORT_CANNOT;
	keeps_every_byte(path, EUCLEAN, "changing: cannot salvage it: ");
	g_assert_cmpuint(passes, ==, 2);
	passes = 3;
	is_salvaged(path, broken);
	return 0;
}

static void refused(void)
{
	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("failing system calls are the tool's too");
		return;
	}
	for (state = 0; state <= 2; state++)
		if (!support_can(salvage_changing, "no seccomp filter here, or not an x86-64"))
			return;
}

/* ---- what is refused before it is tried ---- */

/* Numbers that everything follows from are damaged. */
static void refused_headers(void)
{
	static const char *const names[] = {
		"bad-shmbuddy-area.map", "bad-shmbuddy-crc.map",      "bad-shmbuddy-flags.map",
		"bad-shmbuddy-part.map", "bad-shmbuddy-smallest.map", "bad-shmbuddy-total.map",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		keeps_every_byte(support_golden_copy(names[i]), strstr(names[i], "crc") ? EBADMSG : EUCLEAN,
				 "cannot open it");
}

static int without_memory(void *arg)
{
	const char *path = support_path("no-memory");
	shmbuddy_t *region;
	struct shmbuddy_stats stats;

	(void)arg;
	break_words(path);
	region = shmbuddy_open(path, NULL);
	stats = buddy_stats(region);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
	/* A copy of the tables is as long as they are; nothing else is. */
	if (!support_make_fail(SYS_mmap, (int)(stats.region_bytes - stats.capacity), ENOMEM))
		return SUPPORT_CANNOT;
	keeps_every_byte(path, ENOMEM, "no-memory: cannot salvage it: no memory to try it first");
	return 0;
}

SUPPORT_FAULT_CASE(without_memory)

/* A part has lost the bit that says that it has its disk space, and no space can be had. */
static int without_space(void *arg)
{
	const char *path = support_golden_copy("bad-shmbuddy-lost.map");

	(void)arg;
	fill_holes(path);
	if (!support_make_fail(SYS_fallocate, FALLOC_FL_KEEP_SIZE, ENOSPC))
		return SUPPORT_CANNOT;
	keeps_every_byte(path, ENOSPC, "cannot salvage it: no disk space for a part");
	return 0;
}

SUPPORT_FAULT_CASE(without_space)

/* ---- kills ---- */

struct dying {
	const char *path;
	unsigned at;
};

static int salvage_and_die(void *arg)
{
	const struct dying *dying = arg;
	struct told told = { .dies_at = dying->at };

	return shmbuddy_salvage(dying->path, tell, &told) ? 0 : 1;
}

/* Killed at each report: what was damaged is checked by the next opener, and salvaged by the next salvage, from there on. */
static void killed(void)
{
	const char *path = support_path("killed");

	for (unsigned at = 1; at <= KILLS; at++) {
		unsigned broken = break_words(path);
		struct dying dying = { path, at };
		int status;

		status = support_wait(support_fork(salvage_and_die, &dying));
		g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		buddy_fails(EUCLEAN, !shmbuddy_open(path, NULL));
		is_salvaged(path, broken - at + 1);
		unlink(path);
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/salvage/reports", reports);
	support_add("/shmbuddy/salvage/refused", refused);
	support_add("/shmbuddy/salvage/refused-headers", refused_headers);
	support_add("/shmbuddy/salvage/no-memory", without_memory_in_child);
	support_add("/shmbuddy/salvage/no-space", without_space_in_child);
	support_add("/shmbuddy/salvage/killed", killed);
	return support_run();
}
