/* SPDX-License-Identifier: BSD-3-Clause */
/* See zero_fill.h. fstat(2) and mmap(2) are system calls and nothing else: a signal handler may make them. */
#include "tools/zero_fill.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/page.h"
#include "common/base.h"

#define MOST 4

static struct {
	char *base;
	uint64_t bytes;
	int fd;
} guarded[MOST];
static struct sigaction before;

static bool put_zeros(char *address)
{
	for (unsigned i = 0; i < MOST; i++) {
		uint64_t at = (uint64_t)(address - guarded[i].base), from;
		struct stat st;

		if (!guarded[i].base || address < guarded[i].base || at >= guarded[i].bytes)
			continue;
		from = ma_down(at, ma_page());
		/* A page that the file has and the disk does not give: that one alone; and where the file is in slices. */
		if (guarded[i].fd < 0 ||
		    (fstat(guarded[i].fd, &st) == 0 && ma_up((uint64_t)st.st_size, ma_page()) > from))
			return mmap(guarded[i].base + from, ma_page(), PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
		if (fstat(guarded[i].fd, &st) == 0)
			from = ma_up((uint64_t)st.st_size, ma_page());
		return mmap(guarded[i].base + from, guarded[i].bytes - from, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
	}
	return false;
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)number, (void)context;
	if (!put_zeros(info->si_addr))
		signal(SIGBUS, SIG_DFL); /* Not ours: it comes again, and kills. */
	errno = saved;
}

static unsigned in_use(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < MOST; i++)
		count += guarded[i].base != NULL;
	return count;
}

void zero_fill_add(void *base, uint64_t bytes, int fd)
{
	struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };

	if (in_use() == 0)
		sigaction(SIGBUS, &action, &before);
	for (unsigned i = 0; i < MOST; i++)
		if (!guarded[i].base) {
			guarded[i].fd = fd;
			guarded[i].bytes = bytes;
			guarded[i].base = base;
			return;
		}
}

void zero_fill_drop(void *base)
{
	for (unsigned i = 0; i < MOST; i++)
		if (guarded[i].base == base)
			guarded[i].base = NULL;
	if (in_use() == 0)
		sigaction(SIGBUS, &before, NULL);
}
