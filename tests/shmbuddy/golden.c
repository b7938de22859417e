/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions that an earlier build made must open for ever; damaged ones must be refused, each for its own reason. */
#include <stdio.h>
#include <sys/mman.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_golden.h"

static const struct support_damaged damaged[] = {
	{ "bad-magic.map", EMEDIUMTYPE, "no magic number" },
	{ "bad-half.map", EMEDIUMTYPE, "never finished" },
	{ "bad-tiny.map", ENODATA, "truncated" },
	{ "dynamic-1.map", EPROTOTYPE, "cannot open it here: it is a" },
	{ "static-1.map", EPROTOTYPE, "cannot open it here: it is a" },
	{ "mmalloc-1.map", EPROTOTYPE, "cannot open it here: it is a" },
	{ "bad-shmbuddy-format.map", EPROTONOSUPPORT, "format version" },
	{ "bad-shmbuddy-incompat.map", EOPNOTSUPP, "needs features" },
	{ "bad-shmbuddy-rocompat.map", EOPNOTSUPP, "only read" },
	{ "bad-shmbuddy-order.map", ENOEXEC, "byte order" },
	{ "bad-shmbuddy-word.map", ENOEXEC, "word size" },
	{ "bad-shmbuddy-page.map", ENOEXEC, "page size" },
	{ "bad-shmbuddy-crc.map", EBADMSG, "checksum" },
	{ "bad-shmbuddy-base.map", EBADMSG, "base" },
	{ "bad-shmbuddy-length.map", EBADMSG, "contradict" },
	{ "bad-shmbuddy-short.map", ENODATA, "truncated" },
	{ "bad-shmbuddy-small.map", EUCLEAN, "damaged body" },
	{ "bad-shmbuddy-range.map", EUCLEAN, "damaged body" },
	{ "bad-shmbuddy-end.map", EUCLEAN, "beyond the end of the area" },
	{ "bad-shmbuddy-area.map", EUCLEAN, "damaged body" },
	{ "bad-shmbuddy-smallest.map", EUCLEAN, "damaged body" },
	{ "bad-shmbuddy-largest.map", EUCLEAN, "damaged body" },
	{ "bad-shmbuddy-part.map", EUCLEAN, "damaged body" },
	{ "bad-shmbuddy-flags.map", EUCLEAN, "damaged body" },
	{ "bad-shmbuddy-spare.map", EUCLEAN, "damaged body" },
	{ "bad-shmbuddy-total.map", EUCLEAN, "damaged body" },
	{ "bad-shmbuddy-tree.map", EUCLEAN, "no tree of blocks" },
	{ "bad-shmbuddy-split.map", EUCLEAN, "upper leaf is not split" },
	{ "bad-shmbuddy-top.map", EUCLEAN, "top word is closed" },
	{ "bad-shmbuddy-lost.map", EUCLEAN, "a part without disk space is in use" },
};

/* Existing ones only: a half-made one would be finished. */
static void *open_file(const char *path)
{
	const struct shmbuddy_options options = { .flags = SHMBUDDY_EXISTING };

	return shmbuddy_open(path, &options);
}

static void check_content(shmbuddy_t *region)
{
	struct shmbuddy_stats stats = buddy_stats(region);
	shm_offt block = shmbuddy_getroot(region, NULL);
	size_t blocks = 1;
	char name[20];

	g_assert_cmpstr(shmbuddy_address(region, block), ==, "golden block");
	g_assert_cmpuint(shmbuddy_usable_size(region, block), ==, stats.smallest);
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "root %d", i);
		g_assert_cmpuint(shmbuddy_getroot(region, name), ==, block + (shm_offt)i % 13);
	}
	for (uint64_t size = stats.smallest; size <= stats.largest; size *= 2, blocks++) {
		snprintf(name, sizeof(name), "block %d", g_bit_nth_lsf((gulong)size, -1));
		g_assert_cmpuint(shmbuddy_usable_size(region, shmbuddy_getroot(region, name)), ==, size);
	}
	buddy_fails(ENOENT, !shmbuddy_getroot(region, "gone"));
	if (shmbuddy_getroot(region, "last")) {
		g_assert_cmpuint(shmbuddy_getroot(region, "last"), >, stats.region_bytes - 52 * KIB);
		g_assert_cmpuint(shmbuddy_usable_size(region, shmbuddy_getroot(region, "last")), ==, stats.largest);
		blocks++;
	}
	g_assert_cmpuint(stats.used_blocks, ==, blocks);
}

