/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs close descriptors that they did not open, all of them at once when they become daemons, and use their numbers
 * again. Those that the back end needs stay: to close one is EBADF, as if nobody had it, and when its number is wanted
 * for another one it gets a new number first. Only system calls made by hand come past here.
 *
 * A child by vfork() has this memory and descriptors of its own: it does as it pleases, for it is about to exec.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

int __close(int fd);
int __dup2(int from, int to);

/* Where this number is kept, or NULL. */
static int *kept(int fd)
{
	for (unsigned i = 0; i <= SHIM_KEPT && fd >= 0; i++) {
		int *place = i < SHIM_KEPT ? shim_kept(i) : &shim_stats_fd;

		if (place && __atomic_load_n(place, __ATOMIC_RELAXED) == fd)
			return shim_is_this_process() ? place : NULL;
	}
	return NULL;
}

SHIM_EXPORT int close(int fd)
{
	if (MA_LIKELY(!kept(fd)))
		return __close(fd);
	errno = EBADF;
	return -1;
}

/* The first kept number in [first, last], else one that is beyond. */
static unsigned next_kept(unsigned first, unsigned last)
{
	unsigned least = UINT_MAX;

	for (unsigned i = 0; i <= SHIM_KEPT; i++) {
		int *place = i < SHIM_KEPT ? shim_kept(i) : &shim_stats_fd;
		unsigned fd = place ? (unsigned)__atomic_load_n(place, __ATOMIC_RELAXED) : UINT_MAX;

		if (fd >= first && fd <= last && fd < least)
			least = fd;
	}
	return least != UINT_MAX && shim_is_this_process() ? least : UINT_MAX;
}

SHIM_EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	unsigned fd;
	int result = 0;

	while (first <= last && (fd = next_kept(first, last)) != UINT_MAX) {
		if (fd > first)
			result = (int)syscall(SYS_close_range, first, fd - 1, flags);
		if (result < 0)
			return result;
		first = fd + 1;
		if (first > last)
			return 0;
	}
	return (int)syscall(SYS_close_range, first, last, flags);
}

SHIM_EXPORT void closefrom(int first)
{
	long end = sysconf(_SC_OPEN_MAX);

	first = first < 0 ? 0 : first;
	if (close_range((unsigned)first, UINT_MAX, 0) == 0)
		return;
	for (int fd = first; fd < (end < 0 ? 65536 : end); fd++)
		close(fd);
}

/* False: errno. */
static bool make_way(int from, int to)
{
	int *place = from != to ? kept(to) : NULL;
	int moved;

	if (!place)
		return true;
	moved = shim_move(to);
	if (moved == to) {
		errno = EBUSY;
		return false;
	}
	__atomic_store_n(place, moved, __ATOMIC_RELAXED);
	return true;
}

SHIM_EXPORT int dup2(int from, int to)
{
	return make_way(from, to) ? __dup2(from, to) : -1;
}

SHIM_EXPORT int dup3(int from, int to, int flags)
{
	return make_way(from, to) ? (int)syscall(SYS_dup3, from, to, flags) : -1;
}
