/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that closes descriptors which it did not open, and then has another file under each number: the victim, whose contents and
 * descriptors must stay as they are.
 */
#ifndef SUPPORT_FD_H
#define SUPPORT_FD_H

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/support/support_fault.h"

#define VICTIM_FROM 3
#define VICTIM_TO   850 /* The lowest limit of descriptors that is usual is 1024: some are left. */

/* All but stdin, stdout and stderr: by close(), or by close_range() as a system call that nobody can interpose. */
static inline void fd_close_all(bool by_hand)
{
	if (by_hand)
		syscall(SYS_close_range, 3u, ~0u, 0u);
	else
		for (int fd = 3; fd < 4096; fd++)
			close(fd);
}

/* Each number leads to this file now. */
static inline void fd_take_numbers(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	g_assert_cmpint(fd, >=, 0);
	for (int to = VICTIM_FROM; to < VICTIM_TO; to++)
		if (to != fd)
			g_assert_cmpint((int)syscall(SYS_dup3, fd, to, 0), ==, to);
}

struct victim {
	struct stat st;
};

/** Run fn in a child of its own for each of so many ways; choose() prepares for it. Skips under Valgrind. */
static inline void fd_in_each_way(support_child_fn *fn, int ways, void (*choose)(int way))
{
	if (support_valgrind()) {
		g_test_skip("Valgrind lets no program close its descriptors");
		return;
	}
	for (int way = 0; way < ways; way++) {
		choose(way);
		support_run_or_skip(fn, "no privileges, or no such file system");
	}
}

/* name_case(): fn in each way. */
#define FD_CASE(name, ways, choose)                    \
	static void name##_case(void)                  \
	{                                              \
		fd_in_each_way(name, (ways), (choose)); \
	}

/* A file of 1 MiB, under all numbers, which were closed. */
static inline void victim_moves_in(struct victim *v, const char *path, bool by_hand)
{
	char *bytes = g_malloc(MIB);

	memset(bytes, 'v', MIB);
	fd_close_all(by_hand);
	support_file_write(path, bytes, MIB);
	g_free(bytes);
	g_assert_cmpint(stat(path, &v->st), ==, 0);
	fd_take_numbers(path);
}

/* Its contents, its length and its descriptors are as they were. */
static inline void victim_is_well(const struct victim *v)
{
	struct stat now;
	char *text = g_malloc(MIB + 1);

	g_assert_cmpint(pread(VICTIM_FROM, text, MIB + 1, 0), ==, MIB);
	for (size_t i = 0; i < MIB; i++)
		if (text[i] != 'v')
			g_error("byte %zu of the program's own file was changed", i);
	g_free(text);
	g_assert_cmpint(fstat(VICTIM_FROM, &now), ==, 0);
	g_assert_cmpint(now.st_blocks, ==, v->st.st_blocks);
	for (int fd = VICTIM_FROM; fd < VICTIM_TO; fd++) {
		g_assert_cmpint(fstat(fd, &now), ==, 0);
		g_assert_cmpuint(now.st_ino, ==, v->st.st_ino);
	}
}

static inline void fd_drop_privileges(void)
{
	if (geteuid() == 0) {
		g_assert_cmpint(setgroups(0, NULL), ==, 0);
		g_assert_cmpint(setresuid(65534, 65534, 65534), ==, 0);
	}
}

/*
 * Only those of the file system's permissions are left, so that new files can be made in whatever folder this one is: the folders above
 * it may be closed to others, or belong to others.
 */
static inline void fd_drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct few[_LINUX_CAPABILITY_U32S_3] = { 0 };

	g_assert_cmpint((int)syscall(SYS_capget, &header, few), ==, 0);
	for (unsigned i = 0; i < G_N_ELEMENTS(few); i++) {
		few[i].effective &= i ? 0 : 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH;
		few[i].permitted = few[i].effective;
		few[i].inheritable = 0;
	}
	g_assert_cmpint((int)syscall(SYS_capset, &header, few), ==, 0);
}

/* Nobody can open it by a name, nor by the kernel's links: this process has no privileges any more. */
static inline void fd_make_nameless(const char *path)
{
	g_assert_cmpint(unlink(path), ==, 0);
	fd_drop_privileges();
}

/* An overlay file system over support_dir(), of which the lower one is a tmpfs: there a mapping keeps no locks. */
static inline bool fd_overlay(void)
{
	char *options;
	bool done;

	if (!support_small_disk("size=1g"))
		return false;
	options = g_strdup_printf("lowerdir=%1$s/l,upperdir=%1$s/u,workdir=%1$s/w", support_dir());
	for (const char *name = "luwm"; *name; name++) {
		char *path = g_strdup_printf("%s/%c", support_dir(), *name);

		g_assert_cmpint(mkdir(path, 0777), ==, 0);
		g_free(path);
	}
	done = mount("overlay", g_strdup_printf("%s/m", support_dir()), "overlay", 0, options) == 0;
	g_free(options);
	return done;
}

/* Another process: can it lock bytes 0 to 99 of this file? */
static inline bool fd_is_locked(const char *path)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open(path, O_RDWR);

		_exit(lockf(fd, F_TEST, 100) == 0 ? 0 : errno == EACCES || errno == EAGAIN ? 1 : 2);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return WEXITSTATUS(status) == 1;
}

#endif /* SUPPORT_FD_H */
