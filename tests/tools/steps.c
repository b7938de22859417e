/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands that change a file in place, killed at any instruction: repair of what a kill left, and resize of a heap. A process that was
 * killed leaves the file's bytes and nothing else; so each state of these is examined as if it had been left.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common/heap_internal.h"
#include "common/owner.h"
#include "handle.h" /* Of libshmbuddy: its words are in no public header. */
#include "tests/support/support_golden.h"
#include "tests/support/support_step.h"
#include "tests/tools/heaps.h"
#include "tests/tools/victim.h"
#include "tools/view.h"

struct scene {
	const char *path, *state;
	victim_line line;                  /* On path. */
	victim_line again;                 /* The same on state. */
	bool (*is_done)(const char *path); /* NULL: check says it. */
	unsigned unmaps;                   /* Of a whole range, that come before ... */
	uint64_t flags;                    /* ... the one of the mapping to write to, from which on it is stepped. */
	uint64_t watched;                  /* Bytes of the file that may change. */
	char *want;                        /* What is in it. */
	size_t states, instructions;
};

static struct view view;

/* ---- states ---- */

/* Without its first line: the length may be another one. */
static char *contents(const char *path)
{
	victim_expect(0, "dump", path);
	return g_strdup(strchr(victim_said, '\n'));
}

static void put(const char *path, uint64_t at, const void *value, size_t bytes)
{
	FILE *f = fopen(path, "r+e");

	g_assert_nonnull(f);
	g_assert_cmpint(fseek(f, (long)at, SEEK_SET), ==, 0);
	g_assert_cmpuint(fwrite(value, 1, bytes, f), ==, bytes);
	fclose(f);
}

static void put_number(const char *path, const void *at, uint64_t value, size_t bytes)
{
	put(path, view_file_offset(&view, at), &value, bytes);
}

/* No copy: of a copy the next opener believes less. */
static void make_original(const char *path, const char *was)
{
	struct ma_header header;
	struct stat st, other;
	uint64_t numbers[2];
	FILE *f = fopen(path, "re");

	g_assert_nonnull(f);
	g_assert_cmpuint(fread(&header, 1, sizeof(header), f), ==, sizeof(header));
	fclose(f);
	g_assert_cmpint(stat(path, &st), ==, 0);
	g_assert_cmpint(stat(was, &other), ==, 0);
	if (header.inode != other.st_ino || header.device != other.st_dev)
		return; /* It was one already. */
	numbers[0] = st.st_dev;
	numbers[1] = st.st_ino;
	put(path, offsetof(struct ma_header, device), &numbers[0], 8);
	put(path, offsetof(struct ma_header, inode), &numbers[1], 8);
}

/* A kill here leaves this: nothing that cannot be mended, and the command is given once more. */
static void examine(struct scene *s)
{
	char *is;
	int status;

	support_file_copy(s->path, s->state);
	make_original(s->state, s->path);
	status = victim_tool((victim_line){ "check", s->state, NULL });
	if (status > 1)
		g_error("after %zu instructions: %s", s->instructions, victim_said);
	victim_expect_is(0, s->again, __FILE__, __LINE__);
	victim_expect(0, "check", s->state);
	g_assert_true(!s->is_done || s->is_done(s->state));
	is = contents(s->state);
	g_assert_cmpstr(is, ==, s->want);
	g_free(is);
	s->states++;
}

/* ---- stepping ---- */

static bool maps_to_write(const struct __ptrace_syscall_info *call, uint64_t flags)
{
	return call->op == PTRACE_SYSCALL_INFO_ENTRY && call->entry.nr == SYS_mmap &&
	       call->entry.args[2] & PROT_WRITE && (call->entry.args[3] & flags) == flags;
}

/* Before it can be written to, nothing changes. */
static void run_to_mapping(pid_t pid, uint64_t flags, unsigned unmaps)
{
	struct __ptrace_syscall_info call;

	while (unmaps > 0) {
		g_assert_true(victim_next_call(pid, &call));
		unmaps -= call.op == PTRACE_SYSCALL_INFO_ENTRY && call.entry.nr == SYS_munmap && call.entry.args[1] >= 16 * MIB;
	}
	do
		g_assert_true(victim_next_call(pid, &call));
	while (!maps_to_write(&call, flags) || call.entry.args[3] & MAP_ANONYMOUS);
	g_assert_true(victim_next_call(pid, &call));
}

