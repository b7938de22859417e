/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checkpoint file by itself, on all the disks that a power cut may leave: the last checkpoint whose call had returned is there, or the one
 * whose call had begun, each page as it was; never anything else, never an error.
 */
#include "common/ckpt.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/power/disk.h"

#define PAGES 64
#define MOST  200
#define DISKS 6

static const uint8_t uuid[16] = { 1, 2, 3 };

/* What each checkpoint must be: a number for each page, 0 for zeros. */
struct state {
	uint32_t page[PAGES];
	uint64_t length;
};

/* A map that is only numbers, and its checkpoints. */
static struct {
	struct ma_ckpt ckpt;
	const char *path;
	struct state now;
	uint64_t made; /* Numbers of checkpoints whose calls returned. */
	size_t tries;
	struct
	try {
		uint64_t number;
		struct state state;
		size_t begun, returned; /* Operations before the call, and when it returned 0; else SIZE_MAX. */
	}
	try[MOST];
} map;

static void page_bytes(uint32_t number, void *bytes)
{
	uint32_t *word = bytes;

	for (size_t i = 0; i < MA_PAGE / sizeof(*word); i++)
		word[i] = number ? number * 2654435761u + (uint32_t)i : 0;
}

static void use(struct ma_ckpt *c, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(ma_ckpt_use(c, fd), ==, 0);
}

static void start(const char *name)
{
	memset(&map, 0, sizeof(map));
	map.path = support_path(name);
	disk_watch(map.path);
	ma_ckpt_init(&map.ckpt, uuid, "map");
}

/* All pages are put, as a process does that does not know which changed; or one of these. */
static int put(uint64_t page)
{
	char bytes[MA_PAGE];

	page_bytes(map.now.page[page], bytes);
	return ma_ckpt_put(&map.ckpt, page, bytes);
}

static int checkpoint(void)
{
	struct try *try = &map.try[map.tries++];
	int result = 0;

	g_assert_cmpuint(map.tries, <, MOST);
	use(&map.ckpt, map.path);
	*try = (struct try){ map.made + 1, map.now, disk_steps(), SIZE_MAX };
	result = ma_ckpt_begin(&map.ckpt, map.made);
	for (uint64_t page = 0; result == 0 && page < PAGES; page++)
		result = put(page);
	if (result == 0)
		result = ma_ckpt_commit(&map.ckpt, map.now.length);
	if (result == 0) {
		g_assert_cmpuint(map.ckpt.number, ==, map.made + 1);
		try->returned = disk_steps();
		map.made++;
	}
	ma_ckpt_close(&map.ckpt);
	return result;
}

static void change(struct support_rand *r, size_t most)
{
	for (size_t n = support_rand_between(r, 1, most); n > 0; n--)
		map.now.page[support_rand_below(r, PAGES)] =
			support_rand_below(r, 8) ? (uint32_t)support_rand_next(r) : 0;
	map.now.page[0]++; /* So something did change. */
	map.now.length = PAGES * MA_PAGE - support_rand_below(r, 3) * 512u;
}

/* ---- looking ---- */

static gboolean is_state(struct ma_ckpt *c, const struct state *want)
{
	char bytes[MA_PAGE], right[MA_PAGE];

	if (c->length != want->length)
		return FALSE;
	for (uint64_t page = 0; page < PAGES; page++) {
		g_assert_cmpint(ma_ckpt_page(c, page, bytes), ==, 0);
		page_bytes(want->page[page], right);
		if (memcmp(bytes, right, MA_PAGE) != 0)
			return FALSE;
	}
	return TRUE;
}

/* Whatever was returned by then is there, or what was tried since. */
static gboolean is_one_of_the_tries(struct ma_ckpt *c, size_t steps)
{
	for (size_t i = map.tries; i-- > 0;) {
		const struct try *try = &map.try[i];

		if (try->begun > steps)
			continue;
		if (try->number == c->number && is_state(c, &try->state))
			return TRUE;
		if (try->returned <= steps)
			return FALSE;
	}
	return c->number == 0;
}

