/* SPDX-License-Identifier: BSD-3-Clause */
/* What failed last in this thread: in a call for signal handlers (fail.h), or in another one (common/error.h). */
#include "common/error.h"
#include "fail.h"
#include <shmbuddy.h>

__attribute__((constructor)) static void at_start(void)
{
	ma_store(&shmbuddy__debug, ma_debug_on());
}

const char *shmbuddy_errmsg(void)
{
	char *text;

	if (ma_last_failure.fresh)
		return ma_errmsg();
	text = ma_error_text();
	if (!text)
		return "a call failed: no memory was left to describe it; free memory, then call shmbuddy_errmsg() "
		       "again";
	return shmbuddy__failure(text, MA_ERROR_TEXT) ? text : ma_errmsg();
}
