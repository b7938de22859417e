/* SPDX-License-Identifier: BSD-3-Clause */
/* See process.h. */
#include "common/process.h"

#include <sys/mman.h>

#include "common/error.h"

static _Atomic uint32_t no_mark = 1;
_Atomic uint32_t *ma_process_mark = &no_mark;
static void (*in_child)(void);

/* A page that is zero in a child, however it was made. */
void ma_process_watch(void (*child)(void))
{
	void *page = mmap(NULL, MA_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	if (madvise(page, MA_PAGE, MADV_WIPEONFORK) < 0) {
		munmap(page, MA_PAGE);
		return;
	}
	in_child = child;
	ma_process_mark = page;
	ma_store(ma_process_mark, 1);
}

/* The copies that it should have had were not made: those handles are closed. */
void ma_process_notice(void)
{
	uint32_t zero = 0;

	if (ma_cas_relaxed(ma_process_mark, &zero, 1)) {
		ma_debug("this process is a fork child of which fork's handlers know nothing: maps with a copy for "
			 "each child are closed");
		in_child();
	}
}