/* One more is made on that disk, and found again. */
static void go_on(struct ma_ckpt *c, const char *path)
{
	uint64_t number = c->number;
	char bytes[MA_PAGE];

	page_bytes(7, bytes);
	g_assert_cmpint(ma_ckpt_begin(c, 0), ==, 0);
	g_assert_cmpint(ma_ckpt_put(c, 3, bytes), ==, 0);
	g_assert_cmpint(ma_ckpt_commit(c, MA_PAGE), ==, 0);
	ma_ckpt_forget(c);
	use(c, path);
	g_assert_cmpint(ma_ckpt_read(c, true), ==, 0);
	g_assert_cmpuint(c->number, ==, number + 1);
	g_assert_cmpuint(ma_ckpt_check(c), ==, 0);
}

static void look(const char *path, size_t steps)
{
	struct ma_ckpt c;

	ma_ckpt_init(&c, uuid, "map after a cut");
	use(&c, path);
	if (ma_ckpt_read(&c, true) < 0)
		g_error("after %zu operations: %s", steps, g_strerror(errno));
	if (!is_one_of_the_tries(&c, steps))
		g_error("after %zu operations: checkpoint %" G_GUINT64_FORMAT " is none that was made", steps,
			c.number);
	go_on(&c, path);
	ma_ckpt_forget(&c);
}

static void cut_everywhere(void)
{
	const char *path = support_path("after");
	size_t disks = 0, stride = support_size(1, 40);

	for (size_t steps = 0; steps <= disk_steps(); steps += stride)
		for (uint64_t which = 0; which < (disk_is_open(steps) ? DISKS : 1); which++) {
			disk_after(steps, which, path);
			look(path, steps);
			disks++;
		}
	disk_report(disk_steps(), stride, disks);
}

/* ---- the tests ---- */

static void all_cuts(void)
{
	struct support_rand r;

	support_rand_seed(&r, 1);
	start("all");
	for (size_t i = 0; i < 100; i++) {
		change(&r, i % 9 == 0 ? PAGES : 5);
		g_assert_cmpint(checkpoint(), ==, 0);
	}
	cut_everywhere();
	ma_ckpt_forget(&map.ckpt);
}

/* A process that knows nothing of the file goes on with it. */
static void cuts_of_many_processes(void)
{
	struct support_rand r;

	support_rand_seed(&r, 2);
	start("many");
	for (size_t i = 0; i < 75; i++) {
		change(&r, 3);
		g_assert_cmpint(checkpoint(), ==, 0);
		if (i % 3 == 0)
			ma_ckpt_forget(&map.ckpt);
	}
	cut_everywhere();
	ma_ckpt_forget(&map.ckpt);
}

static void nothing_changed(void)
{
	size_t steps;

	start("nothing");
	map.now.page[5] = 1;
	map.now.length = PAGES * MA_PAGE;
	g_assert_cmpint(checkpoint(), ==, 0);
	steps = disk_steps();
	use(&map.ckpt, map.path);
	g_assert_cmpint(ma_ckpt_begin(&map.ckpt, 1), ==, 0);
	g_assert_cmpint(put(5), ==, 0);
	g_assert_cmpint(put(6), ==, 0);
	g_assert_cmpint(ma_ckpt_commit(&map.ckpt, map.now.length), ==, 0);
	g_assert_cmpuint(disk_steps(), ==, steps);
	g_assert_cmpuint(map.ckpt.number, ==, 1);
	ma_ckpt_forget(&map.ckpt);
}

/* The last checkpoint stays whole, and the next one has all that changed since. */
static void full_disks(void)
{
	struct support_rand r;
	gboolean is_full;
	unsigned times = 0;
	struct stat st;

	support_rand_seed(&r, 3);
	start("full");
	change(&r, PAGES);
	g_assert_cmpint(checkpoint(), ==, 0);
	for (size_t i = 0; i < 90; i++) {
		g_assert_cmpint(stat(map.path, &st), ==, 0);
		change(&r, 20);
		disk_limit((uint64_t)st.st_size + support_rand_below(&r, 4) * MA_PAGE);
		is_full = checkpoint() < 0;
		if (is_full)
			g_assert_cmpint(errno, ==, ENOSPC);
		times += is_full ? 1 : 0;
		disk_limit(0);
		if (is_full && i % 2)
			g_assert_cmpint(checkpoint(), ==, 0);
	}
	g_assert_cmpuint(times, >, 5);
	cut_everywhere();
	ma_ckpt_forget(&map.ckpt);
}

