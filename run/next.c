/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands behind ours: other preloaded libraries (socket wrappers, tracers) define the same calls, and must see them as they do
 * without us. And who else defines malloc(): a program that brings an allocator of its own, or a sanitizer's, keeps that for all its
 * blocks. With two allocators a block of one would end in free() of the other.
 */
#include "shim.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

struct shim_next shim_next;

/* dlsym() gives an object's address, which C does not turn into a function's. */
static void find(void *function, const char *name)
{
	void *at = dlsym(RTLD_NEXT, name);

	memcpy(function, &at, sizeof(at));
}

#define FIND(name) find(&shim_next.name, #name)

/* Now: these calls may come in a signal handler, dlsym() may not. */
void shim_find_next(void)
{
	FIND(close);
	FIND(close_range);
	FIND(closefrom);
	FIND(dup2);
	FIND(dup3);
	FIND(_exit);
	FIND(_Exit);
	FIND(daemon);
	FIND(setsid);
	FIND(dlopen);
	FIND(sigaction);
	FIND(malloc);
	FIND(calloc);
	FIND(realloc);
	FIND(free);
	FIND(memalign);
	FIND(aligned_alloc);
	FIND(posix_memalign);
	FIND(valloc);
	FIND(pvalloc);
	FIND(malloc_usable_size);
}

/* NULL: it is in the C library. */
static const char *file_of(const void *function)
{
	Dl_info libc, info;

	if (!dladdr((const void *)gnu_get_libc_version, &libc) || !dladdr(function, &info) || !info.dli_fname)
		return "?";
	return info.dli_fbase == libc.dli_fbase ? NULL : info.dli_fname;
}

/* A program that is not position-independent has an entry of its own for a function whose address it takes: that leads to the first definition. */
static bool is_entry(const void *function)
{
	const ElfW(Sym) *symbol = NULL;
	Dl_info info;

	return dladdr1(function, &info, (void **)&symbol, RTLD_DL_SYMENT) && symbol && symbol->st_shndx == SHN_UNDEF;
}

/*
 * Ours must be the first definition, and the C library's the one behind it. NULL: so it is; else the file that has another one. (The
 * names with __libc_ say nothing: tcmalloc and mimalloc define these, too.)
 */
const char *shim_other_allocator(void)
{
	static const struct {
		const char *name;
		const void *const ours;
	} calls[] = {
		{ "malloc", (const void *)shim_malloc },
		{ "calloc", (const void *)shim_calloc },
		{ "realloc", (const void *)shim_realloc },
		{ "free", (const void *)shim_free },
	};
	const char *file = NULL;

	for (size_t i = 0; i < MA_COUNT(calls) && !file; i++) {
		const void *first = dlsym(RTLD_DEFAULT, calls[i].name);

		file = file_of(first == calls[i].ours || is_entry(first) ? dlsym(RTLD_NEXT, calls[i].name) : first);
	}
	return file;
}

/*
 * A library that is loaded with RTLD_DEEPBIND would call the C library's malloc() and free(), and the program ours, with the same
 * blocks. So it is loaded without. The call is a jump (-foptimize-sibling-calls): the C library looks for the library's file by way of who
 * called.
 */
SHIM_EXPORT void *dlopen(const char *name, int flags);
SHIM_EXPORT void *dlopen(const char *name, int flags)
{
	if (MA_UNLIKELY(!shim_next.dlopen))
		find(&shim_next.dlopen, "dlopen");
	return shim_next.dlopen(name, shim_is_served() ? flags & ~RTLD_DEEPBIND : flags);
}
