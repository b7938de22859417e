/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reading commands on maps of all kinds: new, full, in use, and after kills; against what the libraries say of the same map. And
 * repair, of what kills left.
 */
#include <signal.h>
#include <sys/stat.h>

#include "tests/tools/heaps.h"

#define SHOWN 3000

static const char *const readers[][3] = {
	{ "info" },
	{ "info", "--json" },
	{ "check" },
	{ "check", "--json" },
	{ "list" },
	{ "list", "--json" },
	{ "stat" },
	{ "stat", "--json" },
	{ "stat", "--prometheus" },
	{ "leaks" },
	{ "leaks", "--json" },
	{ "plot" },
	{ "plot", "--layout=rows" },
	{ "plot", "--watch", "--count=1" },
	{ "dump" },
};

struct state {
	char *bytes;
	size_t size;
	struct stat st;
};

static void look(const char *path, struct state *state)
{
	state->bytes = support_file_read(path, &state->size);
	g_assert_cmpint(stat(path, &state->st), ==, 0);
}

/* Not a byte, and neither time: the commands open it without touching its access time, as its owner may. */
static void assert_untouched(const char *path, const struct state *before)
{
	struct state after;

	g_assert_cmpint(stat(path, &after.st), ==, 0);
	g_assert_cmpint(after.st.st_mtim.tv_sec, ==, before->st.st_mtim.tv_sec);
	g_assert_cmpint(after.st.st_mtim.tv_nsec, ==, before->st.st_mtim.tv_nsec);
	g_assert_cmpint(after.st.st_blocks, ==, before->st.st_blocks);
	look(path, &after);
	g_assert_true(after.size == before->size && memcmp(after.bytes, before->bytes, after.size) == 0);
	g_free(after.bytes);
}

/* Each command that only looks; it ends with one of these statuses. */
static void read_all(const char *path, int least, int most)
{
	for (size_t i = 0; i < G_N_ELEMENTS(readers); i++) {
		int status = run(readers[i][0], path, readers[i][1], readers[i][1] ? readers[i][2] : NULL, NULL);

		if (g_str_equal(readers[i][0], "leaks") && status == 1)
			continue;
		if (status != 0 && (status < least || status > most))
			g_error("%s %s: status %d: %s", readers[i][0], path, status, run_err);
	}
}

/* ---- new, full ---- */

struct seen {
	unsigned blocks;
	size_t bytes;
};

/* Each block that the library has is in the list, and no other. */
static int in_list(uint64_t offset, size_t size, void *arg)
{
	struct seen *seen = arg;
	char *wanted;

	seen->bytes += size;
	if (seen->blocks++ >= SHOWN)
		return 0;
	wanted = g_strdup_printf("\"offset\": %" G_GUINT64_FORMAT ", \"address\": ", offset);
	assert_said(wanted);
	g_free(wanted);
	return 0;
}

static unsigned listed(void)
{
	unsigned count = 0;

	for (const char *at = run_out; (at = strstr(at, "\"reached\": ")) != NULL; at++)
		count++;
	return count;
}

static void agrees(const struct heap *heap, void *map, const char *path, unsigned blocks)
{
	struct seen seen = { 0 };

	assert_status(0, "list", "--json", path);
	heap->walk(map, in_list, &seen);
	g_assert_cmpuint(listed(), ==, blocks);
	g_assert_cmpuint(seen.blocks, ==, blocks);
	assert_status(0, "stat", "--json", path);
	g_assert_cmpuint(run_number("used_blocks"), ==, blocks);
	g_assert_cmpuint(run_number("used_bytes"), ==, seen.bytes);
	assert_status(0, "leaks", "--json", path);
	g_assert_cmpuint(run_number("leaked_blocks"), ==, 0);
	g_assert_cmpuint(run_number("blocks"), ==, blocks);
}

static void filled(unsigned most)
{
	for (int i = 0; i < HEAPS; i++) {
		const struct heap *heap = &heaps[i];
		const char *path = support_path(heap->kind);
		void *map = heap->open(path);
		struct state state;
		unsigned blocks;

		g_assert_nonnull(map);
		blocks = heap_fill(heap, map, most);
		agrees(heap, map, path, blocks);
		heap->close(map);
		look(path, &state);
		assert_status(0, "check", path);
		assert_said(": sound");
		assert_status(0, "info", path);
		assert_said(heap->kind);
		assert_said(heap->is_locked ? "closed" : "not mapped");
		read_all(path, 0, 0);
		assert_untouched(path, &state);
		g_free(state.bytes);
		unlink(path);
	}
}

