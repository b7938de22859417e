/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every failure as a sentence: what failed, with the name or the number; why; what to do; errno. Each is provoked once, and is there
 * whether or not SHMBUDDY_DEBUG is set; also when it happened in a signal handler, which makes no sentence.
 */
#include <fcntl.h>
#include <shm_alloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_fault.h"
#include "tests/support/support_fd.h"
#include "tests/support/support_sentence.h"

static void fail_first(void)
{
	g_assert_cmpint(shmbuddy_close(NULL), ==, -1);
}

static const struct support_errmsg buddy = { "shmbuddy", shmbuddy_errmsg, fail_first };

#define SAYS(call, error, part) says(&buddy, call, error, part)
#define OPTIONS(...)            (&(const struct shmbuddy_options){ __VA_ARGS__ })

static void opening(void)
{
	const char *path = support_path("a.shm"), *text = support_path("text");
	shmbuddy_t *region;

	SAYS(shmbuddy_open(NULL, NULL), EINVAL, "file name is NULL");
	SAYS(shmbuddy_open(path, OPTIONS(.flags = 0x4000)), EINVAL, "flags 0x4000");
	SAYS(shmbuddy_open(path, OPTIONS(.mode = 07000)), EINVAL, "mode 07000");
	SAYS(shmbuddy_open(path, OPTIONS(.flags = SHMBUDDY_NEW | SHMBUDDY_RDONLY)), EINVAL, "SHMBUDDY_NEW with");
	SAYS(shmbuddy_open(path, OPTIONS(.smallest = 48)), EINVAL, "smallest block of 48 bytes");
	SAYS(shmbuddy_open(path, OPTIONS(.largest = 100)), EINVAL, "largest block of 100 bytes");
	SAYS(shmbuddy_open(path, OPTIONS(.capacity = 1)), EINVAL, "capacity of 1 bytes");
	SAYS(shmbuddy_open(path, OPTIONS(.capacity = (uint64_t)1 << 50)), EINVAL, "1125899906842624");
	SAYS(shmbuddy_open(path, OPTIONS(.capacity = MIB, .range = MIB - 1)), EINVAL, "range of 1048575 bytes");
	SAYS(shmbuddy_open(path, OPTIONS(.range = (uint64_t)1 << 46)), EINVAL, "range of 70368744177664 bytes");
	SAYS(shmbuddy_size_needed(OPTIONS(.smallest = 3)), EINVAL, "smallest block of 3 bytes");
	SAYS(shmbuddy_open(path, OPTIONS(.flags = SHMBUDDY_EXISTING)), ENOENT, "a.shm: cannot open it: no such file");
	SAYS(shmbuddy_open(support_dir(), NULL), EISDIR, "a directory");
	SAYS(shmbuddy_open("/dev/null", NULL), EINVAL, "/dev/null: cannot open it: it is a device");
	region = buddy_open(path, MIB, 32, 1024);
	SAYS(shmbuddy_open(path, OPTIONS(.flags = SHMBUDDY_NEW)), EEXIST, "a.shm: cannot create it");
	SAYS(shmbuddy_open(path, OPTIONS(.smallest = 64)), EINVAL,
	     "a.shm: cannot open it with these options: its blocks have 32");
	SAYS(shmbuddy_open(path, OPTIONS(.capacity = 2 * MIB)), EINVAL,
	     "a.shm: cannot open it with capacity 2097152: it has");
	SAYS(shmbuddy_open(path, OPTIONS(.range = 2 * MIB)), EINVAL, "a.shm: cannot open it with range 2097152: it has");
	buddy_close(region);
	support_file_write(text, "just a text, and a long one", 27);
	SAYS(shmbuddy_open(text, NULL), EMEDIUMTYPE, "text: cannot open it: it is not a map");
	SAYS(shmbuddy_unlink(text), EMEDIUMTYPE, "text: cannot open it: it is not a map");
	SAYS(shmbuddy_unlink(NULL), EINVAL, "file name is NULL");
	SAYS(shmbuddy_unlink(support_path("none.shm")), ENOENT, "none.shm: cannot open it: no such file");
	SAYS(shmbuddy_open_fd(1000, NULL), EBADF, "descriptor 1000: cannot open it: the descriptor is not open");
	g_assert_cmpint(truncate(path, 10000), ==, 0);
	SAYS(shmbuddy_open(path, NULL), ENODATA, "a.shm: cannot open it: it is shorter than its header says");
}

