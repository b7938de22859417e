/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One write(2) a line, so that lines of several processes do not mix. The environment is read at every failure, not
 * cached: a program may switch the channel on when things begin to go wrong, and failures are not a fast path.
 */
#include "common/error.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool ma_env_on(const char *what)
{
	char name[48];
	const char *value;

	snprintf(name, sizeof(name), "%s_%s", MA_LIBRARY, what);
	for (char *c = name; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	value = getenv(name);
	return value && *value && strcmp(value, "0") != 0;
}

bool ma_debug_on(void)
{
	return ma_env_on("DEBUG");
}

static void say(int err, const char *format, va_list args)
{
	char line[1024];
	size_t used;
	int n;

	n = snprintf(line, sizeof(line), "%s[%d]: ", MA_LIBRARY, (int)getpid());
	used = (size_t)n;
	n = vsnprintf(line + used, sizeof(line) - used - 80, format, args);
	used += ma_min(n < 0 ? 0 : (size_t)n, sizeof(line) - used - 81);
	if (err)
		used += (size_t)snprintf(line + used, sizeof(line) - used, " (%s)", strerrorname_np(err));
	line[used++] = '\n';
	if (write(STDERR_FILENO, line, used) < 0)
		return; /* Nobody to tell. */
}

int ma_fail(int err, const char *format, ...)
{
	if (MA_UNLIKELY(ma_debug_on())) {
		va_list args;

		va_start(args, format);
		say(err, format, args);
		va_end(args);
	}
	errno = err;
	return -1;
}

void ma_debug(const char *format, ...)
{
	int saved = errno;

	if (MA_UNLIKELY(ma_debug_on())) {
		va_list args;

		va_start(args, format);
		say(0, format, args);
		va_end(args);
	}
	errno = saved;
}

void ma_say(const char *format, ...)
{
	int saved = errno;
	va_list args;

	va_start(args, format);
	say(0, format, args);
	va_end(args);
	errno = saved;
}
