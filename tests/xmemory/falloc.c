/* SPDX-License-Identifier: BSD-3-Clause */
/* Files as blocks: offsets, lengths, sharing, what cannot be mapped. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_xmemory.h"

static const char *numbers(const char *name, size_t count)
{
	const char *path = support_path(name);
	char *text = g_malloc(count);

	for (size_t i = 0; i < count; i++)
		text[i] = (char)('a' + i % 26);
	support_file_write(path, text, count);
	g_free(text);
	return path;
}

static void size_counts_from_the_block(void)
{
	static const size_t offsets[] = { 0, 1, 15, 16, 17, 255, 256, 4095, 4096, 4097, 8192, 9998, 9999 };
	const char *path = numbers("offsets", 10000);

	for (int shared = 0; shared < 2; shared++) {
		char *whole = shared ? map(path, 0, NULL) : NULL;

		for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
			size_t size = 0;
			char *block = map(path, offsets[i], &size);

			g_assert_nonnull(block);
			g_assert_cmpuint(size, ==, 10000 - offsets[i]);
			g_assert_cmpuint(xmemory_size(block), ==, size);
			g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_MAPPED);
			g_assert_cmpint(block[0], ==, 'a' + (char)(offsets[i] % 26));
			g_assert_cmpint(block[size - 1], ==, 'a' + 9999 % 26);
			if (shared)
				g_assert_true(block == whole + offsets[i]);
			give(block);
		}
		if (whole)
			give(whole);
	}
	g_assert_cmpuint(figures().mapped_files, ==, 0);
}

static void private_and_writable(void)
{
	const char *path = numbers("private", 5000);
	size_t size;
	char *block = map(path, 100, &size), *again, *text;

	memset(block, 'X', size);
	again = map(path, 100, NULL);
	g_assert_true(again == block);
	g_assert_cmpint(again[0], ==, 'X');
	text = proc_text(path);
	g_assert_cmpint(text[100], ==, 'a' + 100 % 26);
	g_free(text);
	give(block);
	g_assert_cmpint(again[10], ==, 'X');
	g_assert_cmpuint(figures().mapped_files, ==, 1);
	g_assert_cmpuint(figures().mappings, ==, 1);
	give(again);
	g_assert_cmpuint(figures().mapped_files, ==, 0);
	again = map(path, 100, NULL);
	g_assert_cmpint(again[0], ==, 'a' + 100 % 26);
	give(again);
}

/* Each call counts, also those that give the same pointer; one free too many is told. */
static void references(void)
{
	const char *path = numbers("references", 5000);
	char *blocks[50], *said;

	for (size_t i = 0; i < 50; i++)
		blocks[i] = map(path, i % 5, NULL);
	g_assert_cmpuint(figures().mapped_files, ==, 1);
	g_assert_cmpuint(figures().mappings, ==, 50);
	for (size_t i = 0; i < 50; i++) {
		g_assert_cmpint(blocks[i][1], ==, (char)('b' + i % 5));
		give(blocks[i]);
	}
	g_assert_cmpuint(figures().mapped_files, ==, 0);
	support_capture_begin();
	give(blocks[0]);
	said = support_capture_end();
	g_assert_nonnull(strstr(said, __FILE__));
	g_free(said);
}

static void other_names_same_file(void)
{
	const char *path = numbers("name", 100), *other = support_path("link");
	char *a, *b;

	g_assert_cmpint(link(path, other), ==, 0);
	a = map(path, 0, NULL);
	b = map(other, 0, NULL);
	g_assert_true(a == b);
	g_assert_cmpint(unlink(path), ==, 0);
	g_assert_cmpint(b[25], ==, 'z');
	give(a);
	give(b);
}

