/* SPDX-License-Identifier: BSD-3-Clause */
/* Text, colors and JSON. Nothing of a file is printed as it is: names and contents may be anything. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "tools/tool.h"

#define INDENT 2

const char *tint(const struct tool *tool, enum color color)
{
	static const char *const sequence[] = {
		[COLOR_NONE] = "\033[0m", [COLOR_GOOD] = "\033[32m", [COLOR_WARNING] = "\033[33m",
		[COLOR_BAD] = "\033[31m", [COLOR_DIM] = "\033[2m",   [COLOR_BOLD] = "\033[1m",
	};

	return tool->colors ? sequence[color] : "";
}

/* Bytes of the UTF-8 character here; 0: it is none. */
static size_t utf8_bytes(const unsigned char *at, size_t left)
{
	size_t bytes = *at < 0x80                  ? 1
		       : *at >= 0xc2 && *at < 0xe0 ? 2
		       : *at >= 0xe0 && *at < 0xf0 ? 3
		       : *at < 0xf5                ? 4
						   : 0;

	if (*at >= 0x80 && *at < 0xc2)
		return 0;
	if (bytes == 0 || bytes > left)
		return 0;
	for (size_t i = 1; i < bytes; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	if ((*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] >= 0xa0) || (*at == 0xf0 && at[1] < 0x90) ||
	    (*at == 0xf4 && at[1] >= 0x90))
		return 0;
	return bytes;
}

void print_safe(FILE *to, const char *text, size_t bytes)
{
	const unsigned char *at = (const unsigned char *)text;

	while (bytes > 0) {
		size_t n = utf8_bytes(at, bytes);
		bool is_control = *at < 0x20 || *at == 0x7f || (n == 2 && at[0] == 0xc2 && at[1] < 0xa0);

		if (n == 0 || is_control) {
			fprintf(to, "\\x%02x", *at);
			n = 1;
		} else {
			fwrite(at, 1, n, to);
		}
		at += n;
		bytes -= n;
	}
}

void complain(struct tool *tool, const char *file, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(tool->said, sizeof(tool->said), format, args);
	va_end(args);
	fprintf(tool->err, "%smapalloc:%s ", tint(tool, COLOR_BOLD), tint(tool, COLOR_NONE));
	if (file) {
		print_safe(tool->err, file, strlen(file));
		fputs(": ", tool->err);
	}
	print_safe(tool->err, tool->said, strlen(tool->said)); /* It may have names in it, of roots too. */
	fputc('\n', tool->err);
}

enum status complain_last_error(struct tool *tool, const char *file, const char *what)
{
	int number = errno;
	const char *text = last_error(file, &number);

	if (text)
		complain(tool, file, "%s: %s (%s)", what, text, strerror(number));
	else
		complain(tool, file, "%s: %s", what, strerror(number));
	return STATUS_FAILED;
}

enum status complain_making(struct tool *tool, const char *file, const char *what)
{
	bool is_there = errno == EEXIST;
	enum status status = complain_last_error(tool, file, what);

	return is_there ? STATUS_REFUSED : status;
}

void print_begin(struct tool *tool, const char *key)
{
	fprintf(tool->out, "  %s%-12s%s ", tint(tool, COLOR_DIM), key, tint(tool, COLOR_NONE));
}

void print_key(struct tool *tool, const char *key, const char *format, ...)
{
	va_list args;

	print_begin(tool, key);
	va_start(args, format);
	vfprintf(tool->out, format, args);
	va_end(args);
	fputc('\n', tool->out);
}

void print_label(FILE *to, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	fputc('"', to);
	for (size_t left = strlen(text), n; left > 0; at += n, left -= n) {
		n = utf8_bytes(at, left);
		if (*at == '\n')
			fputs("\\n", to);
		else if (*at == '"' || *at == '\\')
			fprintf(to, "\\%c", *at);
		else if (n)
			fwrite(at, 1, n, to);
		else
			fputs("\xef\xbf\xbd", to); /* U+FFFD. */
		n = n ? n : 1;
	}
	fputc('"', to);
}

const char *plural(uint64_t count, const char *one, const char *many)
{
	return count == 1 ? one : many;
}

/* ---- JSON ---- */

static void json_string(FILE *to, const char *text, size_t bytes)
{
	const unsigned char *at = (const unsigned char *)text;

	fputc('"', to);
	while (bytes > 0) {
		size_t n = utf8_bytes(at, bytes);

		if (n == 0)
			fputs("\\ufffd", to);
		else if (*at == '"' || *at == '\\')
			fprintf(to, "\\%c", *at);
		else if (*at < 0x20 || *at == 0x7f)
			fprintf(to, "\\u%04x", *at);
		else
			fwrite(at, 1, n, to);
		n = n ? n : 1;
		at += n;
		bytes -= n;
	}
	fputc('"', to);
}

static void json_next(struct tool *tool, const char *key)
{
	bool is_flat = tool->flat && tool->depth >= tool->flat;

	if (tool->depth && !tool->is_first)
		fputs(is_flat ? ", " : ",", tool->out);
	if (tool->depth && !is_flat)
		fprintf(tool->out, "\n%*s", (int)(tool->depth * INDENT), "");
	tool->is_first = false;
	if (!key)
		return;
	json_string(tool->out, key, strlen(key));
	fputs(": ", tool->out);
}

void json_open(struct tool *tool, const char *key, char bracket)
{
	json_next(tool, key);
	fputc(bracket, tool->out);
	tool->depth++;
	tool->is_first = true;
}

void json_open_flat(struct tool *tool, const char *key, char bracket)
{
	json_open(tool, key, bracket);
	if (!tool->flat)
		tool->flat = tool->depth;
}

void json_close(struct tool *tool, char bracket)
{
	bool is_flat = tool->flat && tool->depth >= tool->flat;

	if (tool->flat == tool->depth)
		tool->flat = 0;
	tool->depth--;
	if (!is_flat && !tool->is_first)
		fprintf(tool->out, "\n%*s", (int)(tool->depth * INDENT), "");
	fputc(bracket, tool->out);
	tool->is_first = false;
}

void json_number(struct tool *tool, const char *key, uint64_t value)
{
	json_next(tool, key);
	fprintf(tool->out, "%" PRIu64, value);
}

void json_real(struct tool *tool, const char *key, double value)
{
	json_next(tool, key);
	fprintf(tool->out, "%.4g", isfinite(value) ? value : 0);
}

void json_bool(struct tool *tool, const char *key, bool value)
{
	json_next(tool, key);
	fputs(value ? "true" : "false", tool->out);
}

void json_null(struct tool *tool, const char *key)
{
	json_next(tool, key);
	fputs("null", tool->out);
}

void json_bytes(struct tool *tool, const char *key, const char *text, size_t bytes)
{
	json_next(tool, key);
	json_string(tool->out, text, bytes);
}

void json_text(struct tool *tool, const char *key, const char *text)
{
	json_bytes(tool, key, text, strlen(text));
}

void json_begin(struct tool *tool)
{
	json_open(tool, NULL, '{');
	json_text(tool, "command", tool->command->name);
}

void json_end(struct tool *tool)
{
	json_close(tool, '}');
	fputc('\n', tool->out);
}
