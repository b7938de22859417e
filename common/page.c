/* SPDX-License-Identifier: BSD-3-Clause */
/* See page.h. The kernel is asked once; threads that ask at the same time get the same answer. */
#include "common/page.h"

#include <unistd.h>

size_t ma_page(void)
{
	static _Atomic size_t bytes;
	size_t page = ma_load(&bytes);

	if (MA_UNLIKELY(page == 0)) {
		long said = sysconf(_SC_PAGESIZE);

		page = said > 0 && ma_is_pow2((uint64_t)said) ? (size_t)ma_max((uint64_t)said, MA_PAGE) : MA_PAGE;
		ma_store(&bytes, page);
	}
	return page;
}

uint8_t ma_page_shift(void)
{
	return (uint8_t)__builtin_ctzll(ma_page());
}