static void use_all(shmbuddy_t *region)
{
	shm_offt *blocks = g_new(shm_offt, 4096);
	struct shmbuddy_stats stats = buddy_stats(region);
	size_t rest = (stats.capacity - stats.used_bytes) / stats.smallest;

	g_assert_cmpuint(buddy_fill(region, 1, blocks, 4096), ==, rest);
	buddy_check(region);
	buddy_free_all(region);
	buddy_is_empty(region);
	g_free(blocks);
}

static void opens_file(const char *name)
{
	const struct shmbuddy_options look = { .flags = SHMBUDDY_RDONLY };
	const char *copy = support_golden_copy(name);
	shmbuddy_t *region = shmbuddy_open(copy, &look);

	g_assert_nonnull(region);
	check_content(region);
	buddy_close(region);
	region = buddy_open(copy, 0, 0, 0);
	check_content(region);
	use_all(region);
	buddy_close(region);
}

static void opens(void)
{
	opens_file("shmbuddy-1.map");
	opens_file("shmbuddy-flat-1.map");
	opens_file("shmbuddy-memory-1.map");
	opens_file("shmbuddy-grown-1.map");
}

static void joins(void)
{
	char *bytes = support_file_read(MA_TEST_SRCDIR "/golden/shmbuddy-memory-1.map", NULL);
	char *memory = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shmbuddy_t *region;

	memcpy(memory + 64, bytes, 24 * KIB);
	region = shmbuddy_join(memory + 64);
	g_assert_nonnull(region);
	check_content(region);
	use_all(region);
	buddy_close(region);
	munmap(memory, 64 * KIB);
	g_free(bytes);
}

/* Stored without its blocks: as long as it says it is, it opens. */
static void opens_parts(void)
{
	const char *copy = support_golden_copy("shmbuddy-parts-1.map");
	struct shmbuddy_stats stats;
	shmbuddy_t *region;
	char *bytes = support_file_read(copy, NULL);
	uint64_t length;

	buddy_fails(ENODATA, !open_file(copy));
	memcpy(&length, bytes + 192, sizeof(length));
	g_assert_cmpint(truncate(copy, (off_t)length), ==, 0);
	region = buddy_open(copy, 4 * MIB, 4096, 64 * KIB);
	stats = buddy_stats(region);
	g_assert_cmpuint(stats.parts, ==, 2);
	g_assert_cmpuint(stats.backed_bytes, ==, 4 * MIB);
	g_assert_cmpuint(stats.used_blocks, ==, 37);
	use_all(region);
	buddy_close(region);
	g_free(bytes);
}

static void reads_rocompat(void)
{
	const struct shmbuddy_options look = { .flags = SHMBUDDY_RDONLY };
	shmbuddy_t *region = shmbuddy_open(support_golden_copy("bad-shmbuddy-rocompat.map"), &look);

	g_assert_nonnull(region);
	check_content(region);
	buddy_close(region);
}

static void refuses(gconstpointer data)
{
	const struct support_damaged *d = data;
	const struct shmbuddy_options look = { .flags = SHMBUDDY_RDONLY };
	const char *copy;

	if (!support_in_process_with("SHMBUDDY_DEBUG", "1"))
		return;
	copy = support_refuses(d, open_file);
	if (strcmp(d->name, "bad-shmbuddy-rocompat.map") != 0)
		buddy_fails(d->error, !shmbuddy_open(copy, &look));
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/golden/opens", opens);
	support_add("/shmbuddy/golden/joins", joins);
	support_add("/shmbuddy/golden/opens-parts", opens_parts);
	support_add("/shmbuddy/golden/reads-rocompat", reads_rocompat);
	for (size_t i = 0; i < G_N_ELEMENTS(damaged); i++) {
		char *path = g_strdup_printf("/shmbuddy/golden/refuses/%s", damaged[i].name);

		g_test_add_data_func(path, &damaged[i], refuses);
		g_free(path);
	}
	return support_run();
}
