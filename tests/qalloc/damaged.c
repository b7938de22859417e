/* SPDX-License-Identifier: BSD-3-Clause */
/* Damaged maps: each byte of the header, the body, noise. A documented errno, or a map that works. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/support_qalloc.h"

/* --- damage --- */

static bool is_documented(int error)
{
	static const int all[] = { EMEDIUMTYPE, EPROTOTYPE, EPROTONOSUPPORT, EOPNOTSUPP, ENOEXEC, EBADMSG,
				   ENODATA,     EUCLEAN,    EADDRINUSE,      ENOMEM,     EFBIG };

	for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
		if (all[i] == error)
			return true;
	return false;
}

/* Opens the damaged map: a documented refusal, or a map that works. */
static int try_open(const char *path)
{
	void *map, *block;

	errno = 0;
	map = qalloc_loadmap(path);
	if (!map) {
		if (!is_documented(errno))
			g_error("undocumented errno %d (%s)", errno, g_strerror(errno));
		return errno;
	}
	block = qalloc_malloc(map, 100);
	if (block)
		assert_void(qalloc_free(block, map), 0);
	if (qalloc_check(map, NULL, NULL) != 0)
		assert_errno_is(EUCLEAN);
	support_close(map);
	return 0;
}

struct damage {
	const char *path;
	char *sound;
	size_t size;
	unsigned seen[256];
};

static void damage_byte(struct damage *d, size_t at, char bits)
{
	char *bytes = g_memdup2(d->sound, d->size);

	bytes[at] = (char)(bytes[at] ^ bits);
	support_file_write(d->path, bytes, d->size);
	d->seen[try_open(d->path)]++;
	g_free(bytes);
}

static int damage_header(void *arg)
{
	static const int wanted[] = { EMEDIUMTYPE, EPROTOTYPE, EPROTONOSUPPORT, EOPNOTSUPP, ENOEXEC, EBADMSG };
	struct damage *d = arg;
	struct support_rand r;

	support_rand_seed(&r, 3);
	for (size_t at = 0; at < 256; at++) {
		damage_byte(d, at, (char)0xff);
		damage_byte(d, at, (char)(1 << support_rand_below(&r, 8)));
	}
	for (size_t i = 0; i < support_scale(200); i++)
		damage_byte(d, support_rand_below(&r, 4096), (char)support_rand_between(&r, 1, 255));
	for (size_t error = 1; error < 256; error++)
		if (d->seen[error])
			g_test_message("%u times %s", d->seen[error], g_strerror((int)error));
	for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++)
		if (!d->seen[wanted[i]])
			g_error("no damage led to %s", g_strerror(wanted[i]));
	return 0;
}

static void each_byte_of_the_header_damaged(void)
{
	struct damage *d = support_shared(sizeof(*d));
	dynmapinfo_t *map;

	support_watchdog(2 * SUPPORT_HUNG_SECONDS);
	d->path = support_path("damaged");
	map = support_dyn(d->path, 192 * KIB, 1);
	g_assert_nonnull(qalloc_dynmalloc(map, 1000));
	support_close(map);
	d->sound = support_file_read(d->path, &d->size);
	support_run_child(damage_header, d);
	g_free(d->sound);
}

static int find_first(void *block, size_t size, void *arg)
{
	(void)size;
	*(char **)arg = block;
	return 1;
}

/* All metadata behind the header overwritten: refused, or at least found by the check. */
static int open_with_garbage(void *arg)
{
	struct damage *d = arg;
	void *map;

	errno = 0;
	map = qalloc_loadmap(d->path);
	if (!map) {
		assert_errno_is(EUCLEAN);
		return 0;
	}
	g_assert_cmpint(qalloc_check(map, NULL, NULL), ==, -1);
	assert_errno_is(EUCLEAN);
	qalloc_malloc(map, 100);
	return 0;
}

static void garbage_body(bool is_static)
{
	struct damage d = { .path = support_path("body") };
	void *map = is_static ? (void *)support_stat(d.path, MIB, 128, 1) : (void *)support_dyn(d.path, MIB, 1);
	struct support_rand r;
	char *first = NULL;
	size_t metadata;

	support_rand_seed(&r, 4);
	for (int i = 0; i < 100; i++)
		g_assert_nonnull(qalloc_malloc(map, 100));
	g_assert_cmpint(qalloc_walk(map, find_first, &first), ==, 1);
	metadata = (size_t)(first - support_base(map));
	g_assert_cmpuint(metadata, >, 4096);
	d.sound = support_file_read(d.path, &d.size);
	support_close(map);
	for (size_t at = 4096; at < metadata; at++)
		d.sound[at] = (char)support_rand_between(&r, 2, 255);
	support_file_write(d.path, d.sound, d.size);
	support_run_child(open_with_garbage, &d);
	g_free(d.sound);
}

static void damaged_body_is_euclean(void)
{
	garbage_body(false);
	garbage_body(true);
}

/* Random bytes of the metadata: never a crash, never a hang. */
static int open_with_noise(void *arg)
{
	struct damage *d = arg;
	char *bytes = g_memdup2(d->sound, d->size);
	struct support_rand r;

	support_rand_seed(&r, 5);
	for (size_t round = 0; round < support_scale(300); round++) {
		memcpy(bytes, d->sound, d->size);
		for (size_t n = support_rand_between(&r, 1, 20); n; n--)
			bytes[support_rand_between(&r, 4096, 131071)] = (char)support_rand_below(&r, 256);
		support_file_write(d->path, bytes, d->size);
		try_open(d->path);
	}
	g_free(bytes);
	return 0;
}

static void noise_in_the_body_does_no_harm(void)
{
	struct damage d = { .path = support_path("noise") };
	dynmapinfo_t *map = support_dyn(d.path, 2 * MIB, 2);

	support_watchdog(2 * SUPPORT_HUNG_SECONDS);
	for (size_t i = 0; i < 200; i++)
		g_assert_nonnull(qalloc_dynmalloc(map, i));
	g_assert_nonnull(qalloc_dynmalloc(map, 100000));
	support_close(map);
	d.sound = support_file_read(d.path, &d.size);
	support_run_child(open_with_noise, &d);
	g_free(d.sound);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/errors-open/damaged-header", each_byte_of_the_header_damaged);
	support_add("/qalloc/errors-open/damaged-body", damaged_body_is_euclean);
	support_add("/qalloc/errors-open/noise", noise_in_the_body_does_no_harm);
	return support_run();
}
