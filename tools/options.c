/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line, and --help, both from the tables of struct option_spec. Long names may be cut short while they are unambiguous. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tool.h"

#define MOST       32
#define FIRST_LONG 256 /* Above every letter. */

const struct option_spec tool_common[] = {
	{ "json", 'j', OPTION_FLAG, OPTION(json), NULL, "print JSON (doc/mapalloc.schema.json)" },
	{ "bytes", 'b', OPTION_FLAG, OPTION(bytes), NULL, "sizes in bytes, exactly" },
	{ "color", 0, OPTION_TEXT, OPTION(color), "WHEN", "auto (default), always, never; NO_COLOR is honoured" },
	{ "help", 'h', OPTION_FLAG, OPTION(help), NULL, "print this help" },
	{ 0 },
};

struct table {
	const struct option_spec *spec[MOST];
	struct option longs[MOST + 1];
	char letters[2 * MOST + 2];
	int count;
};

static void table_add(struct table *table, const struct option_spec *spec)
{
	size_t used = strlen(table->letters);

	table->spec[table->count] = spec;
	table->longs[table->count] = (struct option){
		.name = spec->name,
		.has_arg = spec->type == OPTION_FLAG ? no_argument : required_argument,
		.val = FIRST_LONG + table->count,
	};
	table->count++;
	if (!spec->letter)
		return;
	table->letters[used++] = spec->letter;
	if (spec->type != OPTION_FLAG)
		table->letters[used++] = ':';
	table->letters[used] = '\0';
}

static void table_make(struct table *table, const struct command *command)
{
	memset(table, 0, sizeof(*table));
	table->letters[0] = ':'; /* Messages are ours. */
	for (const struct option_spec *spec = command->options; spec && spec->name; spec++)
		table_add(table, spec);
	for (const struct option_spec *spec = tool_common + !command->has_json; spec->name; spec++)
		table_add(table, spec);
}

static const struct option_spec *table_find(const struct table *table, int found)
{
	if (found >= FIRST_LONG)
		return table->spec[found - FIRST_LONG];
	for (int i = 0; i < table->count; i++)
		if (table->spec[i]->letter == found)
			return table->spec[i];
	return NULL;
}

static bool parse_seconds(const char *text, double *seconds)
{
	char *end;

	*seconds = strtod(text, &end);
	return end != text && *end == '\0' && *seconds > 0 && *seconds < 1e6;
}

static bool store(struct options *options, const struct option_spec *spec, const char *text)
{
	void *at = (char *)options + spec->at;

	switch (spec->type) {
	case OPTION_FLAG:
		*(bool *)at = true;
		return true;
	case OPTION_TEXT:
		*(const char **)at = text;
		return *text != '\0';
	case OPTION_SECONDS:
		return parse_seconds(text, at);
	case OPTION_SIZE:
		return size_parse(text, at);
	default:
		return number_parse(text, at);
	}
}

static int usage(struct tool *tool, const char *format, const char *what)
{
	char text[200];

	snprintf(text, sizeof(text), format, what);
	complain(tool, NULL, "%s: %s; try: mapalloc %s --help", tool->command->name, text, tool->command->name);
	return -1;
}

static int check_rest(struct tool *tool, int rest)
{
	const char *color = tool->options.color;

	if (color && strcmp(color, "auto") != 0 && strcmp(color, "always") != 0 && strcmp(color, "never") != 0)
		return usage(tool, "--color takes auto, always or never, not %s", color);
	if (!tool->options.help && rest < tool->command->least)
		return usage(tool, "wants %s", tool->command->arguments);
	if (!tool->options.help && tool->command->most && rest > tool->command->most)
		return usage(tool, "wants %s and no more", tool->command->arguments);
	return rest;
}

int options_parse(struct tool *tool, int count, char **arguments)
{
	struct table table;
	int found;

	table_make(&table, tool->command);
	optind = 0; /* Again: this may be the second command of this process. */
	opterr = 0;
	/* arguments[0] is the command's name. */
	while ((found = getopt_long(count, arguments, table.letters, table.longs, NULL)) != -1) {
		const struct option_spec *spec = found == '?' || found == ':' ? NULL : table_find(&table, found);
		char letter[3] = { '-', (char)optopt, '\0' };
		bool is_long = optopt == 0 || optopt >= FIRST_LONG;

		if (!spec)
			return usage(tool, found == ':' ? "option %s wants a value" : "unknown option %s",
				     is_long ? arguments[optind - 1] : letter);
		if (!store(&tool->options, spec, optarg))
			return usage(tool, "not a value that its option takes: %s", optarg);
	}
	memmove(arguments, arguments + optind, (size_t)(count - optind) * sizeof(*arguments));
	return check_rest(tool, count - optind);
}

static void help_option(struct tool *tool, const struct option_spec *spec)
{
	char left[48];

	snprintf(left, sizeof(left), "--%s%s%s", spec->name, spec->value ? " " : "", spec->value ? spec->value : "");
	fprintf(tool->out, "  %c%c%s %-22s %s\n", spec->letter ? '-' : ' ', spec->letter ? spec->letter : ' ',
		spec->letter ? "," : " ", left, spec->help);
}

void options_help(struct tool *tool)
{
	const struct command *command = tool->command;
	struct table table;

	table_make(&table, command);
	fprintf(tool->out, "usage: mapalloc %s [OPTION]... %s\n\n%s\n\n", command->name, command->arguments,
		command->summary);
	for (int i = 0; i < table.count; i++)
		help_option(tool, table.spec[i]);
	if (command->more)
		fprintf(tool->out, "\n%s", command->more);
	fprintf(tool->out, "\nexamples:\n%s", command->examples);
}