static void growing(void)
{
	const char *path = numbers("growing", 5000);
	size_t size;
	char *old = map(path, 0, &size), *grown, *again, *text;

	memset(old, 'X', 5000);
	g_assert_cmpint(truncate(path, 5001), ==, 0);
	g_assert_cmpint(truncate(path, 5000), ==, 0);
	again = map(path, 0, &size); /* As long as before: as it was. */
	g_assert_true(again == old);
	text = g_strnfill(20000, 'n');
	support_file_write(path, text, 20000);
	g_free(text);
	grown = map(path, 5000, &size);
	g_assert_cmpuint(size, ==, 15000);
	g_assert_cmpint(grown[0], ==, 'n');
	g_assert_cmpint(grown[14999], ==, 'n');
	g_assert_cmpint(old[4999], ==, 'X');
	g_assert_cmpuint(figures().mapped_files, ==, 2);
	give(old);
	give(again);
	give(grown);
	g_assert_cmpuint(figures().mapped_files, ==, 0);
}

static void huge(void)
{
	const char *path = support_path("huge");
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	uint64_t length = (uint64_t)5 << 30, at = ((uint64_t)4 << 30) + 12345;
	size_t size;
	char *block;

	g_assert_cmpint(ftruncate(fd, (off_t)length), ==, 0);
	g_assert_cmpint(pwrite(fd, "far away", 8, (off_t)at), ==, 8);
	close(fd);
	block = map(path, at, &size);
	if (!block && support_tsan()) {
		g_test_skip("no address space under this tool");
		return;
	}
	g_assert_nonnull(block);
	g_assert_cmpuint(size, ==, length - at);
	g_assert_cmpint(memcmp(block, "far away", 8), ==, 0);
	block[size - 1] = 1;
	give(block);
}

static void realloc_makes_it_a_block(void)
{
	const char *path = numbers("realloc", 5000);
	char *block = map(path, 10, NULL);

	vm_begin(SIZE_MAX);
	block = retake(block, 8000);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_RAM);
	g_assert_cmpint(block[0], ==, 'k');
	g_assert_cmpint(block[4989], ==, 'a' + 4999 % 26);
	g_assert_cmpuint(figures().mapped_files, ==, 0);
	give(block);
	xmemory_setlimit(1);
	block = retake(map(path, 0, NULL), 300000);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_VMFILE);
	g_assert_cmpint(block[4999], ==, 'a' + 4999 % 26);
	give(block);
	xmemory_setlimit(0);
}

static void refused(const char *name, size_t at, int error)
{
	size_t size = 77;

	errno = 0;
	g_assert_null(map(name, at, &size));
	g_assert_cmpint(errno, ==, error);
	g_assert_cmpuint(size, ==, 77);
}

static void refusals(void)
{
	const char *path = numbers("short", 100), *empty = support_path("empty"), *fifo = support_path("fifo");

	support_file_write(empty, "", 0);
	g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
	refused(support_path("missing"), 0, ENOENT);
	refused(NULL, 0, EINVAL);
	refused("", 0, ENOENT);
	refused(support_dir(), 0, EISDIR);
	refused(empty, 0, ENODATA);
	refused(empty, 1, ENODATA);
	refused(path, 100, EINVAL);
	refused(path, SIZE_MAX, EINVAL);
	refused(fifo, 0, EINVAL); /* And it does not wait for a writer. */
	refused("/dev/null", 0, EINVAL);
	g_assert_cmpuint(figures().mapped_files, ==, 0);
}

static int unreadable(void *arg)
{
	const char *path = numbers("unreadable", 100);

	(void)arg;
	g_assert_cmpint(chmod(path, 0), ==, 0);
	if (geteuid() == 0 && setuid(65534) < 0)
		return SUPPORT_CANNOT;
	refused(path, 0, EACCES);
	return 0;
}

static void not_readable(void)
{
	support_run_or_skip(unreadable, "cannot become another user");
}

static void many_files(void)
{
	enum { FILES = 200 };
	char *blocks[FILES];

	for (unsigned i = 0; i < FILES; i++) {
		char name[16];
		const char *path;

		g_snprintf(name, sizeof(name), "many%u", i);
		path = support_path(name);
		support_file_write(path, &i, sizeof(i));
		blocks[i] = map(path, 0, NULL);
	}
	for (unsigned i = 0; i < FILES; i++) {
		g_assert_cmpuint(*(unsigned *)(void *)blocks[i], ==, i);
		give(blocks[i]);
	}
	g_assert_cmpuint(figures().mapped_files, ==, 0);
}

