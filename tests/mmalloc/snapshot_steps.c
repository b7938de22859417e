/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who takes a snapshot may die at any instruction: its name leads to nothing, to what it led to before, or to a whole copy. A
 * process is killed on its way into and out of each call of the kernel.
 */
#include <dirent.h>
#include <string.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_mmalloc.h"

#define BLOCKS 200

struct scene {
	const char *path, *copy;
	char *block[BLOCKS];
	_Atomic int phase;
};

static void *attach_small(const char *path)
{
	struct mmalloc_options options = { .reserve = 4 * MIB };
	int fd = heap_file(path);
	void *md = mmalloc_attach_opt(fd, NULL, &options);

	g_assert_nonnull(md);
	close(fd);
	return md;
}

static int take_snapshot(void *arg)
{
	struct scene *s = arg;
	void *md = attach_small(s->path);

	support_kernel_from();
	g_assert_cmpint(mmalloc_snapshot(md, s->copy), ==, 0);
	support_kernel_to();
	heap_detach(md);
	return 0;
}

static int look_at_copy(void *arg)
{
	struct scene *s = arg;
	void *md = attach_small(s->copy);

	heap_check(md);
	for (size_t i = 0; i < BLOCKS; i++) {
		g_assert_cmpint(s->block[i][i], ==, (char)i);
		mfree(md, s->block[i]);
	}
	g_assert_cmpuint(mmstats(md).chunks_used, ==, 0);
	g_assert_null(mmalloc_detach(md));
	return 0;
}

static size_t leftovers(void)
{
	DIR *dir = opendir(support_dir());
	struct dirent *entry;
	size_t count = 0;

	g_assert_nonnull(dir);
	while ((entry = readdir(dir)))
		if (g_str_has_prefix(entry->d_name, ".snapshot-")) {
			unlinkat(dirfd(dir), entry->d_name, 0);
			count++;
		}
	closedir(dir);
	return count;
}

static void kill_at_each(struct scene *s, bool replaces)
{
	size_t k = 1, left = 0, whole = 0;

	for (bool killed = true; killed; k++) {
		if (replaces)
			support_file_copy(s->path, s->copy);
		else
			unlink(s->copy);
		killed = support_kill_in_kernel(take_snapshot, s, k);
		left += leftovers();
		if (access(s->copy, F_OK) == 0) {
			support_run_child(look_at_copy, s);
			whole++;
		}
		heap_detach(attach_small(s->path)); /* With a check of all of it. */
	}
	g_test_message("killed at %zu places: %zu times a copy, %zu times a file under another name", k - 2, whole,
		       left);
	g_assert_cmpuint(k, >, 50);
	g_assert_cmpuint(whole, <, replaces ? k : k / 4);
	if (support_nameless_files())
		g_assert_cmpuint(left, <=, replaces ? 3 : 0);
}

/*
 * Between two calls of the kernel a process changes memory alone, and this one none that others see: so that is every
 * instruction.
 */
static void at_each_instruction(void)
{
	struct scene *s = support_shared(sizeof(*s));
	void *md;

	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("the calls of the kernel would be the tool's");
		return;
	}
	s->path = support_path("heap");
	s->copy = support_path("copy");
	md = attach_small(s->path);
	for (size_t i = 0; i < BLOCKS; i++) {
		g_assert_nonnull(s->block[i] = mmalloc(md, 1 + i * 3));
		memset(s->block[i], (int)i, 1 + i * 3);
	}
	heap_detach(md);
	kill_at_each(s, false);
	kill_at_each(s, true);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/snapshot-steps/killed", at_each_instruction);
	return support_run();
}
