/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every failure as a sentence: what failed, with the name or the number; why; what to do; errno. Each is provoked once, and is there
 * whether or not MMALLOC_DEBUG is set.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_mmalloc.h"
#include "tests/support/support_sentence.h"

static void fail_first(void)
{
	g_assert_null(mmalloc_findbase((size_t)1 << 50));
}

static const struct support_errmsg mm = { "mmalloc", mmalloc_errmsg, fail_first };

#define SAYS(call, error, part) says(&mm, call, error, part)

static void attaching(void)
{
	const char *path = support_path("new.mm");
	int fd = heap_file(path);
	struct mmalloc_options odd = { .flags = 77 };

	SAYS(mmalloc_attach(fd, (void *)0x1001), EINVAL, "0x1001");
	SAYS(mmalloc_attach_opt(fd, NULL, &(struct mmalloc_options){ .streams = 2000 }), EINVAL, "2000 streams");
	SAYS(mmalloc_attach_opt(fd, NULL, &(struct mmalloc_options){ .reserve = (size_t)1 << 47 }), EINVAL,
	     "140737488355328");
	SAYS(mmalloc_attach_opt(fd, NULL, &(struct mmalloc_options){ .reserve = 100 }), EINVAL,
	     "new.mm): cannot create it with 100 bytes");
	SAYS(mmalloc_attach_opt(fd, NULL, &odd), EINVAL, "flags 0x4d");
	SAYS(mmalloc_attach_opt(-1, NULL, &(struct mmalloc_options){ .flags = MMALLOC_RDONLY }), EINVAL,
	     "heap without a file");
	close(fd);
	SAYS(mmalloc_attach(fd, NULL), EBADF, "the descriptor is not open");
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	SAYS(mmalloc_attach(fd, NULL), EINVAL, "(/dev/null): cannot open it: it is a device");
	close(fd);
	fd = open(support_dir(), O_RDONLY | O_CLOEXEC);
	SAYS(mmalloc_attach_opt(fd, NULL, &(struct mmalloc_options){ .flags = MMALLOC_RDONLY }), EISDIR, "a directory");
	close(fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	SAYS(mmalloc_attach(fd, NULL), EACCES, "new.mm): cannot open it: permission denied");
	close(fd);
	SAYS(mmalloc_detach(NULL), EINVAL, "the default heap stays");
}

/* The range that the sentence names is the smallest indeed. */
static void smallest(void)
{
	struct mmalloc_options o = { .reserve = 5000 };
	int fd = heap_file(support_path("smallest.mm"));
	const char *at;
	void *md;

	SAYS(mmalloc_attach_opt(fd, NULL, &o), EINVAL, "5000");
	at = strstr(mmalloc_errmsg(), "the smallest map has ");
	g_assert_nonnull(at);
	o.reserve = strtoull(at + strlen("the smallest map has "), NULL, 10) - 4096;
	g_assert_null(mmalloc_attach_opt(fd, NULL, &o));
	o.reserve += 4096;
	md = mmalloc_attach_opt(fd, NULL, &o);
	g_assert_nonnull(md);
	heap_detach(md);
	close(fd);
}

static void other_files(void)
{
	static const char *const golden[][2] = {
		{ "dynamic-1.map", "it is a dynamic map of libqalloc, which qalloc_makedynmap()" },
		{ "static-1.map", "it is a static map of libqalloc, which qalloc_makestatmap()" },
		{ "shmbuddy-1.map", "it is a region of libshmbuddy, which shmbuddy_open() opens" },
	};
	struct mmalloc_options o = { .flags = MMALLOC_RDONLY };
	const char *text = support_path("text");
	int fd;

	for (size_t i = 0; i < G_N_ELEMENTS(golden); i++) {
		char *path = g_build_filename(MA_TEST_SRCDIR, "golden", golden[i][0], NULL);

		fd = open(path, O_RDONLY | O_CLOEXEC);
		SAYS(mmalloc_attach_opt(fd, NULL, &o), EPROTOTYPE, golden[i][1]);
		close(fd);
		g_free(path);
	}
	support_file_write(text, "just a text, and a long one", 27);
	fd = open(text, O_RDWR | O_CLOEXEC);
	SAYS(mmalloc_attach(fd, NULL), EMEDIUMTYPE, "text): cannot open it: it is not a map");
	close(fd);
}

static void address(void)
{
	const char *path = support_path("b.mm");
	void *md = heap_attach(path);
	struct mmalloc_stats stats;
	int fd;

	g_assert_cmpint(mmalloc_stats(md, &stats), ==, 0);
	heap_detach(md);
	g_assert_true(mmap(stats.base, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
		      stats.base);
	fd = heap_file(path);
	SAYS(mmalloc_attach(fd, NULL), EADDRINUSE, "b.mm): cannot map it: its address");
	close(fd);
	munmap(stats.base, 4096);
}

static void on_a_heap(void)
{
	void *md = heap_attach(support_path("h.mm"));
	char *block = mmalloc(md, 100), *where = g_strdup_printf("%p", (void *)(block + 1));
	int local;

	SAYS(mmalloc(md, (size_t)1 << 46), ENOMEM, "h.mm): block is too large: no room for a block of 70368744177664 bytes in a map for ");
	SAYS(mcalloc(md, SIZE_MAX, 3), ENOMEM, "cannot allocate 18446744073709551615 times 3 bytes");
	SAYS(mmemalign(md, 48, 10), EINVAL, "alignment of 48 is invalid");
	SAYS(mfree(md, block + 1), EINVAL, where);
	SAYS(mrealloc(md, block + 1, 200), EINVAL, where);
	SAYS(mrealloc(md, block, (size_t)1 << 46), ENOMEM, "70368744177664");
	SAYS(mmalloc_usable_size(md, block + 1), EINVAL, where);
	SAYS(mmalloc_setkey(md, 64, block), EINVAL, "h.mm): there is no key 64: keys are 0 to 63");
	SAYS(mmalloc_getkey(md, -1), EINVAL, "h.mm): there is no key -1");
	SAYS(mmalloc_setroot(md, "", block), EINVAL, "invalid root name: it is empty");
	SAYS(mmalloc_setroot(md, NULL, block), EINVAL, "invalid root name: it is NULL");
	SAYS(mmalloc_setroot(md, "notes", &local), EINVAL, "cannot set root \"notes\"");
	SAYS(mmalloc_getroot(md, "notes"), ENOENT, "no such root: \"notes\" is not set");
	SAYS(mmalloc_walk(md, NULL, NULL), EINVAL, "cannot walk");
	SAYS(mmalloc_stats(md, NULL), EINVAL, "cannot return statistics");
	SAYS(mmalloc_snapshot(md, NULL), EINVAL, "cannot make a snapshot");
	SAYS(mmalloc_snapshot(md, support_dir()), EISDIR, "a directory");
	SAYS(mmalloc_snapshot(md, "/proc/nonexistent/s.mm"), ENOENT, "/proc/nonexistent/s.mm: cannot make a snapshot");
	SAYS(mmcheck(md, NULL), EBUSY, "h.mm): cannot guard blocks");
	mfree(md, block);
	SAYS(mfree(md, block), EINVAL, "look for a double free");
	heap_detach(md);
	SAYS(mmalloc(md, 8), EBADF, "h.mm): the map is closed");
	SAYS(mmalloc_detach(md), EBADF, "h.mm): the map is closed");
	SAYS(mmalloc_walk(md, NULL, NULL), EBADF, "h.mm): the map is closed");
	g_free(where);
}

static void guards(void)
{
	struct mmalloc_options o = { .reserve = 16 * MIB };
	void *md = mmalloc_attach_opt(-1, NULL, &o);
	char *block, *where;

	g_assert_cmpint(mmcheck(md, NULL), ==, 1);
	block = mmalloc(md, 100);
	where = g_strdup_printf("%p", (void *)(block + 1));
	SAYS(mmalloc_usable_size(md, block + 1), EINVAL, where);
	SAYS(mmalloc(md, SIZE_MAX - 10), ENOMEM,
	     "map without a file: cannot allocate 18446744073709551605 bytes and their guards");
	block[100] ^= 1;
	SAYS(mmalloc_check(md, NULL, NULL), EUCLEAN, "heap is damaged: violations found: 1");
	block[100] ^= 1;
	g_free(where);
	mfree(md, block);
	heap_detach(md);
}

static void read_only(void)
{
	const char *path = support_path("r.mm");
	void *md = heap_attach(path), *block = mmalloc(md, 100);
	int fd;

	heap_detach(md);
	fd = heap_file(path);
	md = mmalloc_attach_opt(fd, NULL, &(struct mmalloc_options){ .flags = MMALLOC_RDONLY });
	close(fd);
	SAYS(mmalloc(md, 8), EROFS, "r.mm): cannot change it: it is open read-only");
	SAYS(mfree(md, block), EROFS, "r.mm): cannot change it");
	SAYS(mrealloc(md, block, 1000), EROFS, "r.mm): cannot change it");
	SAYS(mmalloc_setroot(md, "a", block), EROFS, "r.mm): cannot change it");
	SAYS(mmalloc_setkey(md, 1, block), EROFS, "r.mm): cannot change it");
	SAYS(mmalloc_trim(md), EROFS, "r.mm): cannot change it");
	SAYS(mmcheck(md, NULL), EROFS, "r.mm): cannot change it");
	heap_detach(md);
}

static void tracing(void)
{
	if (support_in_process_with("MALLOC_TRACE", NULL))
		SAYS(mmtrace(), EINVAL, "$MALLOC_TRACE");
}

static void tracing_nowhere(void)
{
	if (support_in_process_with("MALLOC_TRACE", "/proc/nonexistent/trace"))
		SAYS(mmtrace(), ENOENT, "/proc/nonexistent/trace: cannot write the trace");
}

/* --- the machine's fault --- */

static int full_disk(void *arg)
{
	void *md = heap_attach(support_path("f.mm"));
	int fd = heap_file(support_path("g.mm"));

	(void)arg;
	if (!support_make_fail(SYS_fallocate, -1, ENOSPC))
		return SUPPORT_CANNOT;
	SAYS(mmalloc(md, 5000000), ENOSPC, "f.mm): no disk space for a block of 5000000 bytes");
	SAYS(mmalloc_attach(fd, NULL), ENOSPC, "g.mm): no disk space");
	return 0;
}

static int sick_disk(void *arg)
{
	const char *path = support_path("i.mm");
	void *md = heap_attach(path);
	int fd = heap_file(path);

	(void)arg;
	if (!support_make_fail(SYS_msync, -1, EIO))
		return SUPPORT_CANNOT;
	SAYS(mmalloc_sync(md), EIO, "i.mm): cannot write to disk");
	if (!support_make_fail(SYS_fallocate, -1, EFBIG)) /* It makes the file longer, too. */
		return SUPPORT_CANNOT;
	SAYS(mmalloc(md, 5000000), EFBIG, "5000000");
	if (!support_make_fail(SYS_ftruncate, -1, EFBIG))
		return SUPPORT_CANNOT;
	SAYS(mmalloc_snapshot(md, support_path("snap.mm")), EFBIG, "i.mm");
	heap_detach(md);
	if (!support_make_fail(SYS_pread64, -1, EIO))
		return SUPPORT_CANNOT;
	SAYS(mmalloc_attach(fd, NULL), EIO, "i.mm): cannot open it: it cannot be read");
	return 0;
}

static int no_addresses(void *arg)
{
	struct mmalloc_options o = { .reserve = 8 * GIB };
	const struct rlimit few = { GIB, GIB };

	(void)arg;
	if (setrlimit(RLIMIT_AS, &few) < 0)
		return SUPPORT_CANNOT;
	SAYS(mmalloc_attach_opt(-1, NULL, &o), ENOMEM, "map without a file: cannot map 8589");
	return 0;
}

SUPPORT_FAULT_CASE(full_disk)
SUPPORT_FAULT_CASE(sick_disk)
SUPPORT_FAULT_CASE(no_addresses)

/* --- the channel itself --- */

static void threads(void)
{
	support_sentences_of_threads(&mm);
}

static void children(void)
{
	support_sentences_of_children(&mm);
}

static void debug_line_is_the_sentence(void)
{
	char *text, *line;
	void *md;

	if (!support_in_process_with("MMALLOC_DEBUG", "1"))
		return;
	md = heap_attach(support_path("d.mm"));
	support_capture_begin();
	g_assert_null(mmalloc_getroot(md, "absent"));
	g_assert_null(mmalloc_getkey(md, 99));
	text = support_capture_end();
	line = g_strdup_printf("Z: %s\n", mmalloc_errmsg());
	g_assert_true(g_str_has_prefix(text, "mmalloc["));
	g_assert_true(g_str_has_suffix(text, line));
	g_assert_true(strchr(text, '\n') == text + strlen(text) - 1);
	g_free(line);
	g_free(text);
	heap_detach(md);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/errmsg/attaching", attaching);
	support_add("/mmalloc/errmsg/smallest", smallest);
	support_add("/mmalloc/errmsg/other-files", other_files);
	support_add("/mmalloc/errmsg/address", address);
	support_add("/mmalloc/errmsg/heap", on_a_heap);
	support_add("/mmalloc/errmsg/guards", guards);
	support_add("/mmalloc/errmsg/read-only", read_only);
	support_add("/mmalloc/errmsg/tracing", tracing);
	support_add("/mmalloc/errmsg/tracing-nowhere", tracing_nowhere);
	support_add("/mmalloc/errmsg/full-disk", full_disk_in_child);
	support_add("/mmalloc/errmsg/sick-disk", sick_disk_in_child);
	support_add("/mmalloc/errmsg/no-addresses", no_addresses_in_child);
	support_add("/mmalloc/errmsg/threads", threads);
	support_add("/mmalloc/errmsg/children", children);
	support_add("/mmalloc/errmsg/debug-line", debug_line_is_the_sentence);
	return support_run();
}
