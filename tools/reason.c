/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The debug channel of common/error.h, kept in memory: the sentence that a library has for a failure becomes the command's message.
 * This file defines all that common/error.c does, and stands before the libraries' archives: so the linker takes this one.
 */
#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tool.h"

static char said[512];
static const char *alias;

void reason_clear(void)
{
	said[0] = '\0';
}

void reason_alias(const char *name)
{
	alias = name;
}

const char *reason(void)
{
	size_t bytes = alias ? strlen(alias) : 0;

	if (bytes && strncmp(said, alias, bytes) == 0 && strncmp(said + bytes, ": ", 2) == 0)
		return said + bytes + 2;
	return said[0] ? said : NULL;
}

/* Asked once more often than not: it decides whether costly sentences are made. */
bool ma_debug_on(void)
{
	return true;
}

bool ma_env_on(const char *what)
{
	char name[64];
	const char *value;

	snprintf(name, sizeof(name), "MAPALLOC_%s", what);
	value = getenv(name);
	return value && *value && strcmp(value, "0") != 0;
}

static void echo(const char *text)
{
	if (ma_env_on("DEBUG"))
		fprintf(stderr, "mapalloc: debug: %s\n", text);
}

int ma_fail(int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(said, sizeof(said), format, args);
	va_end(args);
	echo(said);
	errno = err;
	return -1;
}

void ma_debug(const char *format, ...)
{
	int saved = errno;
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	echo(text);
	errno = saved;
}

void ma_say(const char *format, ...)
{
	int saved = errno;
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	errno = saved;
}