#define unmap(ptr, offs, size) xmemory_fdealloc((ptr), (offs), (size), __FILE__, __LINE__)

/* As the original's clients call it. */
static void fdealloc(void)
{
	const char *path = numbers("fdealloc", 10000);
	uint64_t warnings = figures().warnings;
	size_t size, again_size;
	char *block = map(path, 80, &size), *again = map(path, 80, &again_size), *text;

	memset(block, 'X', size);
	unmap(block, 80, size);
	g_assert_cmpuint(figures().mappings, ==, 1);
	g_assert_cmpint(again[0], ==, 'X');
	unmap(again, 80, again_size);
	g_assert_cmpuint(figures().mapped_files, ==, 0);
	g_assert_cmpuint(figures().pointers, ==, 0);
	text = proc_text(path);
	g_assert_cmpint(text[80], ==, 'a' + 80 % 26); /* Nothing is written back. */
	g_free(text);
	g_assert_cmpuint(figures().warnings, ==, warnings);
}

/* An address elsewhere in the mapping: the block that begins at the offset, else the nearest. */
static void fdealloc_elsewhere(void)
{
	const char *path = numbers("elsewhere", 10000);
	uint64_t warnings = figures().warnings;
	char *whole = map(path, 0, NULL), *middle = map(path, 5000, NULL), *end = map(path, 9000, NULL);

	unmap(whole + 77, 5000, 5000);
	g_assert_cmpint(xmemory_kind(middle), ==, XMEMORY_UNKNOWN);
	g_assert_cmpuint(figures().mappings, ==, 2);
	unmap(whole + 9500, 12345, 0);
	g_assert_cmpint(xmemory_kind(end), ==, XMEMORY_UNKNOWN);
	g_assert_cmpint(xmemory_kind(whole), ==, XMEMORY_MAPPED);
	unmap(whole + 9999, 1, 0);
	g_assert_cmpuint(figures().mapped_files, ==, 0);
	end = map(path, 9000, NULL);
	unmap(end - 9000, 0, 10000); /* Its beginning, where no block is. */
	g_assert_cmpuint(figures().mapped_files, ==, 0);
	g_assert_cmpuint(figures().warnings, ==, warnings);
}

static void fdealloc_other_blocks(void)
{
	static char unknown[64];
	void *ram = take(100), *small, *large;
	uint64_t warnings = figures().warnings;

	xmemory_setwarnings(0);
	vm_begin(1);
	small = take(100);
	large = take(MIB);
	unmap(ram, 0, 100);
	unmap(small, 0, 100);
	unmap(large, 0, MIB);
	g_assert_cmpuint(figures().pointers, ==, 0);
	g_assert_cmpuint(figures().warnings, ==, warnings);
	errno = 0;
	unmap(NULL, 0, 0);
	g_assert_cmpint(errno, ==, 0);
	unmap(unknown, 0, 10);
	g_assert_cmpint(errno, ==, EINVAL);
	unmap(large, 0, MIB);
	g_assert_cmpuint(figures().warnings, ==, warnings + 3);
	xmemory_setwarnings(-1);
	xmemory_setlimit(0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/falloc/sizes", size_counts_from_the_block);
	support_add("/xmemory/falloc/private", private_and_writable);
	support_add("/xmemory/falloc/references", references);
	support_add("/xmemory/falloc/links", other_names_same_file);
	support_add("/xmemory/falloc/growing", growing);
	support_add("/xmemory/falloc/huge", huge);
	support_add("/xmemory/falloc/realloc", realloc_makes_it_a_block);
	support_add("/xmemory/falloc/refusals", refusals);
	support_add("/xmemory/falloc/unreadable", not_readable);
	support_add("/xmemory/falloc/many", many_files);
	support_add("/xmemory/falloc/fdealloc", fdealloc);
	support_add("/xmemory/falloc/fdealloc-elsewhere", fdealloc_elsewhere);
	support_add("/xmemory/falloc/fdealloc-others", fdealloc_other_blocks);
	return support_run();
}
