/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding the command, and running it. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/commands.h"

const struct command *const tool_commands[] = {
	&command_info,
	&command_check,
	&command_list,
	&command_show,
	&command_stat,
	&command_leaks,
	&command_repair,
	&command_plot,
	&command_create,
	&command_snapshot,
	&command_resize,
	&command_reap,
	&command_dump,
	&command_load,
	&command_set,
	&command_restore,
	NULL,
};

static void help(FILE *out)
{
	fputs("usage: mapalloc COMMAND [OPTION]... FILE...\n\n"
	      "Look into maps: files of libqalloc, libmmalloc and libshmbuddy, in use or at rest, sound or "
	      "damaged.\n\n",
	      out);
	for (const struct command *const *c = tool_commands; *c; c++)
		fprintf(out, "  %-9s %.*s\n", (*c)->name, (int)strcspn((*c)->summary, "\n:."), (*c)->summary);
	fputs("\nmapalloc COMMAND --help says more, with examples. info, check, stat, list, show, leaks, plot and dump "
	      "change nothing.\n"
	      "Sizes are given as 4096, 64K, 1.5M, 2G.\n\n"
	      "exit status: 0 done, or sound; 1 repairable (leaks: there are some; load: stale pointers; show: no "
	      "block); 2 damaged; 3 "
	      "no map; 4 the system "
	      "failed;\n"
	      "5 refused: in use, or it would be a guess, or a file is in the way, or nothing to restore; 64 wrong "
	      "usage.\n",
	      out);
}

static bool wants_color(const struct tool *tool)
{
	const char *when = tool->options.color, *no = getenv("NO_COLOR");

	if (when && strcmp(when, "always") == 0)
		return true;
	if ((when && strcmp(when, "never") == 0) || (no && *no))
		return false;
	return tool->out == stdout && isatty(STDOUT_FILENO);
}

static const struct command *find(const char *name)
{
	for (const struct command *const *c = tool_commands; *c; c++)
		if (strcmp((*c)->name, name) == 0)
			return *c;
	return NULL;
}

static bool is_one_of(const char *text, const char *a, const char *b)
{
	return strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

static enum status run(struct tool *tool, int count, char **arguments)
{
	int rest = options_parse(tool, count, arguments);

	if (rest < 0)
		return STATUS_USAGE;
	tool->colors = wants_color(tool);
	if (tool->options.help) {
		options_help(tool);
		return STATUS_OK;
	}
	return tool->command->run(tool, arguments, rest);
}

/* What is asked of the program, and not of a command. */
static enum status run_any(struct tool *tool, int count, char **arguments)
{
	if (count > 0 && is_one_of(arguments[0], "--help", "-h")) {
		help(tool->out);
		return STATUS_OK;
	}
	if (count > 0 && is_one_of(arguments[0], "--version", "-V")) {
		fprintf(tool->out, "mapalloc %s\n", MAPALLOC_VERSION);
		return STATUS_OK;
	}
	tool->command = count > 0 ? find(arguments[0]) : NULL;
	if (tool->command)
		return run(tool, count, arguments);
	if (count > 0)
		complain(tool, NULL, "no command %s; try: mapalloc --help", arguments[0]);
	else
		help(tool->err);
	return STATUS_USAGE;
}

enum status tool_run(FILE *out, FILE *err, int count, char **arguments)
{
	struct tool tool = { .out = out, .err = err };
	enum status status;

	last_error_begin();
	status = run_any(&tool, count, arguments);
	if (fflush(out) != 0 || ferror(out)) {
		complain(&tool, NULL, "cannot write its output");
		return STATUS_FAILED;
	}
	return status;
}