static void other_libraries(void)
{
	static const char *const golden[][2] = {
		{ "dynamic-1.map", "it is a dynamic map of libqalloc, which qalloc_makedynmap()" },
		{ "mmalloc-1.map", "it is a heap of libmmalloc, which mmalloc_attach() opens" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(golden); i++) {
		char *path = g_build_filename(MA_TEST_SRCDIR, "golden", golden[i][0], NULL);

		SAYS(shmbuddy_open(path, OPTIONS(.flags = SHMBUDDY_RDONLY)), EPROTOTYPE, golden[i][1]);
		g_free(path);
	}
}

static void in_memory(void)
{
	char *page = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *where = g_strdup_printf("memory at %p", (void *)(page + 8));

	SAYS(shmbuddy_format(page + 8, 32768, NULL), EINVAL, where);
	SAYS(shmbuddy_format(page, 100, NULL), EINVAL, "100");
	SAYS(shmbuddy_format(page, 65536, OPTIONS(.capacity = MIB)), EINVAL, "memory of 65536 bytes is too small");
	SAYS(shmbuddy_format(page, 65536, OPTIONS(.flags = 0x200)), EINVAL, "flags 0x200");
	SAYS(shmbuddy_join(page), EMEDIUMTYPE, "memory at ");
	g_free(where);
	munmap(page, 65536);
}

static int visit(shm_offt offset, size_t size, void *arg)
{
	(void)offset, (void)size, (void)arg;
	return 0;
}

static void all_say_closed(shmbuddy_t *region, const char *part)
{
	struct shmbuddy_stats stats;
	int local;

	SAYS(shmbuddy_malloc(region, 8), EBADF, part);
	SAYS(shmbuddy_malloc(region, 5000), EBADF, part);
	SAYS(shmbuddy_calloc(region, 1, 8), EBADF, part);
	SAYS(shmbuddy_realloc(region, SHM_NULL, 8), EBADF, part);
	SAYS(shmbuddy_realloc(region, 8192, 8), EBADF, part);
	SAYS(shmbuddy_free(region, 8192), EBADF, part);
	SAYS(shmbuddy_usable_size(region, 8192), EBADF, part);
	SAYS(shmbuddy_address(region, 8192), EBADF, part);
	SAYS(shmbuddy_offset(region, &local), EBADF, part);
	SAYS(shmbuddy_base(region), EBADF, part);
	SAYS(shmbuddy_setroot(region, "a", 8192), EBADF, part);
	SAYS(shmbuddy_getroot(region, "a"), EBADF, part);
	SAYS(shmbuddy_stats(region, &stats), EBADF, part);
	SAYS(shmbuddy_check(region, NULL, NULL), EBADF, part);
	SAYS(shmbuddy_walk(region, visit, NULL), EBADF, part);
	SAYS(shmbuddy_mend(region), EBADF, part);
	SAYS(shmbuddy_grow(region, MIB), EBADF, part);
	SAYS(shmbuddy_sync(region), EBADF, part);
	SAYS(shmbuddy_close(region), EBADF, part);
}

static void fail_in_another_way(void)
{
	g_assert_null(shmbuddy_open(NULL, NULL));
}

static const struct support_errmsg buddy_open_first = { "shmbuddy", shmbuddy_errmsg, fail_in_another_way };

static void closed(void)
{
	shmbuddy_t *region = buddy_open(support_path("c.shm"), MIB, 32, 1024);

	buddy_close(region);
	all_say_closed(region, "c.shm: the region is closed");
	says(&buddy_open_first, shmbuddy_malloc(NULL, 8), EBADF, "the region is NULL");
	says(&buddy_open_first, shmbuddy_free(NULL, 8192), EBADF, "the region is NULL");
	says(&buddy_open_first, shmbuddy_getroot(NULL, "a"), EBADF, "the region is NULL");
	says(&buddy_open_first, shm_malloc(10), EBADF, "the region is NULL");
}

static void on_a_region(void)
{
	shmbuddy_t *region = buddy_open(support_path("d.shm"), 64 * KIB, 32, 1024);
	shm_offt block = shmbuddy_malloc(region, 100);
	char *where = g_strdup_printf("offset 0x%lx", (unsigned long)block + 8);
	static const char long_name[] = "1234567890123456789012345678901234567890123456789012345678901234";
	int local;

	SAYS(shmbuddy_malloc(region, 5000), ENOMEM,
	     "d.shm: cannot allocate a block of 8192 bytes: the region's largest block has 1024");
	SAYS(shmbuddy_malloc(region, SIZE_MAX), ENOMEM, "d.shm: cannot allocate a block");
	SAYS(shmbuddy_calloc(region, SIZE_MAX, 3), ENOMEM, "d.shm: cannot allocate 18446744073709551615 times 3 bytes");
	SAYS(shmbuddy_realloc(region, block, 5000), ENOMEM, "8192");
	SAYS(shmbuddy_realloc(region, block + 8, 500), EINVAL, where);
	SAYS(shmbuddy_free(region, block + 8), EINVAL, where);
	SAYS(shmbuddy_usable_size(region, block + 8), EINVAL, where);
	SAYS(shmbuddy_address(region, 8), EINVAL, "d.shm: offset 0x8 is invalid: blocks lie from 0x");
	SAYS(shmbuddy_offset(region, &local), EINVAL, "d.shm: address 0x");
	SAYS(shmbuddy_setroot(region, "a", 8), EINVAL, "d.shm: cannot set a root: offset 0x8");
	SAYS(shmbuddy_setroot(region, "", block), EINVAL, "d.shm: invalid root name: it has no bytes");
	SAYS(shmbuddy_setroot(region, long_name, block), EINVAL, "more than 63 bytes");
	SAYS(shmbuddy_getroot(region, "notes"), ENOENT,
	     "d.shm: no such root: no root has this name; set it first: \"notes\"");
	SAYS(shmbuddy_getroot(region, long_name + 1), ENOENT, "\"2345678901234567890123456789012\"");
	SAYS(shmbuddy_getroot(region, NULL), ENOENT, "d.shm: no such root: the root without a name is not set");
	SAYS(shmbuddy_walk(region, NULL, NULL), EINVAL, "d.shm: cannot walk");
	SAYS(shmbuddy_stats(region, NULL), EINVAL, "d.shm: cannot return statistics");
	for (char name[2] = "!"; shmbuddy_setroot(region, name, block) == 0; name[0]++)
		;
	SAYS(shmbuddy_setroot(region, "one more", block), ENOSPC, "d.shm: cannot add a root: all 64 places");
	while (shmbuddy_malloc(region, 1024))
		;
	SAYS(shmbuddy_malloc(region, 1024), ENOMEM, "d.shm: region is full: no free block of 1024 bytes among 65536");
	g_assert_cmpint(shmbuddy_free(region, block), ==, 0);
	SAYS(shmbuddy_free(region, block), EINVAL, "look for a double free");
	buddy_close(region);
	g_free(where);
}

static void read_only(void)
{
	const char *path = support_path("r.shm");
	shmbuddy_t *region;

	buddy_close(buddy_open(path, MIB, 32, 1024));
	region = shmbuddy_open(path, OPTIONS(.flags = SHMBUDDY_RDONLY));
	SAYS(shmbuddy_malloc(region, 8), EROFS, "r.shm: the region is read-only");
	SAYS(shmbuddy_free(region, 8192), EROFS, "r.shm: the region is read-only");
	SAYS(shmbuddy_realloc(region, 8192, 10), EROFS, "r.shm: the region is read-only");
	SAYS(shmbuddy_setroot(region, "a", 8192), EROFS, "r.shm: the region is read-only");
	SAYS(shmbuddy_mend(region), EROFS, "r.shm: the region is read-only");
	SAYS(shmbuddy_grow(region, 2 * MIB), EROFS, "r.shm: the region is read-only");
	buddy_close(region);
}

static void put_length(const char *path, uint64_t length)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	g_assert_cmpint(pwrite(fd, &length, sizeof(length), LENGTH_AT), ==, sizeof(length));
	close(fd);
}

