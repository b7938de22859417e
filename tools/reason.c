/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The debug channel of common/error.h, kept in memory: the sentence that a library has for a failure becomes the command's message.
 * This file defines all that common/error.c does, and stands before the libraries' archives: so the linker takes this one.
 */
#include "common/env.h"
#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <shmbuddy.h>

#include "tools/tool.h"

_Thread_local struct ma_last_failure ma_last_failure __attribute__((tls_model("initial-exec")));

static char said[MA_ERROR_TEXT];
static const char *alias;

void reason_clear(void)
{
	said[0] = '\0';
	ma_last_failure.fresh = true;
}

void reason_alias(const char *name)
{
	alias = name;
}

/* libshmbuddy makes its sentence when it is asked for it, and adds the errno, which commands do themselves. */
static void fetch(void)
{
	char *end;

	if (ma_last_failure.fresh)
		return;
	shmbuddy_errmsg();
	end = strrchr(said, '(');
	if (end && end > said)
		end[-1] = '\0';
	ma_last_failure.fresh = true;
}

const char *reason(void)
{
	size_t bytes = alias ? strlen(alias) : 0;

	fetch();
	if (bytes && strncmp(said, alias, bytes) == 0 && strncmp(said + bytes, ": ", 2) == 0)
		return said + bytes + 2;
	return said[0] ? said : NULL;
}

bool ma_debug_on(void)
{
	return ma_env_on("DEBUG");
}

bool ma_env_on(const char *what)
{
	char name[64];
	const char *value;

	snprintf(name, sizeof(name), "MAPALLOC_%s", what);
	value = ma_env(name);
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
	ma_last_failure.fresh = true;
	echo(said);
	errno = err;
	return -1;
}

int ma_fail_quiet(int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(said, sizeof(said), format, args);
	va_end(args);
	ma_last_failure.fresh = true;
	errno = err;
	return -1;
}

char *ma_error_text(void)
{
	return said;
}

void *ma_error_extra(void)
{
	static _Alignas(max_align_t) char extra[MA_ERROR_EXTRA];

	return extra;
}

const char *ma_errmsg(void)
{
	return said;
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