/* What a failed fdatasync(2) lost is not believed to be on the disk by the next one. */
static void failed_syncs(void)
{
	struct support_rand r;

	support_rand_seed(&r, 4);
	start("syncs");
	for (size_t i = 0; i < 90; i++) {
		change(&r, 4);
		if (i % 3 == 1) {
			disk_fail_sync(EIO);
			g_assert_cmpint(checkpoint(), ==, -1);
			g_assert_cmpint(errno, ==, EIO);
			change(&r, 4);
		}
		if (i % 2)
			ma_ckpt_forget(&map.ckpt);
		g_assert_cmpint(checkpoint(), ==, 0);
	}
	cut_everywhere();
	ma_ckpt_forget(&map.ckpt);
}

static void restores(void)
{
	const char *path = support_path("restored");
	int to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char got[MA_PAGE], right[MA_PAGE];

	start("restores");
	for (uint32_t i = 0; i < PAGES; i++)
		map.now.page[i] = i % 5 ? i : 0;
	map.now.length = PAGES * MA_PAGE - 512;
	g_assert_cmpint(checkpoint(), ==, 0);
	memset(right, 0x5a, sizeof(right));
	for (int i = 0; i < PAGES + 5; i++)
		g_assert_cmpint(pwrite(to, right, MA_PAGE, (off_t)MA_PAGE * i), ==, MA_PAGE);
	g_assert_cmpint(ma_ckpt_restore(&map.ckpt, to), <, 0);
	use(&map.ckpt, map.path);
	g_assert_cmpint(ma_ckpt_restore(&map.ckpt, to), ==, 0);
	g_assert_cmpint(lseek(to, 0, SEEK_END), ==, PAGES * MA_PAGE - 512);
	for (uint32_t i = 1; i < PAGES; i++) {
		ssize_t count = i == PAGES - 1 ? MA_PAGE - 512 : MA_PAGE;

		page_bytes(map.now.page[i], right);
		g_assert_cmpint(pread(to, got, MA_PAGE, (off_t)MA_PAGE * i), ==, count);
		g_assert_true(memcmp(got, right, (size_t)count) == 0);
	}
	close(to);
	ma_ckpt_forget(&map.ckpt);
}

static void flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char byte;

	g_assert_cmpint(pread(fd, &byte, 1, at), ==, 1);
	byte ^= 1;
	g_assert_cmpint(pwrite(fd, &byte, 1, at), ==, 1);
	close(fd);
}

/* A bit that fell over on the disk is EUCLEAN, never wrong contents. */
static void damaged_pages(void)
{
	const char *path = support_path("restored");
	int to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	off_t place;

	start("damaged");
	for (uint32_t i = 0; i < PAGES; i++)
		map.now.page[i] = i + 1;
	map.now.length = PAGES * MA_PAGE;
	g_assert_cmpint(checkpoint(), ==, 0);
	place = (off_t)ma_pagetable_get(&map.ckpt.table, 9).place;
	flip(map.path, place * (off_t)MA_PAGE + 77);
	use(&map.ckpt, map.path);
	g_assert_cmpint(ma_ckpt_read(&map.ckpt, true), ==, 0);
	g_assert_cmpuint(ma_ckpt_check(&map.ckpt), ==, 1);
	g_assert_cmpint(ma_ckpt_restore(&map.ckpt, to), ==, -1);
	g_assert_cmpint(errno, ==, EUCLEAN);
	close(to);
	ma_ckpt_forget(&map.ckpt);
}

static void other_maps(void)
{
	static const uint8_t other[16] = { 9 };
	struct ma_ckpt c;

	start("others");
	map.now.page[1] = 1;
	g_assert_cmpint(checkpoint(), ==, 0);
	ma_ckpt_init(&c, other, "another map");
	use(&c, map.path);
	g_assert_cmpint(ma_ckpt_read(&c, false), ==, -1);
	g_assert_cmpint(errno, ==, EUCLEAN);
	ma_ckpt_forget(&c);
	ma_ckpt_forget(&map.ckpt);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/power/ckpt/all-cuts", all_cuts);
	support_add("/power/ckpt/cuts-of-many-processes", cuts_of_many_processes);
	support_add("/power/ckpt/nothing-changed", nothing_changed);
	support_add("/power/ckpt/full-disks", full_disks);
	support_add("/power/ckpt/failed-syncs", failed_syncs);
	support_add("/power/ckpt/restores", restores);
	support_add("/power/ckpt/damaged-pages", damaged_pages);
	support_add("/power/ckpt/other-maps", other_maps);
	return support_run();
}