static void growing(void)
{
	const char *path = support_path("w.shm");
	const struct shmbuddy_options options = { .capacity = 64 * KIB, .range = MIB };
	shmbuddy_t *region = shmbuddy_open(path, &options);
	uint64_t length = buddy_stats(region).region_bytes;

	SAYS(shmbuddy_grow(region, MIB + 1), ENOMEM, "w.shm: cannot grow to 1048577 bytes: its range ends at 1048576");
	put_length(path, length + 512 * KIB);
	SAYS(shmbuddy_grow(region, 100 * KIB), EUCLEAN, "w.shm: cannot grow: the length in its header is damaged");
	put_length(path, length);
	buddy_close(region);
}

/* The name is still known after the region was closed, and not taken for that of another one later. */
static void after_closing(void)
{
	shmbuddy_t *region = buddy_open(support_path("gone.shm"), MIB, 32, 1024);
	const char *other = support_path("other.shm");

	g_assert_cmpuint(shmbuddy_malloc(region, 5000), ==, SHM_NULL);
	buddy_close(region);
	g_assert_nonnull(strstr(shmbuddy_errmsg(), "gone.shm: cannot allocate"));
	for (size_t i = 0; i < 100; i++)
		buddy_close(buddy_open(other, MIB, 32, 1024));
	g_assert_nonnull(strstr(shmbuddy_errmsg(), "a region that was closed since: cannot allocate"));
}

