/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every failure as a sentence: what failed, with the name or the number; why; what to do; errno. Each is provoked once, and is there
 * whether or not QALLOC_DEBUG is set.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_qalloc.h"
#include "tests/support/support_sentence.h"

static void fail_first(void)
{
	g_assert_cmpint(qalloc_close(NULL), ==, -1);
}

static const struct support_errmsg qalloc = { "qalloc", qalloc_errmsg, fail_first };

#define SAYS(call, error, part) says(&qalloc, call, error, part)

static void making(void)
{
	const char *path = support_path("new.map");
	off_t size = (off_t)MIB;

	SAYS(qalloc_makedynmap(size, NULL, NULL, 1), EINVAL, "file name is NULL");
	SAYS(qalloc_makedynmap(size, NULL, path, 1025), EINVAL, "1025");
	SAYS(qalloc_makedynmap(size, (void *)0x1001, path, 1), EINVAL, "0x1001");
	SAYS(qalloc_makedynmap(-5, NULL, path, 1), EINVAL, "-5");
	SAYS(qalloc_makestatmap(size, NULL, path, SIZE_MAX, 1), EINVAL, support_digits(SIZE_MAX));
	SAYS(qalloc_makestatmap(size, NULL, path, 0, 1), EINVAL, "new.map: cannot create it with items of 0 bytes");
	SAYS(qalloc_makestatmap(size, NULL, path, 2 * MIB, 1), EINVAL, "1048576");
	SAYS(qalloc_makedynmap((off_t)1 << 47, NULL, path, 1), EINVAL, "140737488355328");
	SAYS(qalloc_makedynmap(size, NULL, "/proc/nonexistent/x.map", 1), ENOENT,
	     "/proc/nonexistent/x.map: cannot open it: no such file");
	SAYS(qalloc_makedynmap(size, NULL, support_dir(), 1), EISDIR, "a directory");
}

/* The size that the sentence names is the smallest indeed. */
static void smallest_of(size_t item)
{
	const char *path = support_path("smallest.map"), *at;
	size_t smallest;

	SAYS(item ? (void *)qalloc_makestatmap(100, NULL, path, item, 1) : qalloc_makedynmap(100, NULL, path, 1),
	     EINVAL, "100");
	at = strstr(qalloc_errmsg(), "the smallest map has ");
	g_assert_nonnull(at);
	smallest = strtoull(at + strlen("the smallest map has "), NULL, 10);
	g_assert_null(item ? (void *)qalloc_makestatmap((off_t)smallest - 1, NULL, path, item, 1)
			   : qalloc_makedynmap((off_t)smallest - 1, NULL, path, 1));
	if (item)
		support_finish(support_stat(path, smallest, item, 1), path);
	else
		support_finish(support_dyn(path, smallest, 1), path);
}

static void smallest(void)
{
	smallest_of(0);
	smallest_of(8);
	smallest_of(1000);
	smallest_of(100000);
}

static void opening(void)
{
	const char *path = support_path("a.map"), *text = support_path("text"), *fifo = support_path("fifo"),
		   *stat = support_path("items.map");
	dynmapinfo_t *map = support_dyn(path, MIB, 2);
	mapinfo_t *items = support_stat(stat, MIB, 64, 1);

	SAYS(qalloc_loadmap(NULL), EINVAL, "file name is NULL");
	SAYS(qalloc_open(path, 77), EINVAL, "a.map: cannot open it with flags 0x4d");
	SAYS(qalloc_open(support_path("none.map"), 0), ENOENT, "none.map: cannot open it: no such file");
	SAYS(qalloc_open(path, QALLOC_RDONLY), EBUSY, "a.map: cannot open it: this process has it open");
	SAYS(qalloc_makedynmap((off_t)MIB, NULL, path, 3), EINVAL, "a.map: cannot open it with 3 streams: it has 2");
	SAYS(qalloc_makestatmap((off_t)MIB, NULL, stat, 72, 1), EINVAL, "72 bytes: it has items of 64");
	SAYS(qalloc_makestatmap((off_t)MIB, NULL, path, 8, 1), EPROTOTYPE, "it is a dynamic map of libqalloc");
	support_close(map);
	support_close(items);
	SAYS(qalloc_makedynmap((off_t)MIB, NULL, stat, 1), EPROTOTYPE, "it is a static map of libqalloc");
	support_file_write(text, "just a text, and a long one", 27);
	SAYS(qalloc_loadmap(text), EMEDIUMTYPE, "text: cannot open it: it is not a map");
	g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
	SAYS(qalloc_loadmap(fifo), EINVAL, "fifo: cannot open it: it is a device, a FIFO or a socket");
	SAYS(qalloc_loadmap("/dev/null/x"), ENOTDIR, "/dev/null/x");
	g_assert_cmpint(truncate(path, 100000), ==, 0);
	SAYS(qalloc_loadmap(path), ENODATA, "a.map: cannot open it: it is shorter than its header says");
}

