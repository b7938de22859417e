/* SPDX-License-Identifier: BSD-3-Clause */
/* A map with a number that a root leads to, which tells of which checkpoint the map is. */
#ifndef TESTS_POWER_NUMBERED_H
#define TESTS_POWER_NUMBERED_H

#include "common/header.h"
#include "tests/power/library.h"
#include "tests/support/support.h"

#define NUMBERED_BYTES (512 * KIB)

static inline uint64_t *number_in(void *map)
{
	return lib_getroot(map, "number");
}

/* The number is 1. */
static inline void *numbered_make(const char *path, bool durable)
{
	void *map = lib_make(path, NUMBERED_BYTES);
	uint64_t *number;

	g_assert_nonnull(map);
	number = lib_malloc(map, sizeof(*number));
	g_assert_nonnull(number);
	*number = 1;
	g_assert_cmpint(lib_setroot(map, "number", number), ==, 0);
	if (durable)
		g_assert_cmpint(lib_durable(map), ==, 0);
	return map;
}

/* Its header tells of another run of the machine. */
static inline void cut_the_power(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	g_assert_cmpint(pwrite(fd, "another machine.", 16, offsetof(struct ma_header, boot_id)), ==, 16);
	close(fd);
}

static inline void assert_number(const char *path, uint64_t number, bool restored)
{
	void *map = lib_load(path);

	if (!map)
		g_error("%s", lib_errmsg());
	g_assert_cmpuint(*number_in(map), ==, number);
	g_assert_cmpint(lib_was_restored(map), ==, restored);
	g_assert_cmpint(lib_check(map), ==, 0);
	lib_close(map);
}

#endif /* TESTS_POWER_NUMBERED_H */