static void shim(void)
{
	if (!support_in_process_with("SHM_FILE", NULL))
		return;
	SAYS(shm_init(NULL, NULL), EINVAL, "$SHM_FILE is not set");
}

/* --- the machine's fault --- */

static int full_disk(void *arg)
{
	shmbuddy_t *region = buddy_open(support_path("f.shm"), 64 * MIB, 32, MIB);
	const char *path = support_path("e.shm");
	shmbuddy_t *larger = shmbuddy_open(path, OPTIONS(.capacity = MIB, .range = 64 * MIB));

	(void)arg;
	if (!support_make_fail(SYS_fallocate, -1, ENOSPC))
		return SUPPORT_CANNOT;
	while (shmbuddy_malloc(region, MIB))
		;
	SAYS(shmbuddy_malloc(region, MIB), ENOSPC, "f.shm: no disk space for a block of 1048576 bytes");
	SAYS(shmbuddy_grow(larger, 64 * MIB), ENOSPC, "e.shm: cannot grow to 67108864 bytes: fallocate(2) of its file failed");
	SAYS(shmbuddy_open(support_path("g.shm"), NULL), ENOSPC, "g.shm: cannot create it: no disk space");
	return 0;
}

static int sick_disk(void *arg)
{
	const char *path = support_path("i.shm");
	shmbuddy_t *region = buddy_open(path, MIB, 32, 1024);

	(void)arg;
	if (!support_make_fail(SYS_msync, -1, EIO))
		return SUPPORT_CANNOT;
	SAYS(shmbuddy_sync(region), EIO, "i.shm: cannot write to disk");
	if (!support_make_fail(SYS_ftruncate, -1, EFBIG))
		return SUPPORT_CANNOT;
	SAYS(shmbuddy_open(support_path("j.shm"), NULL), EFBIG, "j.shm: cannot create it: the file cannot be");
	if (!support_make_fail(SYS_unlink, -1, EPERM))
		return SUPPORT_CANNOT;
	SAYS(shmbuddy_unlink(path), EPERM, "i.shm: cannot unlink it");
	if (!support_make_fail(SYS_pread64, -1, EIO))
		return SUPPORT_CANNOT;
	SAYS(shmbuddy_open(path, NULL), EIO, "i.shm: cannot open it: it cannot be read");
	SAYS(shmbuddy_unlink(path), EIO, "i.shm: cannot unlink it");
	return 0;
}

static int no_locks(void *arg)
{
	(void)arg;
	if (!support_make_fail(SYS_fcntl, F_OFD_SETLK, EINVAL))
		return SUPPORT_CANNOT;
	SAYS(shmbuddy_open(support_path("l.shm"), NULL), ENOLCK, "l.shm: cannot lock it");
	return 0;
}