static void other_libraries(void)
{
	static const char *const golden[][2] = {
		{ "mmalloc-1.map", "a heap of libmmalloc, which mmalloc_attach() opens" },
		{ "shmbuddy-1.map", "a region of libshmbuddy, which shmbuddy_open() opens" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(golden); i++) {
		char *path = g_build_filename(MA_TEST_SRCDIR, "golden", golden[i][0], NULL);

		SAYS(qalloc_open(path, QALLOC_RDONLY), EPROTOTYPE, golden[i][1]);
		g_free(path);
	}
}

static void address(void)
{
	const char *path = support_path("b.map");
	dynmapinfo_t *map = support_dyn(path, MIB, 1);
	void *base = support_base(map);

	support_close(map);
	g_assert_true(mmap(base, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == base);
	SAYS(qalloc_loadmap(path), EADDRINUSE, "b.map: cannot map it: its address");
	munmap(base, 4096);
}

static int count(void *block, size_t size, void *arg)
{
	(void)block, (void)size, (void)arg;
	return 0;
}

static void dynamic(void)
{
	const char *path = support_path("d.map");
	dynmapinfo_t *map = support_dyn(path, MIB, 1);
	char *block = qalloc_dynmalloc(map, 100), *where = g_strdup_printf("%p", (void *)(block + 1));
	struct qalloc_stats stats;
	int local;

	SAYS(qalloc_dynmalloc(map, 5 * MIB), ENOMEM, "d.map: block is too large: no room for a block of 5242880 bytes in a map for ");
	SAYS(qalloc_calloc(map, SIZE_MAX, 3), ENOMEM, "d.map: cannot allocate");
	SAYS(qalloc_memalign(map, 48, 10), EINVAL, "d.map: alignment of 48 is invalid");
	SAYS(qalloc_memalign(map, 16 * MIB, 10), ENOMEM, "a block of 10 bytes aligned to 16777216");
	SAYS(qalloc_free(block + 1, map), EINVAL, where);
	SAYS(qalloc_realloc(map, block + 1, 200), EINVAL, where);
	SAYS(qalloc_realloc(map, block, 8 * MIB), ENOMEM, "8388608");
	SAYS(qalloc_usable_size(map, block + 1), EINVAL, where);
	SAYS(qalloc_statmalloc((mapinfo_t *)(void *)map), EINVAL, "d.map: wrong call: it is a dynamic map");
	SAYS(qalloc_statfree(block, (mapinfo_t *)(void *)map), EINVAL, "d.map: wrong call");
	SAYS(qalloc_setroot(map, "", block), EINVAL, "d.map: invalid root name: it is empty");
	SAYS(qalloc_setroot(map, NULL, block), EINVAL, "d.map: invalid root name: it is NULL");
	SAYS(qalloc_getroot(map, "12345678901234567890123456789012345678901234567890123456789012345"), EINVAL,
	     "too long");
	SAYS(qalloc_setroot(map, "notes", &local), EINVAL, "d.map: cannot set root \"notes\"");
	SAYS(qalloc_getroot(map, "notes"), ENOENT, "d.map: no such root: \"notes\" is not set");
	SAYS(qalloc_walk(map, NULL, NULL), EINVAL, "d.map: cannot walk");
	SAYS(qalloc_stats(map, NULL), EINVAL, "d.map: cannot return statistics");
	SAYS(qalloc_snapshot(map, NULL), EINVAL, "d.map: cannot make a snapshot");
	SAYS(qalloc_snapshot(map, path), EINVAL, "it is the map itself");
	SAYS(qalloc_snapshot(map, support_dir()), EISDIR, "a directory");
	SAYS(qalloc_snapshot(map, "/proc/nonexistent/s.map"), ENOENT, "/proc/nonexistent/s.map: cannot make a snapshot");
	qalloc_free(block, map);
	SAYS(qalloc_free(block, map), EINVAL, "look for a double free");
	support_close(map);
	SAYS(qalloc_malloc(map, 8), EBADF, "d.map: the map is closed");
	SAYS(qalloc_free(block, map), EBADF, "d.map: the map is closed");
	SAYS(qalloc_stats(map, &stats), EBADF, "d.map: the map is closed");
	SAYS(qalloc_walk(map, count, NULL), EBADF, "d.map: the map is closed");
	SAYS(qalloc_close(map), EBADF, "d.map: the map is closed");
	g_free(where);
}

static void is_static(void)
{
	mapinfo_t *map = support_stat(support_path("s.map"), 64 * KIB, 64, 1);
	char *item = qalloc_statmalloc(map), *where = g_strdup_printf("%p", (void *)(item + 1));

	SAYS(qalloc_calloc(map, 10, 10), EINVAL, "s.map: cannot allocate 100 bytes: an item of this static map has 64");
	SAYS(qalloc_calloc(map, SIZE_MAX, 2), ENOMEM, "s.map: cannot allocate");
	SAYS(qalloc_realloc(map, item, 65), EINVAL, "65");
	SAYS(qalloc_realloc(map, item + 1, 10), EINVAL, where);
	SAYS(qalloc_memalign(map, 128, 10), EINVAL, "s.map: alignment of 128");
	SAYS(qalloc_usable_size(map, item + 1), EINVAL, where);
	SAYS(qalloc_statfree(item + 1, map), EINVAL, where);
	SAYS(qalloc_dynmalloc((dynmapinfo_t *)(void *)map, 8), EINVAL, "s.map: wrong call: it is a static map");
	while (qalloc_statmalloc(map))
		;
	SAYS(qalloc_statmalloc(map), ENOMEM, "s.map: map is full: no item of 64 bytes");
	SAYS(qalloc_malloc(map, 8), ENOMEM, "s.map: map is full: no item of 64 bytes");
	support_close(map);
	g_free(where);
}

static void read_only(void)
{
	const char *path = support_path("r.map"), *items = support_path("ri.map");
	dynmapinfo_t *made = support_dyn(path, MIB, 1);
	void *block = qalloc_dynmalloc(made, 100), *map;

	support_close(made);
	support_close(support_stat(items, MIB, 16, 1));
	map = support_open(path, QALLOC_RDONLY);
	SAYS(qalloc_malloc(map, 8), EROFS, "r.map: cannot change it: it is open read-only");
	SAYS(qalloc_free(block, map), EROFS, "r.map: cannot change it");
	SAYS(qalloc_realloc(map, block, 1000), EROFS, "r.map: cannot change it");
	SAYS(qalloc_memalign(map, 64, 100), EROFS, "r.map: cannot change it");
	SAYS(qalloc_setroot(map, "a", block), EROFS, "r.map: cannot change it");
	SAYS(qalloc_trim(map), EROFS, "r.map: cannot change it");
	support_close(map);
	map = support_open(items, QALLOC_RDONLY);
	SAYS(qalloc_malloc(map, 8), EROFS, "ri.map: cannot change it");
	SAYS(qalloc_trim(map), EROFS, "ri.map: cannot change it");
	SAYS(qalloc_free((char *)support_base(map) + 8, map), EROFS, "ri.map: cannot change it");
	support_close(map);
}

static void damaged(void)
{
	const char *path = support_path("w.map");
	dynmapinfo_t *map = support_dyn(path, MIB, 1);
	struct qalloc_stats stats = support_stats(map);
	char *block = qalloc_dynmalloc(map, 100), *copy = g_strdup_printf("%s.copy", path);
	gsize bytes;
	char *text;

	qalloc_setroot(map, "a", block);
	(void)stats;
	support_close(map);
	g_assert_true(g_file_get_contents(path, &text, &bytes, NULL));
	for (size_t at = 4096; at < 120 * KIB; at++) /* A copy is checked whole: this damages its allocation bytes. */
		if (text[at] == 1)
			text[at] = 7;
	g_assert_true(g_file_set_contents(copy, text, (gssize)bytes, NULL));
	g_assert_cmpint(chmod(copy, 0600), ==, 0);
	SAYS(qalloc_loadmap(copy), EUCLEAN, "w.map.copy: ");
	text[20]++;
	g_assert_true(g_file_set_contents(copy, text, (gssize)bytes, NULL));
	SAYS(qalloc_loadmap(copy), EOPNOTSUPP, "w.map.copy: ");
	g_free(text);
	g_free(copy);
}

/* --- the machine's fault --- */

static int full_disk(void *arg)
{
	dynmapinfo_t *map = support_dyn(support_path("f.map"), 16 * MIB, 1);
	mapinfo_t *items = support_stat(support_path("fi.map"), 16 * MIB, 4096, 1);

	(void)arg;
	if (!support_make_fail(SYS_fallocate, -1, ENOSPC))
		return SUPPORT_CANNOT;
	SAYS(qalloc_dynmalloc(map, 5000000), ENOSPC, "f.map: no disk space for a block of 5000000 bytes");
	SAYS(qalloc_makedynmap((off_t)MIB, NULL, support_path("g.map"), 1), ENOSPC, "g.map: no disk space");
	while (qalloc_statmalloc(items))
		;
	SAYS(qalloc_statmalloc(items), ENOSPC, "fi.map: no disk space for an item of 4096 bytes");
	return 0;
}

static int sick_disk(void *arg)
{
	const char *path = support_path("i.map");
	dynmapinfo_t *map = support_dyn(path, MIB, 1);

	(void)arg;
	if (!support_make_fail(SYS_msync, -1, EIO))
		return SUPPORT_CANNOT;
	SAYS(qalloc_sync(map), EIO, "i.map: cannot write to disk");
	support_close(map);
	if (!support_make_fail(SYS_ftruncate, -1, EFBIG))
		return SUPPORT_CANNOT;
	SAYS(qalloc_makedynmap((off_t)MIB, NULL, support_path("j.map"), 1), EFBIG,
	     "j.map: cannot create it: the file cannot be");
	map = support_load(path);
	SAYS(qalloc_snapshot(map, support_path("snap.map")), EFBIG, "i.map");
	support_close(map);
	if (!support_make_fail(SYS_pread64, -1, EIO))
		return SUPPORT_CANNOT;
	SAYS(qalloc_loadmap(path), EIO, "i.map: cannot open it: it cannot be read");
	return 0;
}

static int no_locks(void *arg)
{
	(void)arg;
	if (!support_make_fail(SYS_fcntl, F_OFD_SETLK, EINVAL))
		return SUPPORT_CANNOT;
	SAYS(qalloc_makedynmap((off_t)MIB, NULL, support_path("l.map"), 1), ENOLCK, "l.map: cannot lock it");
	return 0;
}

static int no_files(void *arg)
{
	const struct rlimit few = { 3, 3 };

	(void)arg;
	unsetenv("MA_TEST_SENTENCES");
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
	SAYS(qalloc_loadmap("n.map"), EMFILE, "n.map: cannot open it: this process has too many open files");
	return 0;
}

static int no_addresses(void *arg)
{
	const char *path = support_path("v.map");
	const struct rlimit few = { GIB, GIB };

	(void)arg;
	support_close(support_dyn(path, 4 * GIB, 1));
	if (setrlimit(RLIMIT_AS, &few) < 0)
		return SUPPORT_CANNOT;
	SAYS(qalloc_loadmap(path), ENOMEM, "v.map: cannot map 429");
	return 0;
}

static void *without_memory(void *arg)
{
	(void)arg;
	errno = 0;
	g_assert_cmpint(qalloc_close(NULL), ==, -1);
	assert_errno_is(EBADF);
	g_assert_nonnull(strstr(qalloc_errmsg(), "no memory was left to describe it; "));
	return NULL;
}

/* The first thread's sentence has its memory from the start; another one's is lost, and its call fails as it would have. */
static int no_memory(void *arg)
{
	static char stack[256 * 1024] __attribute__((aligned(4096)));
	pthread_attr_t attr;
	pthread_t thread;

	(void)arg;
	SAYS(qalloc_loadmap(support_path("m.map")), ENOENT, "m.map");
	g_assert_cmpint(pthread_attr_init(&attr), ==, 0);
	g_assert_cmpint(pthread_attr_setstack(&attr, stack, sizeof(stack)), ==, 0);
	if (!support_make_fail(SYS_mmap, -1, ENOMEM))
		return SUPPORT_CANNOT;
	g_assert_cmpint(pthread_create(&thread, &attr, without_memory, NULL), ==, 0);
	g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
	SAYS(qalloc_loadmap(support_path("m.map")), ENOENT, "m.map");
	return 0;
}

SUPPORT_FAULT_CASE(full_disk)
SUPPORT_FAULT_CASE(sick_disk)
SUPPORT_FAULT_CASE(no_locks)
SUPPORT_FAULT_CASE(no_files)
SUPPORT_FAULT_CASE(no_addresses)
SUPPORT_FAULT_CASE(no_memory)

/* --- the channel itself --- */

static void threads(void)
{
	support_sentences_of_threads(&qalloc);
}

static void children(void)
{
	support_sentences_of_children(&qalloc);
}

/* "qalloc[PID] TIME: " and the sentence; not for roots that are asked for. */
static void debug_line_is_the_sentence(void)
{
	char *text, *line;
	dynmapinfo_t *map;
	GRegex *regex;

	if (!support_in_process_with("QALLOC_DEBUG", "1"))
		return;
	map = support_dyn(NULL, MIB, 1);
	support_capture_begin();
	g_assert_null(qalloc_dynmalloc(map, 3 * MIB));
	g_assert_null(qalloc_getroot(map, "absent"));
	text = support_capture_end();
	regex = g_regex_new("^qalloc\\[\\d+\\] \\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z: .*: block is too large: "
			    "[^\\n]*; [^\\n]* "
			    "\\(ENOMEM\\)\\n$",
			    0, 0, NULL);
	if (!g_regex_match(regex, text, 0, NULL))
		g_error("debug line: \"%s\"", text);
	g_regex_unref(regex);
	g_free(text);
	support_capture_begin();
	g_assert_null(qalloc_dynmalloc(map, 3 * MIB));
	text = support_capture_end();
	line = g_strdup_printf(": %s\n", qalloc_errmsg());
	g_assert_true(g_str_has_suffix(text, line));
	g_free(line);
	g_free(text);
	support_close(map);
}

/* A name as long as names can be does not push the advice and the errno out. */
static void long_names(void)
{
	char *name = g_strnfill(4000, 'x');

	SAYS(qalloc_loadmap(name), ENAMETOOLONG, "xxxx: cannot open it: the name is too long");
	g_free(name);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/errmsg/making", making);
	support_add("/qalloc/errmsg/smallest", smallest);
	support_add("/qalloc/errmsg/opening", opening);
	support_add("/qalloc/errmsg/other-libraries", other_libraries);
	support_add("/qalloc/errmsg/address", address);
	support_add("/qalloc/errmsg/dynamic", dynamic);
	support_add("/qalloc/errmsg/static", is_static);
	support_add("/qalloc/errmsg/read-only", read_only);
	support_add("/qalloc/errmsg/damaged", damaged);
	support_add("/qalloc/errmsg/full-disk", full_disk_in_child);
	support_add("/qalloc/errmsg/sick-disk", sick_disk_in_child);
	support_add("/qalloc/errmsg/no-locks", no_locks_in_child);
	support_add("/qalloc/errmsg/no-files", no_files_in_child);
	support_add("/qalloc/errmsg/no-addresses", no_addresses_in_child);
	support_add("/qalloc/errmsg/no-memory", no_memory_in_child);
	support_add("/qalloc/errmsg/threads", threads);
	support_add("/qalloc/errmsg/children", children);
	support_add("/qalloc/errmsg/debug-line", debug_line_is_the_sentence);
	support_add("/qalloc/errmsg/long-names", long_names);
	return support_run();
}
