/* SPDX-License-Identifier: BSD-3-Clause */
/* Real limits: RLIMIT_DATA, RLIMIT_AS, and a control group where one can be made. Rules of the budget are in budget.c. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_xmemory.h"

/* ---- the process's limits ---- */

static uint64_t statm(unsigned field)
{
	char *text = proc_text("/proc/self/statm"), *at = text;
	uint64_t pages = 0;

	for (unsigned i = 0; i <= field; i++)
		pages = g_ascii_strtoull(at, &at, 10);
	g_free(text);
	return pages * 4096;
}

static void set_limit(__rlimit_resource_t resource, uint64_t bytes)
{
	struct rlimit limit = { .rlim_cur = bytes, .rlim_max = RLIM_INFINITY };

	g_assert_cmpint(setrlimit(resource, &limit), ==, 0);
}

/* Three times the limit: the first blocks are in RAM, the others go to the disk, and all work. */
static void take_three_times(uint64_t bytes, enum xmemory_limit_source source)
{
	unsigned ram = 0, vm = 0;
	void *blocks[24];

	g_assert_cmpint(figures().limit_source, ==, source);
	for (size_t i = 0; i < 24; i++) {
		blocks[i] = take(bytes / 8);
		g_assert_nonnull(blocks[i]);
		fill(blocks[i], bytes / 8, (unsigned)i);
		ram += xmemory_kind(blocks[i]) == XMEMORY_RAM;
		vm += xmemory_kind(blocks[i]) == XMEMORY_VMFILE;
	}
	g_assert_cmpuint(ram, >=, 4);
	g_assert_cmpuint(ram, <=, 8);
	g_assert_cmpuint(ram + vm, ==, 24);
	for (size_t i = 0; i < 24; i++) {
		check(blocks[i], bytes / 8, (unsigned)i);
		give(blocks[i]);
	}
}

static int under_data_limit(void *arg)
{
	(void)arg;
	give(take(1)); /* What that needs is there before the limit is. */
	set_limit(RLIMIT_DATA, statm(5) + 64 * MIB);
	vm_begin(0);
	take_three_times(64 * MIB, XMEMORY_LIMIT_DATA);
	return 0;
}

static void data_limit(void)
{
	if (support_asan() || support_tsan() || support_valgrind())
		g_test_skip("the tool's own memory counts too");
	else
		support_run_child(under_data_limit, NULL);
}

/* ---- a control group of our own, where this machine lets us make one ---- */

#define GROUP_BYTES (64 * MIB)

struct group {
	char path[4096];
	int version;
};

static bool write_group(const struct group *g, const char *file, uint64_t number)
{
	char *name = g_strconcat(g->path, "/", file, NULL), text[32];
	int fd = open(name, O_WRONLY | O_CLOEXEC), length = g_snprintf(text, sizeof(text), "%" PRIu64, number);
	bool done = fd >= 0 && write(fd, text, (size_t)length) == length;

	if (fd >= 0)
		close(fd);
	g_free(name);
	return done;
}

/* Below the group at. In version 2 a group with processes has no groups with limits, but those above it have. */
static bool make_group(struct group *g, int version, const char *at)
{
	g->version = version;
	g_snprintf(g->path, sizeof(g->path), "/sys/fs/cgroup%s%s/mapalloc-test-%d", version == 1 ? "/memory" : "",
		   strcmp(at, "/") == 0 ? "" : at, (int)getpid());
	if (mkdir(g->path, 0755) < 0)
		return false;
	if (write_group(g, version == 1 ? "memory.limit_in_bytes" : "memory.max", GROUP_BYTES))
		return true;
	rmdir(g->path);
	return false;
}

static bool make_group_beside(struct group *g, const char *line)
{
	char **parts = g_strsplit(line, ":", 3), *at;
	int version = 0;

	if (g_strv_length(parts) == 3)
		version = !*parts[1] ? 2 : strstr(parts[1], "memory") ? 1 : 0;
	at = version ? g_strdup(parts[2]) : g_strdup("/");
	while (version && !make_group(g, version, at)) {
		char *above = g_path_get_dirname(at);

		if (strcmp(at, "/") == 0)
			version = 0;
		g_free(at);
		at = above;
	}
	g_free(at);
	g_strfreev(parts);
	return version != 0;
}

