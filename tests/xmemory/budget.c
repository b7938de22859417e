/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the budget comes from, one case for each rule, and what blocks do that no longer fit. */
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

static void explicit_limit(void)
{
	void *first, *second, *small;

	vm_begin(MIB);
	g_assert_cmpuint(xmemory_getlimit(), ==, MIB);
	g_assert_cmpint(figures().limit_source, ==, XMEMORY_LIMIT_SET);
	first = take(600 * KIB);
	g_assert_cmpint(xmemory_kind(first), ==, XMEMORY_RAM);
	second = take(600 * KIB);
	g_assert_cmpint(xmemory_kind(second), ==, XMEMORY_VMFILE);
	small = take(100 * KIB);
	g_assert_cmpint(xmemory_kind(small), ==, XMEMORY_RAM);
	give(first);
	first = take(600 * KIB);
	g_assert_cmpint(xmemory_kind(first), ==, XMEMORY_RAM);
	give(first);
	give(second);
	give(small);
	xmemory_setlimit(SIZE_MAX);
	g_assert_cmpuint(xmemory_getlimit(), ==, SIZE_MAX);
	xmemory_setlimit(0);
	g_assert_cmpint(figures().limit_source, !=, XMEMORY_LIMIT_SET);
}

/* Many small blocks come to exactly so many: each costs its bytes and 40. */
static void small_blocks_count(void)
{
	size_t fit = MIB / (100 + 40), count = 0;
	void *blocks[20000];

	vm_begin(MIB);
	do
		blocks[count] = take(100);
	while (xmemory_kind(blocks[count++]) == XMEMORY_RAM);
	g_assert_cmpuint(count - 1, ==, fit);
	while (count > 0)
		give(blocks[--count]);
	xmemory_setlimit(0);
}

static void back_to_ram(void)
{
	char *big, *block, *small;

	vm_begin(2 * MIB);
	big = take(3 * MIB / 2);
	block = take(MIB);
	fill(block, MIB, 5);
	small = NULL;
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_VMFILE);
	block = retake(block, MIB + 5000);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_VMFILE);
	check(block, MIB, 5);
	xmemory_setlimit(1);
	small = take(100);
	fill(small, 100, 6);
	g_assert_cmpint(xmemory_kind(small), ==, XMEMORY_VMFILE);
	give(big);
	xmemory_setlimit(2 * MIB);
	block = retake(block, MIB + 6000);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_RAM);
	check(block, MIB, 5);
	small = retake(small, 200);
	g_assert_cmpint(xmemory_kind(small), ==, XMEMORY_RAM);
	check(small, 100, 6);
	block = retake(block, 3 * MIB); /* And out again. */
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_VMFILE);
	check(block, MIB, 5);
	block = retake(block, 1000);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_RAM);
	check(block, 1000, 5);
	give(block);
	give(small);
	g_assert_cmpuint(figures().vm_bytes, ==, 0);
	xmemory_setlimit(0);
}

/* A block in RAM that grows is weighed without what it has already. */
static void growth_in_ram(void)
{
	char *block;

	vm_begin(MIB);
	block = take(700 * KIB);
	fill(block, 700 * KIB, 1);
	block = retake(block, 1000 * KIB);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_RAM);
	check(block, 700 * KIB - 1, 1);
	give(block);
	g_assert_cmpuint(figures().ram_bytes, ==, 0);
	xmemory_setlimit(0);
}

static void environment(const char *value, size_t limit, enum xmemory_limit_source source)
{
	if (!support_in_process_with("XMEMORY_LIMIT", value))
		return;
	if (limit)
		g_assert_cmpuint(xmemory_getlimit(), ==, limit);
	g_assert_cmpint(figures().limit_source, ==, source);
}

