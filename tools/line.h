/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One line of a dump: a JSON object without others inside of it. Values are strings, whole numbers, true, false and null. Whatever else
 * JSON has is no line of ours.
 */
#ifndef TOOLS_LINE_H
#define TOOLS_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_FIELDS 16

enum line_type { LINE_NUMBER, LINE_TEXT, LINE_BOOL, LINE_NULL };

struct line_field {
	const char *key;
	enum line_type type;
	uint64_t number; /* And of a bool. */
	char *text;      /* In the line itself, with a closing zero. */
	size_t length;
};

struct line {
	struct line_field field[LINE_FIELDS];
	unsigned count;
};

/* Changes the text, which the fields then point into. False: it is no such line. */
bool line_parse(char *text, struct line *line);
/* NULL: there is none, or of another type. */
const struct line_field *line_find(const struct line *line, const char *key, enum line_type type);
/* 0 when there is none. */
uint64_t line_number(const struct line *line, const char *key);

#endif /* TOOLS_LINE_H */