/* Can it still write to the file? */
static bool is_at_it(pid_t pid, const char *path)
{
	char *maps_path = g_strdup_printf("/proc/%d/maps", (int)pid), *maps, *name = g_path_get_basename(path);
	bool found = false;

	g_assert_true(g_file_get_contents(maps_path, &maps, NULL, NULL));
	for (char *line = strtok(maps, "\n"); line && !found; line = strtok(NULL, "\n"))
		found = strstr(line, " rw-s ") && g_str_has_suffix(line, name);
	g_free(maps);
	g_free(maps_path);
	g_free(name);
	return found;
}

static void examine_each(struct scene *s)
{
	pid_t pid = victim_start(s->line);
	GHashTable *known = g_hash_table_new(g_direct_hash, g_direct_equal);
	char *now, *last = g_malloc(s->watched);
	off_t size = support_file_size(s->path);
	bool runs = true;
	int fd;

	run_to_mapping(pid, s->flags, s->unmaps);
	fd = open(s->path, O_RDONLY | O_CLOEXEC); /* Not before: the command makes sure that nobody else has it open. */
	now = mmap(NULL, s->watched, PROT_READ, MAP_SHARED, fd, 0);
	g_assert_true(now != MAP_FAILED);
	close(fd);
	g_assert_true(is_at_it(pid, s->path));
	memcpy(last, now, s->watched);
	examine(s);
	while (runs) {
		uintptr_t where;
		enum support_step_writes writes = support_step_writes(pid, support_step_at(pid), &where, known);

		runs = victim_step(pid);
		s->instructions++;
		if (writes == SUPPORT_STEP_WRITES_NOTHING)
			continue;
		if (runs && writes == SUPPORT_STEP_CALLS_KERNEL)
			runs = is_at_it(pid, s->path);
		if (memcmp(now, last, s->watched) == 0 &&
		    (writes != SUPPORT_STEP_CALLS_KERNEL || support_file_size(s->path) == size))
			continue;
		memcpy(last, now, s->watched);
		size = support_file_size(s->path);
		examine(s);
		support_watchdog(SUPPORT_HUNG_SECONDS);
	}
	g_assert_cmpint(victim_end(pid), ==, 0);
	munmap(now, s->watched);
	g_free(last);
	g_hash_table_destroy(known);
	g_test_message("%s: %zu states in %zu instructions", s->line[0], s->states, s->instructions);
	g_assert_cmpuint(s->states, >, 1);
}

/* ---- repair ---- */

/* What is looked into, to be damaged; as if it was no copy. */
static const char *begin(const char *golden)
{
	static struct tool tool;
	const char *path = support_golden_copy(golden);

	tool = (struct tool){ .out = stderr, .err = stderr };
	g_assert_cmpint(view_open(&tool, path, &view), ==, STATUS_OK);
	g_assert_nonnull(view.kind);
	put_number(path, view.base + offsetof(struct ma_header, device), view.st.st_dev, 8);
	put_number(path, view.base + offsetof(struct ma_header, inode), view.st.st_ino, 8);
	return path;
}

static void repair_it(const char *path)
{
	struct scene s = {
		.path = path,
		.state = support_path("state"),
		.line = { "repair", path },
		.flags = MAP_SHARED,
		.watched = view_file_offset(&view, view.base + view.user_off),
		.want = contents(path),
	};

	s.again[0] = "repair";
	s.again[1] = s.state;
	view_close(&view);
	victim_expect(0, "check", path);
	support_step_one_cpu();
	examine_each(&s);
	g_free(s.want);
}

/* All that a kill leaves, at once. */
static void repair_locks(const char *golden)
{
	const char *path = begin(golden);

	put_number(path, &view.map.header->phase, 0, 4);
	put_number(path, &view.map.header->state, MA_STATE_IN_USE, 4);
	put_number(path, &ma_body(&view.map)->root_lock, 3, 4);
	put_number(path, &ma_body(&view.map)->length_lock, 0x80010007, 4);
	put_number(path, &ma_stream(&view.map, 1)->lock, 0xffff, 4);
	put_number(path, &ma_body(&view.map)->owner_top, 3, 4);
	put_number(path, view.base + view.map.lay.owner_off + 64, (uint64_t)5 << 16 | 9, 8);
	if (!g_str_equal(golden, "static-1.map")) {
		put_number(path, &ma_stream(&view.map, 0)->intent_first, 0, 8);
		put_number(path, &ma_stream(&view.map, 0)->intent_count, view.map.lay.units, 8);
		put_number(path, &ma_stream(&view.map, 0)->intent_valid, 1, 4);
		put_number(path, view.base + view.map.lay.seg[0].leaf_off, 0, 8);
	}
	repair_it(path);
}

static void repair_static(void)
{
	if (victim_begin())
		repair_locks("static-1.map");
}