static int no_addresses(void *arg)
{
	const char *path = support_path("v.shm");
	const struct rlimit few = { GIB, GIB };

	(void)arg;
	if (setrlimit(RLIMIT_AS, &few) < 0)
		return SUPPORT_CANNOT;
	SAYS(shmbuddy_open(path, OPTIONS(.capacity = 4 * GIB)), ENOMEM, "v.shm: cannot map it");
	return 0;
}

/* Another process, that has all of it mapped, makes more of it than this one has addresses for. */
static int few_addresses(void *arg)
{
	const char *path = support_path("p.shm");
	const struct shmbuddy_options options = { .capacity = MIB, .range = 4 * GIB, .smallest = 4096, .largest = MIB };
	shmbuddy_t *all = shmbuddy_open(path, &options), *part;
	FILE *statm = fopen("/proc/self/statm", "r");
	shm_offt block, last = SHM_NULL;
	struct rlimit few;
	unsigned long pages;

	(void)arg;
	if (!statm || fscanf(statm, "%lu", &pages) != 1)
		return SUPPORT_CANNOT;
	fclose(statm);
	few.rlim_cur = few.rlim_max = pages * 4096 + GIB;
	if (setrlimit(RLIMIT_AS, &few) < 0)
		return SUPPORT_CANNOT;
	part = shmbuddy_open(path, NULL);
	g_assert_nonnull(all);
	g_assert_nonnull(part);
	SAYS(shmbuddy_grow(part, 2 * GIB), ENOMEM, "p.shm: cannot grow to 2147483648 bytes: this process has mapped only");
	g_assert_cmpint(shmbuddy_grow(all, 2 * GIB), ==, 0);
	while (last < GIB && (block = shmbuddy_malloc(all, MIB)) != SHM_NULL)
		last = block;
	g_assert_cmpuint(last, >=, GIB);
	SAYS(shmbuddy_address(part, last), ENOMEM, "p.shm: block at offset 0x");
	SAYS(shmbuddy_realloc(part, last, 4096), ENOMEM, "cannot be reached: this process has mapped only");
	return 0;
}

static int no_descriptors(void *arg)
{
	const char *path = support_path("x.shm");
	shmbuddy_t *region = shmbuddy_open(path, OPTIONS(.capacity = MIB, .range = 64 * MIB));

	(void)arg;
	closefrom(3);
	fd_make_nameless(path);
	SAYS(shmbuddy_grow(region, 2 * MIB), EBADF, "x.shm: cannot grow: the program closed the region's descriptor");
	return 0;
}

SUPPORT_FAULT_CASE(full_disk)
SUPPORT_FAULT_CASE(sick_disk)
SUPPORT_FAULT_CASE(no_locks)
SUPPORT_FAULT_CASE(no_addresses)
SUPPORT_FAULT_CASE(few_addresses)
SUPPORT_FAULT_CASE(no_descriptors)

/* --- the channel itself --- */

static void threads(void)
{
	support_sentences_of_threads(&buddy);
}

static void children(void)
{
	support_sentences_of_children(&buddy);
}

static shmbuddy_t *handlers;
static volatile sig_atomic_t interrupted;

static void on_alarm(int sig)
{
	int saved = errno;

	(void)sig;
	shmbuddy_malloc(handlers, SIZE_MAX / 2);
	interrupted++;
	errno = saved;
}

