/* SPDX-License-Identifier: BSD-3-Clause */
/* See writes.h. The numbers are the kernel's, which the headers of Debian 12 do not have yet. */
#include "common/writes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"

#define FEATURE_UNPOPULATED \
	((uint64_t)1 << 13)                /* UFFD_FEATURE_WP_UNPOPULATED: pages that are not in memory yet, too. */
#define FEATURE_ASYNC  ((uint64_t)1 << 15) /* UFFD_FEATURE_WP_ASYNC */
#define USER_MODE_ONLY 1                   /* UFFD_USER_MODE_ONLY: needs no privilege. */

#define IS_WRITTEN ((uint64_t)1 << 1)
#define IS_PRESENT ((uint64_t)1 << 3)
#define IS_SWAPPED ((uint64_t)1 << 4) /* Of a file: it was write-protected, and is not in memory. */

#define SCAN_PROTECT     ((uint64_t)1 << 0) /* PM_SCAN_WP_MATCHING */
#define SCAN_CHECK_ASYNC ((uint64_t)1 << 1) /* PM_SCAN_CHECK_WPASYNC */

#define REGIONS 512 /* Of one ioctl. */

struct region {
	uint64_t start, end, categories;
};

struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t inverted, all_of, any_of, returned;
};

#define PAGEMAP_SCAN_ALL _IOWR('f', 16, struct scan)

/* ---- registration ---- */

static int open_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURE_UNPOPULATED | FEATURE_ASYNC };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USER_MODE_ONLY);

	if (fd < 0)
		return -1;
	if (ioctl(fd, UFFDIO_API, &api) < 0) {
		close(fd);
		return -1;
	}
	return ma_fd_aside(fd);
}

/* Does the number still stand for what we opened? All descriptors of that kind have one inode, so the name decides. */
static bool is_uffd(int fd)
{
	static const char name[] = "anon_inode:[userfaultfd]";
	char link[32], is[sizeof(name)];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return readlink(link, is, sizeof(is)) == (ssize_t)sizeof(name) - 1 && memcmp(is, name, sizeof(name) - 1) == 0;
}

bool ma_writes_add(struct ma_writes *w, char *at, uint64_t bytes)
{
	struct uffdio_register range = { .range = { (uintptr_t)at, bytes }, .mode = UFFDIO_REGISTER_MODE_WP };
	int saved = errno;
	bool done;

	if (w->uffd < 0)
		w->uffd = open_uffd();
	/* ext4 maps many pages at once, which then count as written together. */
	done = w->uffd >= 0 && madvise(at, bytes, MADV_NOHUGEPAGE) == 0 && is_uffd(w->uffd) &&
	       ioctl(w->uffd, UFFDIO_REGISTER, &range) == 0;
	errno = saved;
	return done;
}

void ma_writes_end(struct ma_writes *w)
{
	int saved = errno;

	if (w->uffd >= 0 && is_uffd(w->uffd))
		close(w->uffd);
	w->uffd = -1;
	errno = saved;
}

/* ---- scanning ---- */

struct found {
	int (*fn)(char *from, uint64_t count, void *arg);
	void *arg;
	int pagemap;
};

/* Report and protect the pages of some kind. */
static int scan_for(const struct found *f, char *at, uint64_t bytes, uint64_t inverted, uint64_t all_of)
{
	struct region region[REGIONS / 8];
	struct scan scan = {
		.size = sizeof(scan),
		.flags = SCAN_PROTECT | SCAN_CHECK_ASYNC,
		.start = (uintptr_t)at,
		.end = (uintptr_t)at + bytes,
		.vec = (uintptr_t)region,
		.vec_len = MA_COUNT(region),
		.inverted = inverted,
		.all_of = all_of,
		.returned = all_of,
	};
	int count, result;

	do {
		count = ioctl(f->pagemap, PAGEMAP_SCAN_ALL, &scan);
		if (count < 0)
			return -1;
		for (int i = 0; i < count; i++) {
			result = f->fn((char *)(uintptr_t)region[i].start, region[i].end - region[i].start, f->arg);
			if (result)
				return result;
		}
		scan.start = scan.walk_end;
	} while (scan.walk_end < scan.end);
	return 0;
}

/*
 * A page that was written to and then left memory is no longer marked as written: it is nothing at all. So these count too, and come second: a
 * page may leave memory between the two.
 */
int ma_writes_scan(const struct ma_writes *w, char *at, uint64_t bytes,
		   int (*fn)(char *from, uint64_t count, void *arg), void *arg)
{
	struct found f = { fn, arg, -1 };
	int result, saved;

	if (w->uffd < 0) {
		errno = ENOTSUP;
		return -1;
	}
	f.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (f.pagemap < 0)
		return -1;
	result = scan_for(&f, at, bytes, 0, IS_WRITTEN);
	if (result == 0)
		result = scan_for(&f, at, bytes, IS_PRESENT | IS_SWAPPED, IS_PRESENT | IS_SWAPPED);
	saved = errno;
	close(f.pagemap);
	errno = saved;
	return result;
}