static void fresh(void)
{
	filled(0);
}

static void some(void)
{
	filled(200);
}

static void full(void)
{
	support_watchdog(60);
	filled(1000000);
}

/* ---- in use ---- */

struct user {
	const struct heap *heap;
	const char *path;
	_Atomic unsigned *rounds;
};

static int use(void *arg)
{
	struct user *user = arg;

	return heap_load(user->heap, user->path, user->rounds);
}

static void start(struct user *user, pid_t *pid, unsigned users)
{
	*user->rounds = 0;
	for (unsigned k = 0; k < users; k++)
		pid[k] = support_fork(use, user);
	while (*user->rounds < 2000)
		support_sleep_us(1000);
}

static void goes_on(const struct user *user)
{
	unsigned before = *user->rounds;

	while (*user->rounds < before + 1000)
		support_sleep_us(1000);
}

/* Perhaps it has only just begun: the watchdog has the last word. */
static void await_alive(const char *path, pid_t pid)
{
	char *wanted = g_strdup_printf("\"pid\": %d, \"alive\": true", (int)pid);

	while (!strstr(run_out, wanted))
		if (run("info", "--json", path, NULL) > 1)
			g_error("info: %s", run_err);
	g_free(wanted);
}

/* Nobody is kept from his work, nothing that is in motion is taken for damage, and nothing is changed by those who may not. */
static void live(void)
{
	struct user user = { .rounds = support_shared(sizeof(unsigned)) };
	const char *copy = support_path("copy");
	pid_t pid[3];

	support_watchdog(120);
	for (int i = 0; i < HEAPS; i++) {
		user.heap = &heaps[i];
		user.path = support_path(heaps[i].kind);
		start(&user, pid, 3);
		assert_status(0, "info", "--json", user.path);
		for (int k = 0; k < 3; k++)
			await_alive(user.path, pid[k]);
		assert_said("\"state\": \"in use\"");
		for (size_t k = 0; k < support_scale(3); k++) {
			assert_status(0, "check", user.path);
			read_all(user.path, 0, 0);
			goes_on(&user);
		}
		assert_status(5, "repair", user.path);
		assert_complained("in use");
		assert_status(0, "reap", support_dir());
		g_assert_null(strstr(run_out, heaps[i].kind));
		assert_status(0, "snapshot", user.path, copy);
		assert_status(0, "check", copy);
		g_assert_null(strstr(run_out, "state/in-use"));
		goes_on(&user);
		for (int k = 0; k < 3; k++)
			support_kill(pid[k]);
		unlink(copy);
		unlink(user.path);
	}
}

/* ---- after kills ---- */

static char *blocks_of(const char *path)
{
	assert_status(0, "list", path);
	return g_strdup(run_out);
}

static void mend(const struct heap *heap, const char *path)
{
	const char *backup = support_path("backup");
	char *before = blocks_of(path), *after;
	struct state state, saved;

	look(path, &state);
	assert_status(0, "repair", "--backup", backup, path);
	assert_said(heap->is_locked ? "repaired: sound" : "sound");
	if (heap->is_locked) {
		look(backup, &saved);
		g_assert_true(saved.size == state.size && memcmp(saved.bytes, state.bytes, state.size) == 0);
		g_free(saved.bytes);
	}
	assert_status(0, "check", path);
	after = blocks_of(path);
	g_assert_cmpstr(after, ==, before);
	assert_status(0, "repair", path);
	assert_said("nothing to repair");
	unlink(backup);
	g_free(before);
	g_free(after);
	g_free(state.bytes);
}

struct first {
	uint64_t offset;
	size_t size;
};

static int take_first(uint64_t offset, size_t size, void *arg)
{
	struct first *first = arg;

	*first = (struct first){ offset, size };
	return 1;
}

