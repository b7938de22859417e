/* SPDX-License-Identifier: BSD-3-Clause */
/* Lines on stderr: one write(2) each. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "say.h"

#include "common/cancel.h"

void xmemory__say(const char *format, ...)
{
	MA_UNCANCELLED;
	char line[1024];
	int saved = errno;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	n = n < 0 ? 0 : n < (int)sizeof(line) - 1 ? n : (int)sizeof(line) - 2;
	line[n] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n + 1) < 0)
		errno = 0; /* There is no other place to say it. */
	errno = saved;
}
