/* SPDX-License-Identifier: BSD-3-Clause */
/* See line.h. */
#include "tools/line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *skip(char *at)
{
	return at + strspn(at, " \t\r\n");
}

static int hex4(const char *at)
{
	int value = 0;

	for (int i = 0; i < 4; i++) {
		static const char digits[] = "0123456789abcdef";
		const char *digit = at[i] ? strchr(digits, at[i] | 0x20) : NULL;

		if (!digit)
			return -1;
		value = value << 4 | (int)(digit - digits);
	}
	return value;
}

static char *put_utf8(char *to, int c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 63));
	} else {
		*to++ = (char)(0xe0 | c >> 12);
		*to++ = (char)(0x80 | (c >> 6 & 63));
		*to++ = (char)(0x80 | (c & 63));
	}
	return to;
}

/* What follows a backslash, one character or \uXXXX; surrogates are none of ours. NULL: it means nothing. */
static char *unescape(char *at, char **to)
{
	static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
	const char *found = *at ? strchr(from, *at) : NULL;
	int c;

	if (found) {
		*(*to)++ = into[found - from];
		return at + 1;
	}
	c = *at == 'u' ? hex4(at + 1) : -1;
	if (c <= 0 || (c >= 0xd800 && c < 0xe000))
		return NULL;
	*to = put_utf8(*to, c);
	return at + 5;
}

/* After the opening quote. Past the closing one, or NULL. */
static char *parse_text(char *at, char **text, size_t *length)
{
	char *to = at;

	*text = at;
	while (*at && *at != '"') {
		if (*at != '\\') {
			*to++ = *at++;
			continue;
		}
		at = unescape(at + 1, &to);
		if (!at)
			return NULL;
	}
	if (*at != '"')
		return NULL;
	*length = (size_t)(to - *text);
	*to = '\0';
	return at + 1;
}

static char *parse_word(char *at, struct line_field *field)
{
	static const struct {
		const char *word;
		enum line_type type;
		uint64_t number;
	} words[] = { { "true", LINE_BOOL, 1 }, { "false", LINE_BOOL, 0 }, { "null", LINE_NULL, 0 } };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strncmp(at, words[i].word, strlen(words[i].word)) == 0) {
			field->type = words[i].type;
			field->number = words[i].number;
			return at + strlen(words[i].word);
		}
	return NULL;
}

static char *parse_value(char *at, struct line_field *field)
{
	char *end;

	if (*at == '"') {
		field->type = LINE_TEXT;
		return parse_text(at + 1, &field->text, &field->length);
	}
	if (*at < '0' || *at > '9')
		return parse_word(at, field);
	errno = 0;
	field->type = LINE_NUMBER;
	field->number = strtoull(at, &end, 10);
	return errno || *end == '.' || *end == 'e' || *end == 'E' ? NULL : end;
}

static char *parse_field(char *at, struct line_field *field)
{
	size_t length;
	char *key;

	if (*at != '"')
		return NULL;
	at = parse_text(at + 1, &key, &length);
	if (!at)
		return NULL;
	at = skip(at);
	field->key = key;
	return *at == ':' ? parse_value(skip(at + 1), field) : NULL;
}

bool line_parse(char *text, struct line *line)
{
	char *at = skip(text);

	memset(line, 0, sizeof(*line));
	if (*at != '{')
		return false;
	do {
		if (line->count == LINE_FIELDS)
			return false;
		at = parse_field(skip(at + 1), &line->field[line->count]);
		if (!at)
			return false;
		line->count++;
		at = skip(at);
	} while (*at == ',');
	return *at == '}' && *skip(at + 1) == '\0';
}

const struct line_field *line_find(const struct line *line, const char *key, enum line_type type)
{
	for (unsigned i = 0; i < line->count; i++)
		if (strcmp(line->field[i].key, key) == 0)
			return line->field[i].type == type ? &line->field[i] : NULL;
	return NULL;
}

uint64_t line_number(const struct line *line, const char *key)
{
	const struct line_field *field = line_find(line, key, LINE_NUMBER);

	return field ? field->number : 0;
}
