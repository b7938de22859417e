/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs close descriptors that they did not open, all of them at once when they become daemons, and use their numbers
 * again. Those that the back end needs stay: to close one is EBADF, as if it were not open, and when its number is wanted
 * for another one it gets a new number first. Only system calls made by hand come past here. The copy of stderr is no such one: it may
 * be closed, and is closed when the program gives stderr up, for a process may wait for its end.
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

/* A number that was closed by hand may be the program's by now. */
static bool is_ours(unsigned i)
{
	return shim_is_this_process() && shim_kept_is_ours(i);
}

/* Where this number is kept, or NULL. */
static int *kept(int fd)
{
	for (unsigned i = 0; i < SHIM_KEPT && fd >= 0; i++) {
		int *entry = shim_kept(i);

		if (entry && __atomic_load_n(entry, __ATOMIC_RELAXED) == fd && is_ours(i))
			return entry;
	}
	return NULL;
}

SHIM_EXPORT int close(int fd)
{
	if (MA_UNLIKELY(kept(fd))) {
		errno = EBADF;
		return -1;
	}
	if (MA_UNLIKELY(fd == STDERR_FILENO))
		shim_stderr_changed();
	return MA_LIKELY(shim_next.close != NULL) ? shim_next.close(fd) : __close(fd);
}

static int next_close_range(unsigned first, unsigned last, int flags)
{
	if (shim_next.close_range)
		return shim_next.close_range(first, last, flags);
	return (int)syscall(SYS_close_range, first, last, flags);
}

/* The first kept number in [first, last], else one that is beyond. */
static unsigned next_kept(unsigned first, unsigned last)
{
	unsigned least = UINT_MAX;

	for (unsigned i = 0; i < SHIM_KEPT; i++) {
		int *entry = shim_kept(i);
		unsigned fd = entry ? (unsigned)__atomic_load_n(entry, __ATOMIC_RELAXED) : UINT_MAX;

		if (fd >= first && fd <= last && fd < least && is_ours(i))
			least = fd;
	}
	return least;
}

SHIM_EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	unsigned fd;
	int result = 0;

	if (first <= STDERR_FILENO && last >= STDERR_FILENO && !((unsigned)flags & CLOSE_RANGE_CLOEXEC))
		shim_stderr_changed();
	while (first <= last && (fd = next_kept(first, last)) != UINT_MAX) {
		if (fd > first)
			result = next_close_range(first, fd - 1, flags);
		if (result < 0)
			return result;
		first = fd + 1;
		if (first > last)
			return 0;
	}
	return next_close_range(first, last, flags);
}

SHIM_EXPORT void closefrom(int first)
{
	long end = sysconf(_SC_OPEN_MAX);

	first = first < 0 ? 0 : first;
	if (shim_next.closefrom && next_kept((unsigned)first, UINT_MAX) == UINT_MAX) {
		if (first <= STDERR_FILENO)
			shim_stderr_changed();
		shim_next.closefrom(first);
		return;
	}
	if (close_range((unsigned)first, UINT_MAX, 0) == 0)
		return;
	for (int fd = first; fd < (end < 0 ? 65536 : end); fd++)
		close(fd);
}

/* False: errno. */
static bool make_way(int from, int to)
{
	int *entry = from != to ? kept(to) : NULL;
	int moved;

	if (!entry)
		return true;
	moved = shim_move(to);
	if (moved == to && entry == shim_kept(SHIM_KEPT_SPARE))
		moved = -1;
	if (moved == to) {
		errno = EBUSY;
		return false;
	}
	__atomic_store_n(entry, moved, __ATOMIC_RELAXED);
	return true;
}

SHIM_EXPORT int dup2(int from, int to)
{
	int result;

	if (!make_way(from, to))
		return -1;
	result = shim_next.dup2 ? shim_next.dup2(from, to) : __dup2(from, to);
	if (to == STDERR_FILENO)
		shim_stderr_changed();
	return result;
}

SHIM_EXPORT int dup3(int from, int to, int flags)
{
	int result;

	if (!make_way(from, to))
		return -1;
	result = shim_next.dup3 ? shim_next.dup3(from, to, flags) : (int)syscall(SYS_dup3, from, to, flags);
	if (to == STDERR_FILENO)
		shim_stderr_changed();
	return result;
}

/* ---- daemons ---- */

/* The C library's daemon() puts /dev/null over stderr, and does not come by here for it. */
SHIM_EXPORT int daemon(int nochdir, int noclose)
{
	int result = -1;

	if (shim_next.daemon)
		result = shim_next.daemon(nochdir, noclose);
	else
		errno = ENOSYS;
	shim_stderr_changed();
	return result;
}

/* Out of its parent's session: a process that waits there for the end of stderr does not wait for this one. */
SHIM_EXPORT pid_t setsid(void)
{
	pid_t result = shim_next.setsid ? shim_next.setsid() : (pid_t)syscall(SYS_setsid);

	if (result >= 0)
		shim_stderr_changed();
	return result;
}
