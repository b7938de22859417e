/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A durable map whose checkpoint file may not be opened, or lies in a folder that may not be written to or read: each call says so, nothing is
 * lost, and all is well again when the permissions are. Root is refused nothing: so these children give that privilege up.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/power/numbered.h"
#include "tests/support/support_fault.h"

static const char *path; /* Of the map, in a folder of its own. */
static char *checkpoints, *folder;

/* Folders that were written to disk. */
static unsigned folders;

int fsync(int fd)
{
	struct stat st;

	folders += fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
	return (int)syscall(SYS_fsync, fd);
}

/* ---- permissions ---- */

static bool give_up_privilege(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2];

	if (syscall(SYS_capget, &head, sets) < 0)
		return false;
	sets[0].effective &= ~(1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH);
	return syscall(SYS_capset, &head, sets) == 0;
}

static void forbid(void)
{
	g_assert_cmpint(chmod(checkpoints, 0), ==, 0);
}

static void allow(void)
{
	g_assert_cmpint(chmod(checkpoints, 0600), ==, 0);
}

#define assert_refused(call)                        \
	do {                                        \
		g_assert_false(call);               \
		g_assert_cmpint(errno, ==, EACCES); \
		assert_says(".checkpoint");         \
		assert_says("permission");          \
		assert_says("(EACCES)");            \
	} while (0)

static void assert_says(const char *part)
{
	if (!strstr(lib_errmsg(), part))
		g_error("\"%s\" says nothing of \"%s\"", lib_errmsg(), part);
}

/* ---- maps ---- */

static char *contents(size_t *size)
{
	return support_file_read(path, size);
}

/* ---- the checkpoint file ---- */

static int calls(void *arg)
{
	void *map = numbered_make(path, true);

	(void)arg;
	if (!give_up_privilege())
		return SUPPORT_CANNOT;
	forbid();
	*number_in(map) = 2;
	assert_refused(lib_sync(map) == 0);
	assert_refused(lib_capture(map) == 0);
	g_assert_cmpint(lib_commit(map), ==, -1);
	g_assert_cmpint(errno, ==, EINVAL);
	assert_refused(lib_durable(map) == 0);
	g_assert_nonnull(lib_malloc(map, 100));
	allow();
	g_assert_cmpint(lib_sync(map), ==, 0);
	*number_in(map) = 3;
	g_assert_cmpint(lib_capture(map), ==, 0);
	forbid(); /* It is open. */
	g_assert_cmpint(lib_commit(map), ==, 0);
	*number_in(map) = 4;
	assert_refused(lib_sync(map) == 0);
	lib_close(map);
	allow();
	cut_the_power(path);
	assert_number(path, 3, true);
	return 0;
}

/* A map that is certain opens without it. */
static int opening(void *arg)
{
	void *map = numbered_make(path, true);

	(void)arg;
	if (!give_up_privilege())
		return SUPPORT_CANNOT;
	forbid();
	*number_in(map) = 2;
	lib_close(map);
	assert_number(path, 2, false);
	map = lib_load(path);
	assert_refused(lib_sync(map) == 0);
	allow();
	g_assert_cmpint(lib_sync(map), ==, 0);
	*number_in(map) = 3;
	lib_close(map);
	forbid();
	assert_refused(lib_restore(path) == 0);
	assert_number(path, 3, false);
	allow();
	g_assert_cmpint(lib_restore(path), ==, 0);
	assert_number(path, 2, true);
	return 0;
}

/* Refused, however it is opened, as nothing is known of it. No byte changes. */
static int after_a_cut(void *arg)
{
	void *map = numbered_make(path, true);
	char *before, *then;
	size_t size, size_then;

	(void)arg;
	if (!give_up_privilege())
		return SUPPORT_CANNOT;
	forbid();
	*number_in(map) = 2;
	lib_close(map);
	cut_the_power(path);
	before = contents(&size);
	assert_refused(lib_load(path));
	assert_refused(lib_view(path, false));
	assert_refused(lib_view(path, true));
	assert_refused(lib_restore(path) == 0);
	then = contents(&size_then);
	g_assert_true(size == size_then && memcmp(before, then, size) == 0);
	g_free(before);
	g_free(then);
	allow();
	assert_number(path, 1, true);
	return 0;
}

