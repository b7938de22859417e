/* SPDX-License-Identifier: BSD-3-Clause */
/* What failed last in this thread: in a call for signal handlers (fail.h), or in another one (common/error.h). */
#include "common/error.h"
#include "fail.h"
#include "inspect.h"
#include <shmbuddy.h>

__attribute__((constructor)) static void at_start(void)
{
	ma_store(&shmbuddy__debug, ma_debug_on());
}

void shmbuddy__error_set_program(const char *name)
{
	ma_error_set_program(name);
	at_start();
}

bool shmbuddy__last_error(struct ma_error *error)
{
	char *text;

	if (ma_last_failure.fresh)
		return ma_last_error(error);
	text = ma_error_text();
	return text && shmbuddy__failure_parts(text, MA_ERROR_TEXT, error);
}

void shmbuddy__error_clear(void)
{
	ma_error_clear();
	shmbuddy__failure_clear();
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
