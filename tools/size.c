/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes as users write them. Units are powers of 1024. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tool.h"

static const char units[] = "KMGTPE";

/* What a number may end with; -1: nothing that we know. */
static int shift_of(const char *unit)
{
	const char *at;
	int shift;

	if (*unit == '\0' || strcmp(unit, "B") == 0)
		return 0;
	at = strchr(units, toupper((unsigned char)*unit));
	if (!at)
		return -1;
	shift = ((int)(at - units) + 1) * 10;
	unit++;
	return *unit == '\0' || strcmp(unit, "B") == 0 || strcmp(unit, "iB") == 0 ? shift : -1;
}

static bool parse_whole(const char *text, uint64_t *size, char **end)
{
	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*size = strtoull(text, end, strncmp(text, "0x", 2) == 0 ? 16 : 10);
	return errno == 0;
}

bool number_parse(const char *text, uint64_t *number)
{
	char *end;

	return parse_whole(text, number, &end) && *end == '\0';
}

bool size_parse(const char *text, uint64_t *size)
{
	long double fraction;
	char *end;
	int shift;

	if (!parse_whole(text, size, &end))
		return false;
	if (*end != '.') {
		shift = shift_of(end);
		if (shift < 0 || (*size != 0 && *size > UINT64_MAX >> shift))
			return false;
		*size <<= shift;
		return true;
	}
	fraction = strtold(text, &end);
	shift = shift_of(end);
	if (shift <= 0)
		return false;
	fraction *= (long double)((uint64_t)1 << shift);
	if (fraction >= 18446744073709551615.0L)
		return false;
	*size = (uint64_t)fraction;
	return true;
}

const char *size_text(const struct tool *tool, uint64_t size, char text[SIZE_TEXT])
{
	double value = (double)size;
	int unit = -1;

	while (value >= 1024 && unit + 1 < (int)sizeof(units) - 1) {
		value /= 1024;
		unit++;
	}
	if (tool->options.bytes || unit < 0)
		snprintf(text, SIZE_TEXT, "%llu", (unsigned long long)size);
	else if ((uint64_t)value << ((unit + 1) * 10) == size)
		snprintf(text, SIZE_TEXT, "%.0f%c", value, units[unit]);
	else
		snprintf(text, SIZE_TEXT, "%.*f%c", value < 9.95 ? 2 : value < 99.5 ? 1 : 0, value, units[unit]);
	return text;
}
