/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A salvage takes back "closed and synced" only after it has been tried: where it cannot be tried, the file keeps every byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <mmalloc.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/header.h"
#include "tests/support/support_fault.h"
#include "tests/support/support_qalloc.h"

#define MAP_BYTES (16 * MIB)

static void say_synced(const char *path)
{
	uint32_t state = MA_STATE_SYNCED;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	g_assert_cmpint(pwrite(fd, &state, sizeof(state), offsetof(struct ma_header, state)), ==, sizeof(state));
	close(fd);
}

static uint32_t says(const char *path)
{
	uint32_t state = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	g_assert_cmpint(pread(fd, &state, sizeof(state), offsetof(struct ma_header, state)), ==, sizeof(state));
	close(fd);
	return state;
}

/* What is private counts as data, and what is shared does not: a view of MAP_BYTES is too much. */
static void leave_no_memory(void)
{
	struct rlimit some = { 0, RLIM_INFINITY };
	unsigned long pages[6] = { 0 };
	FILE *statm = fopen("/proc/self/statm", "r");

	for (unsigned i = 0; i < 6; i++)
		g_assert_cmpint(fscanf(statm, "%lu", &pages[i]), ==, 1);
	fclose(statm);
	some.rlim_cur = pages[5] * (rlim_t)sysconf(_SC_PAGESIZE) + MAP_BYTES / 2;
	g_assert_cmpint(setrlimit(RLIMIT_DATA, &some), ==, 0);
}

static void have_memory(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	g_assert_cmpint(setrlimit(RLIMIT_DATA, &all), ==, 0);
}

static void *salvage_qalloc(const char *path)
{
	return qalloc_salvage(path, NULL, NULL);
}

static void *salvage_mmalloc(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *md = mmalloc_salvage(fd, NULL, NULL);
	int error = errno;

	close(fd);
	errno = error;
	return md;
}

static void keeps_every_byte(const char *path, void *(*salvage)(const char *path))
{
	size_t before_bytes, after_bytes;
	char *before, *after;

	say_synced(path);
	before = support_file_read(path, &before_bytes);
	leave_no_memory();
	g_assert_null(salvage(path));
	g_assert_cmpint(errno, ==, ENOMEM);
	have_memory();
	after = support_file_read(path, &after_bytes);
	g_assert_cmpuint(after_bytes, ==, before_bytes);
	g_assert_cmpint(memcmp(before, after, before_bytes), ==, 0);
	g_free(before);
	g_free(after);
	g_assert_nonnull(salvage(path));
	g_assert_cmpuint(says(path), ==, MA_STATE_IN_USE);
}

static int without_memory(void *arg)
{
	const char *path = support_path("map");
	int fd;
	void *md;

	(void)arg;
	support_close(support_dyn(path, MAP_BYTES, 1));
	keeps_every_byte(path, salvage_qalloc);
	path = support_path("heap");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	md = mmalloc_attach(fd, NULL);
	g_assert_nonnull(mmalloc(md, 100));
	g_assert_null(mmalloc_detach(md));
	close(fd);
	keeps_every_byte(path, salvage_mmalloc);
	return 0;
}

SUPPORT_FAULT_CASE(without_memory)

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/salvage-order/no-memory", without_memory_in_child);
	return support_run();
}
