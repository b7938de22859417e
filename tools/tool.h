/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What the commands share: exit statuses, options, output.
 *
 * A command is a function that gets its options and its arguments and returns a status. It never exits, and all that it prints
 * goes by way of struct tool: so tests and the fuzz target run commands in their own process.
 */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base.h"

enum status {
	STATUS_OK = 0,
	STATUS_REPAIRABLE = 1,
	STATUS_LEAKS = 1,    /* leaks: there are some. */
	STATUS_NO_BLOCK = 1, /* show: no live block is there. */
	STATUS_STALE = 1,    /* load: made, with pointers that lead to where blocks were. */
	STATUS_DAMAGED = 2,
	STATUS_FOREIGN = 3,
	STATUS_FAILED = 4,  /* The system, or a file that cannot be opened. */
	STATUS_REFUSED = 5, /* It would have to guess, or to change what others use. */
	STATUS_USAGE = 64,
};

/* What the command line says; 0 where it says nothing. */
struct options {
	bool json, bytes, force, relocate, damaged, salvage, durable, watch, prometheus, help;
	const char *color, *backup, *input, *output, *layout;
	uint64_t size, base, item, streams, smallest, largest, min_size, count, range, processes;
	double interval;
};

enum option_type { OPTION_FLAG, OPTION_TEXT, OPTION_SIZE, OPTION_NUMBER, OPTION_SECONDS };

struct option_spec {
	const char *name; /* NULL ends the list. */
	char letter;      /* 0: none. */
	enum option_type type;
	size_t at; /* In struct options. */
	const char *value;
	const char *help;
};

#define OPTION(field) offsetof(struct options, field)

struct tool;

struct command {
	const char *name;
	const char *arguments;
	const char *summary;
	const struct option_spec *options;
	const char *more; /* Text below the options; NULL. */
	const char *examples;
	int least, most; /* Arguments; most 0: any number. */
	bool has_json;
	enum status (*run)(struct tool *tool, char **arguments, int count);
};

struct tool {
	FILE *out, *err;
	const struct command *command;
	struct options options;
	bool colors;
	unsigned depth; /* JSON: open brackets, */
	bool is_first;  /* nothing printed since the last one was opened, */
	unsigned flat;  /* and from which depth on it all goes on one line. */
	char said[512]; /* The last message of complain(), without the file's name. */
};

/* Run one command line, without the program's name. */
enum status tool_run(FILE *out, FILE *err, int count, char **arguments);
extern const struct command *const tool_commands[]; /* NULL at the end. */
/* The options that every command knows; those with JSON have one more, at the front. */
extern const struct option_spec tool_common[];

/* ---- options.c ---- */

/* -1: usage, said why. Else the number of arguments, which are moved to the front. */
int options_parse(struct tool *tool, int count, char **arguments);
void options_help(struct tool *tool);

/* ---- size.c ---- */

/* 4096, 64K, 1.5M, 2GiB, 0x1000. False: it is none, or too large. */
bool size_parse(const char *text, uint64_t *size);
/* A whole number without a unit: 16, 0x10. */
bool number_parse(const char *text, uint64_t *number);
#define SIZE_TEXT 32
/* Three digits and a unit, or with --bytes all digits. */
const char *size_text(const struct tool *tool, uint64_t size, char text[SIZE_TEXT]);

/* ---- output.c ---- */

enum color { COLOR_NONE, COLOR_GOOD, COLOR_WARNING, COLOR_BAD, COLOR_DIM, COLOR_BOLD };

/* The sequence that begins a color, COLOR_NONE ends it; "" where there are none. */
const char *tint(const struct tool *tool, enum color color);
/* Bytes from a file, or a name: what is no printable character is written \xNN. */
void print_safe(FILE *to, const char *text, size_t bytes);
/* A label of Prometheus, with its quotes. Bytes that are no UTF-8 become U+FFFD. */
void print_label(FILE *to, const char *text);
/* A message about a file on stderr: "mapalloc: FILE: ...". */
void complain(struct tool *tool, const char *file, const char *format, ...) MA_PRINTF(3, 4);
/* The same, with the last error of a library, or errno's text. Returns STATUS_FAILED. */
enum status complain_last_error(struct tool *tool, const char *file, const char *what);
/* Of a new file that cannot be made: STATUS_REFUSED when there is one of that name. */
enum status complain_making(struct tool *tool, const char *file, const char *what);
/* "block" for 1, "blocks" for 0 and from 2 on. */
const char *plural(uint64_t count, const char *one, const char *many);
/* A line "key      value" of text output: its beginning, and all of it. */
void print_begin(struct tool *tool, const char *key);
void print_key(struct tool *tool, const char *key, const char *format, ...) MA_PRINTF(3, 4);

/* JSON; key is NULL inside of brackets. */
void json_open(struct tool *tool, const char *key, char bracket);
/* The same, and all up to its end on one line. */
void json_open_flat(struct tool *tool, const char *key, char bracket);
void json_close(struct tool *tool, char bracket);
void json_number(struct tool *tool, const char *key, uint64_t value);
void json_real(struct tool *tool, const char *key, double value);
void json_bool(struct tool *tool, const char *key, bool value);
void json_null(struct tool *tool, const char *key);
/* Bytes that are no UTF-8 become U+FFFD. */
void json_text(struct tool *tool, const char *key, const char *text);
void json_bytes(struct tool *tool, const char *key, const char *text, size_t bytes);
/* The whole answer of a command: opened and closed. */
void json_begin(struct tool *tool);
void json_end(struct tool *tool);

/* ---- last_error.c ---- */

/* Before all calls of the libraries. */
void last_error_begin(void);
/* Forget what a library said of its last failure. */
void last_error_clear(void);
/*
 * What a library said since, without its errno, and without its name for the file where that is this one or the alias; in memory that is
 * overwritten by the next call. NULL: nothing. *number is the errno then, else it stays.
 */
const char *last_error(const char *file, int *number);
/* The name by which the libraries know a file that has not got its own name yet. NULL: none. */
void last_error_alias(const char *name);

#endif /* TOOLS_TOOL_H */