static void repair_dynamic(void)
{
	if (victim_begin())
		repair_locks("dynamic-1.map");
}

static void repair_mmalloc(void)
{
	if (victim_begin())
		repair_locks("mmalloc-1.map");
}

static void repair_region(void)
{
	const struct level *top;
	_Atomic uint64_t *word;
	const char *path;
	unsigned leaf = 0;
	uint64_t w;

	if (!victim_begin())
		return;
	path = begin("shmbuddy-1.map");
	top = region_level(view.region, view.region->lay.top);
	word = region_word(view.region, top, 0);
	w = region_view(top, ma_load(word));
	while (word_busy(w, WORD_UPPER) & 1u << leaf)
		g_assert_cmpuint(++leaf, <, WORD_UPPER);
	put_number(path, word, word_divide(w, leaf), 8);
	repair_it(path);
}

/* ---- resize ---- */

static off_t wanted;

static bool has_wanted_size(const char *path)
{
	return support_file_size(path) == wanted;
}

static const char *make_heap(off_t size, uint64_t *watched)
{
	const char *path = support_path("heap");
	char *text = g_strdup_printf("%" PRIu64, (uint64_t)size);
	struct tool tool = { .out = stderr, .err = stderr };
	void *md = heaps[2].open(path);

	g_assert_cmpuint(heap_fill(&heaps[2], md, 15), ==, 15);
	heaps[2].close(md);
	victim_expect(0, "resize", path, text);
	g_assert_cmpint(support_file_size(path), ==, size);
	g_assert_cmpint(view_open(&tool, path, &view), ==, STATUS_OK);
	*watched = view_file_offset(&view, view.base + view.user_off);
	view_close(&view);
	g_free(text);
	return path;
}

static void resize(off_t from, off_t to, unsigned unmaps)
{
	char *text = g_strdup_printf("%" PRIu64, (uint64_t)to);
	struct scene s = { .state = support_path("state"), .flags = MAP_SHARED, .unmaps = unmaps, .is_done = has_wanted_size };

	wanted = to;
	s.path = make_heap(from, &s.watched);
	s.want = contents(s.path);
	memcpy(s.line, (victim_line){ "resize", s.path, text }, sizeof(s.line));
	memcpy(s.again, (victim_line){ "resize", s.state, text }, sizeof(s.again));
	support_step_one_cpu();
	examine_each(&s);
	g_free(s.want);
	g_free(text);
}

static void longer(void)
{
	if (victim_begin())
		resize((off_t)(6 * MIB), (off_t)(8 * MIB), 0);
}

/* First it is attached to and trimmed, as crash/mmalloc has it. */
static void shorter(void)
{
	if (victim_begin())
		resize((off_t)(10 * MIB), (off_t)(6 * MIB), 3); /* That it was looked at, and detached. */
}

/* ---- somebody comes between ---- */

/* He attaches, and dies. */
static int come_and_die(void *arg)
{
	void *map = heaps[1].open(arg);

	_exit(map && heaps[1].malloc(map, 1000) ? 0 : 1);
}

/* Nobody is kept out any more when repair looks at what it has done: what is left then is another process's, and is cleaned up by the next open. */
static void used_meanwhile(void)
{
	victim_line line = { "repair" };
	struct __ptrace_syscall_info call;
	unsigned synced = 0;
	pid_t pid;

	if (!victim_begin())
		return;
	line[1] = begin("dynamic-1.map");
	put_number(line[1], &view.map.header->state, MA_STATE_IN_USE, 4);
	view_close(&view);
	pid = victim_start(line);
	do {
		g_assert_true(victim_next_call(pid, &call));
		synced += call.op == PTRACE_SYSCALL_INFO_ENTRY && call.entry.nr == SYS_msync;
	} while (synced < 2 || call.op != PTRACE_SYSCALL_INFO_ENTRY || call.entry.nr != SYS_openat);
	support_run_child(come_and_die, (void *)(uintptr_t)line[1]);
	g_assert_cmpint(victim_end(pid), ==, 0);
	victim_expect(0, "check", line[1]);
	g_assert_nonnull(strstr(victim_said, ": sound, not closed"));
	victim_expect(0, "repair", line[1]);
	victim_expect(0, "check", line[1]);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/steps/repair-static", repair_static);
	support_add("/tools/steps/repair-dynamic", repair_dynamic);
	support_add("/tools/steps/repair-mmalloc", repair_mmalloc);
	support_add("/tools/steps/repair-region", repair_region);
	support_add("/tools/steps/resize-longer", longer);
	support_add("/tools/steps/resize-shorter", shorter);
	support_add("/tools/steps/used-meanwhile", used_meanwhile);
	return support_run();
}