#define ENVIRONMENT(name, value, limit, source)                    \
	static void name(void)                                     \
	{                                                          \
		environment(value, limit, XMEMORY_LIMIT_##source); \
	}
ENVIRONMENT(env_plain, "123456", 123456, ENVIRONMENT)
ENVIRONMENT(env_kib, "12k", 12 * KIB, ENVIRONMENT)
ENVIRONMENT(env_mib, " 64MiB", 64 * MIB, ENVIRONMENT)
ENVIRONMENT(env_gib, "2G", 2 * GIB, ENVIRONMENT)
ENVIRONMENT(env_percent, "50%", 0, ENVIRONMENT)
ENVIRONMENT(env_huge, "99999999999T", SIZE_MAX, ENVIRONMENT)
ENVIRONMENT(env_garbage, "much", 0, AVAILABLE)
ENVIRONMENT(env_tail, "12Q", 0, AVAILABLE)
ENVIRONMENT(env_over, "101%", 0, AVAILABLE)

/* ---- a machine of our own: files under $XMEMORY__ROOT ---- */

static void machine_file(const char *root, const char *name, const char *text)
{
	char *path = g_strconcat(root, name, NULL), *dir = g_path_get_dirname(path);

	g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
	support_file_write(path, text, strlen(text));
	g_free(dir);
	g_free(path);
}

static void unmake_file(const char *root, const char *name)
{
	char *path = g_strconcat(root, name, NULL);

	g_assert_cmpint(unlink(path), ==, 0);
	g_free(path);
}

struct machine {
	const char *meminfo, *cgroup;
	const char *files[6];
	uint64_t limit;
	enum xmemory_limit_source source;
};

static int on_machine(void *arg)
{
	const struct machine *m = arg;
	const char *root = getenv("XMEMORY__ROOT");
	struct xmemory_stats s;

	g_mkdir(root, 0700);
	machine_file(root, "/proc/meminfo", m->meminfo);
	machine_file(root, "/proc/self/cgroup", m->cgroup);
	for (size_t i = 0; i < 6 && m->files[i]; i += 2)
		machine_file(root, m->files[i], m->files[i + 1]);
	xmemory_setlimit(0);
	s = figures();
	g_assert_cmpint(s.limit_source, ==, m->source);
	if (m->source == XMEMORY_LIMIT_AVAILABLE) {
		/* And what the process has itself. */
		g_assert_cmpuint(s.limit, >=, m->limit);
		g_assert_cmpuint(s.limit, <, m->limit + GIB);
	} else {
		g_assert_cmpuint(s.limit, ==, m->limit);
	}
	for (size_t i = 0; i < 6 && m->files[i]; i += 2)
		unmake_file(root, m->files[i]);
	return 0;
}

#define PLENTY "MemTotal: 900000000 kB\nMemAvailable: 800000000 kB\n"

static void machines(void)
{
	static const struct machine all[] = {
		{ PLENTY,
		  "0::/a/b\n",
		  { "/sys/fs/cgroup/a/b/memory.max", "104857600\n" },
		  78643200,
		  XMEMORY_LIMIT_CGROUP },
		{ PLENTY,
		  "0::/a/b\n",
		  { "/sys/fs/cgroup/a/b/memory.max", "max\n", "/sys/fs/cgroup/a/memory.max", "104857600\n" },
		  78643200,
		  XMEMORY_LIMIT_CGROUP },
		{ PLENTY, "0::/\n", { "/sys/fs/cgroup/memory.max", "4000\n" }, 3000, XMEMORY_LIMIT_CGROUP },
		{ PLENTY,
		  "5:cpu,memory:/x\n3:freezer:/y\n0::/\n",
		  { "/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "8000\n",
		    "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n" },
		  6000,
		  XMEMORY_LIMIT_CGROUP },
		{ PLENTY,
		  "5:memory:/\n",
		  { "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n" },
		  (uint64_t)600000000 * 1024,
		  XMEMORY_LIMIT_AVAILABLE },
		{ "MemTotal: 900000 kB\nMemAvailable: 100000 kB\n",
		  "",
		  { NULL },
		  75000 * 1024,
		  XMEMORY_LIMIT_AVAILABLE },
		{ "MemTotal: 900000 kB\nMemAvailable: 100000 kB\n",
		  "0::/a\n",
		  { "/sys/fs/cgroup/a/memory.max", "max\n" },
		  75000 * 1024,
		  XMEMORY_LIMIT_AVAILABLE },
		{ "", "nonsense\n:\n", { NULL }, UINT64_MAX, XMEMORY_LIMIT_NONE },
	};

	g_unsetenv("XMEMORY_LIMIT");
	if (!support_in_process_with("XMEMORY__ROOT", support_path("machine")))
		return;
	for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
		support_run_child(on_machine, (void *)(uintptr_t)&all[i]);
}

/* It is looked at anew, though not at once. */
static int changing_machine(void *arg)
{
	const char *root = getenv("XMEMORY__ROOT");
	void *block;

	(void)arg;
	g_mkdir(root, 0700);
	machine_file(root, "/proc/meminfo", PLENTY);
	machine_file(root, "/proc/self/cgroup", "0::/a\n");
	machine_file(root, "/sys/fs/cgroup/a/memory.max", "1000000");
	vm_begin(0);
	block = take(2000000);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_VMFILE);
	give(block);
	machine_file(root, "/sys/fs/cgroup/a/memory.max", "8000000");
	support_sleep_us(150000);
	block = take(2000000);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_RAM);
	give(block);
	return 0;
}

static void changes(void)
{
	if (support_in_process_with("XMEMORY__ROOT", support_path("changing")))
		support_run_child(changing_machine, NULL);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/budget/set", explicit_limit);
	support_add("/xmemory/budget/small", small_blocks_count);
	support_add("/xmemory/budget/back-to-ram", back_to_ram);
	support_add("/xmemory/budget/growth", growth_in_ram);
	support_add("/xmemory/budget/env/plain", env_plain);
	support_add("/xmemory/budget/env/kib", env_kib);
	support_add("/xmemory/budget/env/mib", env_mib);
	support_add("/xmemory/budget/env/gib", env_gib);
	support_add("/xmemory/budget/env/percent", env_percent);
	support_add("/xmemory/budget/env/huge", env_huge);
	support_add("/xmemory/budget/env/garbage", env_garbage);
	support_add("/xmemory/budget/env/tail", env_tail);
	support_add("/xmemory/budget/env/over", env_over);
	support_add("/xmemory/budget/machines", machines);
	support_add("/xmemory/budget/changes", changes);
	return support_run();
}