/* It may be full: then one block less makes room for one of its size. */
static void still_usable(const struct heap *heap, const char *path)
{
	void *map = heap->open(path);
	struct first first = { 0, 0 };
	uint64_t block;

	g_assert_nonnull(map);
	heap->walk(map, take_first, &first);
	g_assert_cmpuint(first.offset, !=, 0);
	heap->free(map, first.offset - heap->offset(map, 0));
	block = heap->malloc(map, first.size);
	g_assert_cmpuint(block, !=, 0);
	heap->free(map, block);
	g_assert_cmpint(heap->close(map), ==, 0);
}

static void killed(void)
{
	struct user user = { .rounds = support_shared(sizeof(unsigned)) };
	struct support_rand r;
	struct state state;
	pid_t pid[3];

	support_watchdog(120);
	support_rand_seed(&r, 4);
	for (size_t round = 0; round < support_scale(2) * HEAPS; round++) {
		user.heap = &heaps[round % HEAPS];
		user.path = support_path(user.heap->kind);
		start(&user, pid, 3);
		for (int k = 0; k < 3; k++)
			support_kill_after_us(pid[k], (unsigned)support_rand_below(&r, 300));
		look(user.path, &state);
		if (user.heap->is_locked) {
			assert_status(0, "check", user.path);
			assert_said("state/lease");
			assert_said(": sound, not closed: the next open cleans up");
		}
		read_all(user.path, 0, 0);
		assert_untouched(user.path, &state);
		mend(user.heap, user.path);
		still_usable(user.heap, user.path);
		g_free(state.bytes);
		unlink(user.path);
	}
}

/* One is killed, the other goes on: that is said, and not mended from outside. */
static void one_of_many(void)
{
	struct user user[2] = { { .rounds = support_shared(sizeof(unsigned)) },
				{ .rounds = support_shared(sizeof(unsigned)) } };
	pid_t pid[2];

	for (int i = 0; i < HEAPS; i++) {
		user[0].heap = user[1].heap = &heaps[i];
		user[0].path = user[1].path = support_path(heaps[i].kind);
		start(&user[0], &pid[0], 1);
		start(&user[1], &pid[1], 1);
		kill(pid[1], SIGSTOP); /* Nobody mends before we have looked. */
		support_kill(pid[0]);
		if (heaps[i].is_locked) {
			assert_status(0, "check", user[1].path);
			assert_said("sound, not closed: the processes that use it clean up");
			assert_status(0, "info", "--json", user[1].path);
			assert_said("\"alive\": false");
			await_alive(user[1].path, pid[1]);
		}
		/* One thing: why not. */
		assert_status(5, "repair", user[1].path);
		g_assert_cmpstr(run_out, ==, "");
		assert_complained("not repaired: ");
		g_assert_cmpint(strchr(run_err, '\n')[1], ==, '\0');
		kill(pid[1], SIGCONT);
		goes_on(&user[1]);
		support_kill(pid[1]);
		unlink(user[1].path);
	}
}

/* doc/format.md: the kernel's boot id, not a number that is made of it. */
static void boot_id(void)
{
	char *text = NULL;
	uint8_t id[16] = { 0 };
	size_t digits = 0;

	if (!g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL)) {
		g_test_skip("no /proc here");
		return;
	}
	for (const char *at = text; *at; at++)
		if (g_ascii_isxdigit(*at)) {
			id[digits / 2] = (uint8_t)((unsigned)id[digits / 2] << 4 | (unsigned)g_ascii_xdigit_value(*at));
			digits++;
		}
	g_assert_cmpuint(digits, ==, 32);
	for (int i = 0; i < HEAPS; i++) {
		const char *path = support_path(heaps[i].kind);
		char *bytes;

		g_assert_cmpint(heaps[i].close(heaps[i].open(path)), ==, 0);
		g_assert_true(g_file_get_contents(path, &bytes, NULL, NULL));
		g_assert_cmpint(memcmp(bytes + 216, id, 16), ==, 0);
		g_free(bytes);
		unlink(path);
	}
	g_free(text);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/kinds/fresh", fresh);
	support_add("/tools/kinds/some", some);
	support_add("/tools/kinds/full", full);
	support_add("/tools/kinds/live", live);
	support_add("/tools/kinds/killed", killed);
	support_add("/tools/kinds/one-of-many", one_of_many);
	support_add("/tools/kinds/boot-id", boot_id);
	return support_run();
}
