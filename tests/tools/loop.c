/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/tools/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support_fault.h"

#define SHUT_DOWN _IOR('X', 125, uint32_t) /* EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN */
#define NO_FLUSH  2                        /* The journal is not written. */

#define OTHERS 8

static const char *image; /* The disk. */
static dev_t number;      /* Which it had when it was made. */

static bool command(const char *format, ...) G_GNUC_PRINTF(1, 2);
static bool command(const char *format, ...)
{
	va_list arguments;
	char *line;
	int status;

	va_start(arguments, format);
	line = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	status = system(line); /* NOLINT: of a test's own */
	g_free(line);
	return status == 0;
}

/*
 * No read-ahead, because it creates large folios. On Linux 6.18 a store to one page of a folio makes ext4 reserve disk space for the whole folio.
 * On a full disk the store fails with SIGBUS when another page of the folio is a hole, even if the page itself has its space.
 */
static void keep_folios_small(void)
{
	struct stat st;
	char *name;

	g_assert_cmpint(stat(support_dir(), &st), ==, 0);
	name = g_strdup_printf("/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
	if (!command("echo 0 >%s", name))
		g_error("%s cannot be written to", name);
	g_free(name);
}

/* Over the folder of the tests, in which the image lies. */
bool loop_attach(void)
{
	if (!command("mount -o loop '%s' '%s' 2>/dev/null", image, support_dir()))
		return false;
	keep_folios_small();
	return true;
}

/* A child that was just reaped may still be on its way out. */
void loop_detach(void)
{
	for (int i = 0; umount2(support_dir(), 0) < 0; i++) {
		if (i == 1000)
			g_error("umount: %s", strerror(errno));
		support_sleep_us(10000);
	}
}

void loop_remove(void)
{
	unlink(image);
}

bool loop_make(const char *fs, const char *size)
{
	struct stat st;

	image = g_build_filename(support_dir(), "disk", NULL);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    !command("truncate -s %s '%s' && mkfs.%s '%s' >/dev/null 2>&1", size, image, fs, image) || !loop_attach())
		return false;
	g_assert_cmpint(stat(support_dir(), &st), ==, 0);
	number = st.st_dev;
	loop_detach();
	return true;
}

/* Each other disk takes a number that would be free again. */
static bool attach_other(unsigned i)
{
	char *other = g_strdup_printf("%s.%u", image, i), *folder = g_strconcat(other, ".folder", NULL);
	bool done = command("truncate -s 4M '%s' && mkfs.ext4 '%s' >/dev/null 2>&1 && mkdir -p '%s' && "
			    "mount -o loop '%s' '%s' 2>/dev/null",
			    other, other, folder, other, folder);

	g_free(folder);
	g_free(other);
	return done;
}

bool loop_attach_as_another(void)
{
	struct stat st;

	for (unsigned i = 0; i < OTHERS; i++) {
		if (!attach_other(i) || !loop_attach())
			return false;
		g_assert_cmpint(stat(support_dir(), &st), ==, 0);
		if (st.st_dev != number)
			return true;
		loop_detach();
	}
	return false;
}

bool loop_shut_down(void)
{
	int fd = open(support_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), result;
	uint32_t how = NO_FLUSH;

	result = ioctl(fd, SHUT_DOWN, &how);
	close(fd);
	return result == 0;
}

void loop_test(support_child_fn *fn, const void *arg)
{
	int status;

	if (!g_getenv("MA_CRASH_ALL")) {
		g_test_skip("make check-long runs it");
		return;
	}
	status = support_wait(support_fork(fn, (void *)(uintptr_t)arg));
	if (WIFEXITED(status) && WEXITSTATUS(status) == SUPPORT_CANNOT)
		g_test_skip("such a file system cannot be made, mounted and shut down here");
	else
		g_assert_cmphex((unsigned)status, ==, 0);
}