/* The sentence is that of the last failure as a whole, never half of one failure and half of another. */
static void in_handlers(void)
{
	const struct itimerval often = { { 0, 50 }, { 0, 50 } }, never = { { 0, 0 }, { 0, 0 } };
	shmbuddy_t *region = buddy_open(support_path("main.shm"), MIB, 32, 1024);
	size_t rounds = support_scale(20000), theirs = 0;
	void (*before)(int);

	handlers = buddy_open(support_path("handler.shm"), MIB, 32, 512);
	before = signal(SIGVTALRM, on_alarm);
	setitimer(ITIMER_VIRTUAL, &often, NULL);
	for (size_t i = 0; i < rounds || (interrupted == 0 && i < 100 * rounds); i++) {
		const char *sentence;

		g_assert_cmpint(shmbuddy_free(region, 8), ==, -1);
		sentence = shmbuddy_errmsg();
		if (strstr(sentence, "main.shm: offset 0x8 is invalid: "))
			g_assert_true(g_str_has_suffix(sentence, "(EINVAL)"));
		else if (strstr(sentence, "handler.shm: cannot allocate a block of 9223372036854775808 bytes: ") &&
			 ++theirs)
			g_assert_true(g_str_has_suffix(sentence, "(ENOMEM)"));
		else
			g_error("mixed: \"%s\"", sentence);
	}
	setitimer(ITIMER_VIRTUAL, &never, NULL);
	signal(SIGVTALRM, before);
	g_test_message("%d interruptions, %zu of them last", (int)interrupted, theirs);
	buddy_close(region);
	buddy_close(handlers);
}

static void debug_lines_are_the_sentences(void)
{
	char *text, **lines;
	shmbuddy_t *region;
	GRegex *regex;

	if (!support_in_process_with("SHMBUDDY_DEBUG", "1"))
		return;
	region = buddy_open(support_path("lines.shm"), MIB, 32, 1024);
	support_capture_begin();
	g_assert_cmpuint(shmbuddy_getroot(region, "absent"), ==, SHM_NULL);
	g_assert_cmpuint(shmbuddy_malloc(region, 5000), ==, SHM_NULL);
	g_assert_cmpuint(shmbuddy_malloc(NULL, 10), ==, SHM_NULL);
	buddy_close(region);
	g_assert_cmpuint(shmbuddy_malloc(region, 10), ==, SHM_NULL);
	g_assert_null(shmbuddy_open(support_dir(), NULL));
	text = support_capture_end();
	lines = g_strsplit(text, "\n", -1);
	regex = g_regex_new(
		"^shmbuddy\\[\\d+\\] \\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z: .*: .*; .* \\(E[A-Z]+\\)$", 0,
		0, NULL);
	g_assert_cmpuint(g_strv_length(lines), ==, 5);
	for (size_t i = 0; i < 4; i++)
		if (!g_regex_match(regex, lines[i], 0, NULL))
			g_error("debug line: \"%s\"", lines[i]);
	g_assert_nonnull(strstr(lines[0], "lines.shm: cannot allocate a block of 8192 bytes: "));
	g_assert_nonnull(strstr(lines[1], "the region is NULL"));
	g_assert_nonnull(strstr(lines[2], "lines.shm: the region is closed"));
	g_assert_true(g_str_has_suffix(lines[3], shmbuddy_errmsg()));
	g_regex_unref(regex);
	g_strfreev(lines);
	g_free(text);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/errmsg/opening", opening);
	support_add("/shmbuddy/errmsg/other-libraries", other_libraries);
	support_add("/shmbuddy/errmsg/in-memory", in_memory);
	support_add("/shmbuddy/errmsg/closed", closed);
	support_add("/shmbuddy/errmsg/region", on_a_region);
	support_add("/shmbuddy/errmsg/read-only", read_only);
	support_add("/shmbuddy/errmsg/growing", growing);
	support_add("/shmbuddy/errmsg/after-closing", after_closing);
	support_add("/shmbuddy/errmsg/shim", shim);
	support_add("/shmbuddy/errmsg/full-disk", full_disk_in_child);
	support_add("/shmbuddy/errmsg/sick-disk", sick_disk_in_child);
	support_add("/shmbuddy/errmsg/no-locks", no_locks_in_child);
	support_add("/shmbuddy/errmsg/no-addresses", no_addresses_in_child);
	support_add("/shmbuddy/errmsg/few-addresses", few_addresses_in_child);
	support_add("/shmbuddy/errmsg/no-descriptors", no_descriptors_in_child);
	support_add("/shmbuddy/errmsg/threads", threads);
	support_add("/shmbuddy/errmsg/children", children);
	support_add("/shmbuddy/errmsg/handlers", in_handlers);
	support_add("/shmbuddy/errmsg/debug-line", debug_lines_are_the_sentences);
	return support_run();
}
