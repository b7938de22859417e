/* SPDX-License-Identifier: BSD-3-Clause */
/* See disk.h. The linker sends the library's system calls here (power_wraps in tests/Makemodule.am). */
#include "tests/power/disk.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define SECTOR 512

ssize_t __real_pwrite(int fd, const void *bytes, size_t count, off_t at);
int __real_ftruncate(int fd, off_t length);
int __real_fallocate(int fd, int mode, off_t at, off_t bytes);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t count, off_t at);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_ftruncate(int fd, off_t length);
int __wrap_fallocate(int fd, int mode, off_t at, off_t bytes);

enum kind { WRITE, SYNC, LENGTH, LOST };

struct step {
	enum kind kind;
	uint64_t at; /* LENGTH: the length. */
	GBytes *bytes;
};

static struct {
	dev_t device;
	ino_t inode;
	char *path;
	GByteArray *begin;
	GArray *steps;
	int fail_sync;
	uint64_t limit;
} disk;

static gboolean is_watched(int fd)
{
	struct stat st;

	if (!disk.path)
		return FALSE;
	if (!disk.inode && stat(disk.path, &st) == 0) {
		disk.device = st.st_dev;
		disk.inode = st.st_ino;
	}
	return fstat(fd, &st) == 0 && st.st_dev == disk.device && st.st_ino == disk.inode;
}

static void note(enum kind kind, uint64_t at, const void *bytes, size_t count)
{
	struct step step = { kind, at, g_bytes_new(bytes, count) };

	g_array_append_val(disk.steps, step);
}

/* ---- the calls ---- */

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t count, off_t at)
{
	ssize_t done;

	if (!is_watched(fd))
		return __real_pwrite(fd, bytes, count, at);
	if (disk.limit && (uint64_t)at + count > disk.limit) {
		errno = ENOSPC;
		return -1;
	}
	done = __real_pwrite(fd, bytes, count, at);
	if (done > 0)
		note(WRITE, (uint64_t)at, bytes, (size_t)done);
	return done;
}

/* A failed sync: what was written since the last one counts as clean from then on, and is lost. */
static int sync_watched(int fd)
{
	int err = disk.fail_sync;

	if (!is_watched(fd))
		return 0; /* No machine dies here. */
	note(err ? LOST : SYNC, 0, NULL, 0);
	disk.fail_sync = 0;
	errno = err;
	return err ? -1 : 0;
}

int __wrap_fdatasync(int fd)
{
	return sync_watched(fd);
}

int __wrap_fsync(int fd)
{
	return sync_watched(fd);
}

int __wrap_ftruncate(int fd, off_t length)
{
	if (is_watched(fd))
		note(LENGTH, (uint64_t)length, NULL, 0);
	return __real_ftruncate(fd, length);
}

int __wrap_fallocate(int fd, int mode, off_t at, off_t bytes)
{
	g_assert_false(is_watched(fd) && (mode & FALLOC_FL_PUNCH_HOLE)); /* Not noted. */
	return __real_fallocate(fd, mode, at, bytes);
}

/* ---- the disks ---- */

static void clear_step(void *step)
{
	g_bytes_unref(((struct step *)step)->bytes);
}

void disk_watch(const char *path)
{
	char *bytes = NULL;
	gsize length = 0;

	if (disk.steps) {
		g_array_unref(disk.steps);
		g_byte_array_unref(disk.begin);
		g_free(disk.path);
	}
	disk.inode = 0;
	disk.path = g_strdup(path);
	disk.steps = g_array_new(FALSE, FALSE, sizeof(struct step));
	g_array_set_clear_func(disk.steps, clear_step);
	g_file_get_contents(path, &bytes, &length, NULL);
	disk.begin = g_byte_array_new_take((guint8 *)bytes, length);
	disk.limit = 0;
	disk.fail_sync = 0;
}

size_t disk_steps(void)
{
	return disk.steps->len;
}

void disk_fail_sync(int err)
{
	disk.fail_sync = err;
}

void disk_limit(uint64_t bytes)
{
	disk.limit = bytes;
}

static const struct step *step_at(size_t i)
{
	return &g_array_index(disk.steps, struct step, i);
}

/* The first operation that may be missing. */
static size_t synced_before(size_t steps)
{
	while (steps > 0 && step_at(steps - 1)->kind != SYNC)
		steps--;
	return steps;
}

gboolean disk_is_open(size_t steps)
{
	return synced_before(steps) < steps;
}

static void set_length(GByteArray *file, uint64_t length)
{
	guint had = file->len;

	g_byte_array_set_size(file, (guint)length);
	if (length > had)
		memset(file->data + had, 0, length - had);
}

static void apply(GByteArray *file, const struct step *step, struct support_rand *choose)
{
	gsize count = 0;
	const char *bytes = g_bytes_get_data(step->bytes, &count);

	if (step->kind == LENGTH && (!choose || support_rand_below(choose, 2)))
		set_length(file, step->at);
	if (step->kind != WRITE)
		return;
	for (gsize done = 0, part; done < count; done += part) {
		uint64_t at = step->at + done;

		part = MIN(count - done, SECTOR - at % SECTOR);
		if (choose && support_rand_below(choose, 2))
			continue;
		if (file->len < at + part)
			set_length(file, at + part);
		memcpy(file->data + at, bytes + done, part);
	}
}

/* What a failed sync lost never comes to the disk, though a later sync succeeds. */
static gboolean is_lost(size_t i, size_t steps)
{
	while (i < steps && step_at(i)->kind != SYNC && step_at(i)->kind != LOST)
		i++;
	return i < steps && step_at(i)->kind == LOST;
}

static void write_file(const char *path, const GByteArray *file)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(__real_pwrite(fd, file->data, file->len, 0), ==, file->len);
	g_assert_cmpint(__real_ftruncate(fd, file->len), ==, 0);
	close(fd);
}

void disk_after(size_t steps, uint64_t which, const char *path)
{
	GByteArray *file = g_byte_array_new();
	size_t synced = synced_before(steps);
	struct support_rand choose;

	support_rand_seed(&choose, which);
	g_byte_array_append(file, disk.begin->data, disk.begin->len);
	for (size_t i = 0; i < steps; i++) {
		gboolean is_sure = i < synced && !is_lost(i, steps);

		if (is_sure || which > 0)
			apply(file, step_at(i), is_sure || which == 1 ? NULL : &choose);
	}
	write_file(path, file);
	g_byte_array_unref(file);
}

void disk_report(size_t steps, size_t stride, size_t disks)
{
	g_print("# power: %-32s %8zu %8zu %8zu 0\n", g_test_get_path(), steps, steps / stride + 1, disks);
}