/* Nor does a reader believe a map whose checkpoint file is missing. */
static int readers(void *arg)
{
	char *away = g_strconcat(checkpoints, ".away", NULL);
	void *map = numbered_make(path, true);

	lib_close(map);
	cut_the_power(path);
	g_assert_cmpint(rename(checkpoints, away), ==, 0);
	for (int is_private = 0; is_private < 2; is_private++) {
		g_assert_null(lib_view(path, is_private));
		g_assert_cmpint(errno, ==, EUCLEAN);
		assert_says("is missing");
	}
	g_assert_cmpint(rename(away, checkpoints), ==, 0);
	for (int is_private = 0; is_private < 2; is_private++) {
		g_assert_null(lib_view(path, is_private));
		g_assert_cmpint(errno, ==, EUCLEAN);
	}
	assert_number(path, 1, true);
	for (int is_private = 0; is_private < 2; is_private++) {
		map = lib_view(path, is_private);
		g_assert_nonnull(map);
		lib_close(map);
	}
	(void)arg;
	g_free(away);
	return 0;
}

/* ---- its folder ---- */

static int folder_closed(void *arg)
{
	void *map = numbered_make(path, false);

	(void)arg;
	if (!give_up_privilege())
		return SUPPORT_CANNOT;
	g_assert_cmpint(chmod(folder, 0500), ==, 0);
	assert_refused(lib_durable(map) == 0);
	g_assert_cmpint(lib_sync(map), ==, 0); /* It is not durable. */
	g_assert_cmpint(chmod(folder, 0700), ==, 0);
	g_assert_cmpint(lib_durable(map), ==, 0);
	lib_close(map);
	cut_the_power(path);
	assert_number(path, 1, true);
	return 0;
}

/* The name of the checkpoint file must be on disk before the map is durable, also when that failed the first time. */
static int folder_unreadable(void *arg)
{
	void *map = numbered_make(path, false);

	(void)arg;
	if (!give_up_privilege())
		return SUPPORT_CANNOT;
	g_assert_cmpint(chmod(folder, 0300), ==, 0);
	g_assert_cmpint(lib_durable(map), ==, -1);
	g_assert_cmpint(errno, ==, EACCES);
	assert_says("folder");
	g_assert_cmpint(chmod(folder, 0700), ==, 0);
	folders = 0;
	g_assert_cmpint(lib_durable(map), ==, 0);
	g_assert_cmpuint(folders, ==, 1);
	g_assert_cmpint(chmod(folder, 0300), ==, 0);
	g_assert_cmpint(lib_sync(map), ==, 0); /* Nothing of the folder changes any more. */
	g_assert_cmpint(chmod(folder, 0700), ==, 0);
	lib_close(map);
	cut_the_power(path);
	assert_number(path, 1, true);
	return 0;
}

/* ---- the cases ---- */

static void in_a_folder(support_child_fn *fn)
{
	folder = g_strdup(support_path("folder"));
	path = g_build_filename(folder, "map", NULL);
	checkpoints = g_strconcat(path, ".checkpoint", NULL);
	g_assert_cmpint(mkdir(folder, 0700), ==, 0);
	support_run_or_skip(fn, "this process may open any file here, whatever its permissions");
	g_free(checkpoints);
	g_free((char *)(uintptr_t)path);
	g_free(folder);
}

#define IN_A_FOLDER(fn)                    \
	static void fn##_in_a_folder(void) \
	{                                  \
		in_a_folder(fn);           \
	}
IN_A_FOLDER(calls)
IN_A_FOLDER(opening)
IN_A_FOLDER(after_a_cut)
IN_A_FOLDER(readers)
IN_A_FOLDER(folder_closed)
IN_A_FOLDER(folder_unreadable)

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/power/" LIB_NAME "-access/calls", calls_in_a_folder);
	support_add("/power/" LIB_NAME "-access/opening", opening_in_a_folder);
	support_add("/power/" LIB_NAME "-access/after-a-cut", after_a_cut_in_a_folder);
	support_add("/power/" LIB_NAME "-access/readers", readers_in_a_folder);
	support_add("/power/" LIB_NAME "-access/folder-closed", folder_closed_in_a_folder);
	support_add("/power/" LIB_NAME "-access/folder-unreadable", folder_unreadable_in_a_folder);
	return support_run();
}
