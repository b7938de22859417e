/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A directory for the maps of one test program, and whole-file reads, writes and copies.
 *
 * It lies where the build lies, because maps want a real file system: not in /tmp, which may be memory.
 * The first process that asks makes it; children forked later share it, and only the program itself removes it.
 */
#include "tests/support/support.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/support/support_dir.h"

static char dir[4096];
static GPtrArray *paths;
static unsigned path_count;

const char *support_dir(void)
{
	const char *given = getenv("MA_TEST_DIR");
	char cwd[2048];

	if (dir[0])
		return dir;
	if (!given) {
		given = getcwd(cwd, sizeof(cwd));
		g_assert_nonnull(given);
	}
	g_snprintf(dir, sizeof(dir), "%s/maps-XXXXXX", given);
	g_assert_nonnull(mkdtemp(dir));
	return dir;
}

const char *support_path(const char *name)
{
	char *path = g_strdup_printf("%s/%d-%u-%s", support_dir(), (int)getpid(), path_count++, name);

	if (!paths)
		paths = g_ptr_array_new_with_free_func(g_free);
	g_ptr_array_add(paths, path);
	return path;
}

void support__dir_forget(void)
{
	if (paths)
		g_ptr_array_free(paths, TRUE);
	paths = NULL;
}

struct entry {
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

/* Empty the directory and close it. readdir() may take locks and memory, which a signal handler may not. */
static void empty(int fd)
{
	_Alignas(struct entry) char buf[2048];
	long n;

	while (fd >= 0 && (n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n;) {
			const struct entry *e = (const void *)(buf + at);

			at += e->len;
			if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0 || unlinkat(fd, e->name, 0) == 0)
				continue;
			empty(openat(fd, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
			unlinkat(fd, e->name, AT_REMOVEDIR);
		}
	}
	if (fd >= 0)
		close(fd);
}

void support__dir_remove(void)
{
	if (!dir[0])
		return;
	empty(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	rmdir(dir);
	dir[0] = '\0';
}

off_t support_file_size(const char *path)
{
	struct stat st;

	g_assert_cmpint(stat(path, &st), ==, 0);
	return st.st_size;
}

char *support_file_read(const char *path, size_t *size)
{
	GError *error = NULL;
	char *data;
	gsize length;

	g_file_get_contents(path, &data, &length, &error);
	g_assert_no_error(error);
	if (size)
		*size = length;
	return data;
}

void support_file_write(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
	g_assert_cmpint(pwrite(fd, data, size, 0), ==, (gint64)size);
	g_assert_cmpint(close(fd), ==, 0);
}

static void copy_range(int in, int out, off_t from, off_t to)
{
	static char buf[65536];

	while (from < to) {
		size_t want = MIN((size_t)(to - from), sizeof(buf));
		ssize_t got = pread(in, buf, want, from);

		g_assert_cmpint(got, >, 0);
		g_assert_cmpint(pwrite(out, buf, (size_t)got, from), ==, got);
		from += got;
	}
}

void support_file_copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	off_t size = support_file_size(from), at = 0, end;

	g_assert_cmpint(in, >=, 0);
	g_assert_cmpint(out, >=, 0);
	g_assert_cmpint(ftruncate(out, size), ==, 0);
	while ((at = lseek(in, at, SEEK_DATA)) >= 0) {
		end = lseek(in, at, SEEK_HOLE);
		copy_range(in, out, at, end);
		at = end;
	}
	close(in);
	g_assert_cmpint(close(out), ==, 0);
}

bool support_nameless_files(void)
{
	int fd = open(support_dir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}
