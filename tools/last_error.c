/* SPDX-License-Identifier: BSD-3-Clause */
/* The last failure of a library, as a part of the command's message about a file. */
#include <stdio.h>
#include <string.h>

#include "libshmbuddy/src/inspect.h"
#include "tools/tool.h"

static const char *alias;

void last_error_begin(void)
{
	shmbuddy__error_set_program("mapalloc");
}

void last_error_clear(void)
{
	shmbuddy__error_clear();
}

void last_error_alias(const char *name)
{
	alias = name;
}

static bool is_about(const struct ma_error *error, const char *name)
{
	return name && strlen(name) == error->name_bytes && memcmp(name, error->name, error->name_bytes) == 0;
}

const char *last_error(const char *file, int *number)
{
	static char text[MA_ERROR_TEXT];
	struct ma_error error;
	bool is_named;

	if (!shmbuddy__last_error(&error))
		return NULL;
	is_named = error.name_bytes && !is_about(&error, file) && !is_about(&error, alias);
	snprintf(text, sizeof(text), "%.*s%s%.*s", is_named ? (int)error.name_bytes : 0, error.name,
		 is_named ? ": " : "", (int)error.text_bytes, error.text);
	*number = error.number;
	return text;
}
