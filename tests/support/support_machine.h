/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Machines with other pages and shorter addresses, as far as they can be played here: this program's mmap(), mremap(), mprotect(),
 * madvise(), munmap() and msync() refuse what those of such a kernel would, and sysconf() says how large its pages are. Libraries ask for the page
 * size once: set it in a child before the first call. For one source file of a program.
 */
#ifndef SUPPORT_MACHINE_H
#define SUPPORT_MACHINE_H

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/plan.h"

/* Shared libraries find these, too. */
#pragma GCC visibility push(default)

static uintptr_t page = 4096;
static uint64_t address_end = UINT64_MAX;

static bool is_odd(const volatile void *address)
{
	return (uintptr_t)address & (page - 1);
}

static int refuse(int error)
{
	errno = error;
	return -1;
}

/* Where such a kernel would: behind the small window. */
static void *map_low(size_t bytes, int prot, int flags, int fd, off_t offset)
{
	void *got = MAP_FAILED;

	for (uint64_t at = MA_PLAN_SMALL_LAST; got == MAP_FAILED && at + bytes < address_end; at += MA_PLAN_ALIGN)
		got = (void *)syscall(SYS_mmap, at, bytes, prot, flags | MAP_FIXED_NOREPLACE, fd, offset);
	return got;
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	bool is_fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
	char *room, *start;

	if (((uint64_t)offset & (page - 1)) || (is_fixed && is_odd(at)))
		return refuse(EINVAL), MAP_FAILED;
	if (bytes > address_end || (is_fixed && (uint64_t)(uintptr_t)at > address_end - bytes))
		return refuse(ENOMEM), MAP_FAILED;
	if (!is_fixed && address_end < MA_PLAN_FIRST)
		return map_low(bytes, prot, flags, fd, offset);
	bytes = page == 4096 ? bytes : ma_up(bytes, page); /* Whole pages, over what was there. */
	if (is_fixed || page == 4096)
		return (void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, offset);
	/* Whole pages of such a size: munmap() takes so much away again. */
	room = (char *)syscall(SYS_mmap, NULL, ma_up(bytes, page) + page, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return room;
	start = (char *)ma_up((uintptr_t)room, page);
	return (void *)syscall(SYS_mmap, start, bytes, prot, flags | MAP_FIXED, fd, offset);
}

void *mremap(void *at, size_t bytes, size_t wanted_bytes, int flags, ...)
{
	va_list args;
	void *to;

	va_start(args, flags);
	to = flags & MREMAP_FIXED ? va_arg(args, void *) : NULL;
	va_end(args);
	if (is_odd(at) || is_odd(to))
		return refuse(EINVAL), MAP_FAILED;
	if (flags & MREMAP_FIXED || !(flags & MREMAP_MAYMOVE) || page == 4096)
		return (void *)syscall(SYS_mremap, at, bytes, wanted_bytes, flags, to);
	/* As a new mapping would lie. */
	to = mmap(NULL, wanted_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return to == MAP_FAILED ? to : (void *)syscall(SYS_mremap, at, bytes, wanted_bytes, flags | MREMAP_FIXED, to);
}

int munmap(void *at, size_t bytes)
{
	return is_odd(at) ? refuse(EINVAL) : (int)syscall(SYS_munmap, at, ma_up(bytes, page));
}

int mprotect(void *at, size_t bytes, int prot)
{
	return is_odd(at) ? refuse(EINVAL) : (int)syscall(SYS_mprotect, at, ma_up(bytes, page), prot);
}

int madvise(void *at, size_t bytes, int advice)
{
	return is_odd(at) ? refuse(EINVAL) : (int)syscall(SYS_madvise, at, ma_up(bytes, page), advice);
}

int msync(void *at, size_t bytes, int flags)
{
	return is_odd(at) ? refuse(EINVAL) : (int)syscall(SYS_msync, at, bytes, flags);
}

extern long __sysconf(int name);

long sysconf(int name)
{
	return name == _SC_PAGESIZE ? (long)page : __sysconf(name);
}

#pragma GCC visibility pop

#endif /* SUPPORT_MACHINE_H */