static bool own_group(struct group *g)
{
	char *text = proc_text("/proc/self/cgroup"), **lines = g_strsplit(text, "\n", -1);
	bool made = false;

	for (size_t i = 0; lines[i] && !made; i++)
		made = make_group_beside(g, lines[i]);
	g_strfreev(lines);
	g_free(text);
	return made;
}

/* Who takes more than the group has is killed: three times as much in blocks says that it was the disk's. */
static int in_group(void *arg)
{
	struct group *g = arg;
	struct statfs fs;

	if (!write_group(g, "cgroup.procs", (uint64_t)getpid()))
		return SUPPORT_CANNOT;
	vm_begin(0);
	g_assert_cmpint(figures().limit_source, ==, XMEMORY_LIMIT_CGROUP);
	g_assert_cmpuint(xmemory_getlimit(), ==, GROUP_BYTES / 4 * 3);
	g_assert_cmpint(statfs(support_dir(), &fs), ==, 0);
	if (fs.f_type == TMPFS_MAGIC) /* Its files are memory of the group's too. */
		return 0;
	take_three_times(GROUP_BYTES, XMEMORY_LIMIT_CGROUP);
	return 0;
}

static void real_group(void)
{
	struct group g;
	int status;

	if (support_asan() || support_tsan() || support_valgrind()) {
		g_test_skip("the tool's own memory counts too");
		return;
	}
	if (!own_group(&g)) {
		g_test_skip(
			"no control group with a limit can be made here: only /xmemory/budget/machines, made-up ones");
		return;
	}
	status = support_wait(support_fork(in_group, &g));
	for (int i = 0; i < 100 && rmdir(g.path) < 0 && errno == EBUSY; i++)
		support_sleep_us(10000);
	g_assert_cmpint(access(g.path, F_OK), ==, -1);
	g_test_message("a group of version %d: %s", g.version, g.path);
	g_assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SUPPORT_CANNOT)
		g_test_skip("no process can be moved to a control group here: only /xmemory/budget/machines");
	else
		g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

/* VM files take address space as well: so here the last of the blocks are refused, with ENOMEM. */
static int under_address_limit(void *arg)
{
	void *blocks[64];
	size_t count = 0;

	(void)arg;
	give(take(1));
	set_limit(RLIMIT_AS, statm(0) + 256 * MIB);
	vm_begin(0);
	g_assert_cmpint(figures().limit_source, ==, XMEMORY_LIMIT_AS);
	errno = 0;
	while (count < 64 && (blocks[count] = take(8 * MIB)) != NULL)
		count++;
	g_assert_cmpint(errno, ==, ENOMEM);
	g_assert_cmpuint(count, >=, 16);
	while (count > 0)
		give(blocks[--count]);
	return 0;
}

static void address_limit(void)
{
	if (support_asan() || support_tsan() || support_valgrind())
		g_test_skip("the tool's own address space counts too");
	else
		support_run_child(under_address_limit, NULL);
}

/* No limit that we know of, and malloc says no: RLIMIT_DATA came after we looked, and we were told not to. */
static int malloc_refuses(void *arg)
{
	void *block;

	(void)arg;
	vm_begin(SIZE_MAX);
	give(take(1));
	set_limit(RLIMIT_DATA, statm(5) + 8 * MIB);
	block = take(64 * MIB);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_VMFILE);
	block = retake(block, 65 * MIB);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_VMFILE);
	give(block);
	g_assert_cmpuint(figures().pointers, ==, 0);
	g_assert_cmpuint(figures().bytes, ==, 0);
	return 0;
}

static void refused(void)
{
	if (support_asan() || support_tsan() || support_valgrind())
		g_test_skip("the tool's own memory counts too");
	else
		support_run_child(malloc_refuses, NULL);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	/* The shared VM file has its address space from when it is first needed: so this comes before it is. */
	support_add("/xmemory/budget/rlimit-as", address_limit);
	support_add("/xmemory/budget/rlimit-data", data_limit);
	support_add("/xmemory/budget/group", real_group);
	support_add("/xmemory/budget/refused", refused);
	return support_run();
}
