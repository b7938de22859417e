/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc plot: the picture in a file. In the terminal: watch.c. */
#include <string.h>
#include <sys/stat.h>

#include "tools/commands.h"
#include "tools/picture.h"

#define CELLS_MOST 4096

/* ---- to a file ---- */

static bool ends_with(const char *name, const char *end)
{
	size_t a = strlen(name), b = strlen(end);

	return a >= b && strcmp(name + a - b, end) == 0;
}

static bool is_same_file(const struct view *view, const char *name)
{
	struct stat st;

	return stat(name, &st) == 0 && st.st_dev == view->st.st_dev && st.st_ino == view->st.st_ino;
}

static bool is_hilbert(const struct tool *tool)
{
	return !tool->options.layout || strcmp(tool->options.layout, "hilbert") == 0;
}

static enum status write_picture(struct tool *tool, struct view *view, const struct picture *picture)
{
	const char *name = tool->options.output;
	bool html = name && (ends_with(name, ".html") || ends_with(name, ".htm"));
	bool failed;
	FILE *to;

	if (!name) {
		plot_svg(tool->out, view, picture, is_hilbert(tool));
		return STATUS_OK;
	}
	if (is_same_file(view, name)) {
		complain(tool, name, "is the map itself");
		return STATUS_REFUSED;
	}
	last_error_clear();
	to = fopen(name, "we");
	if (!to)
		return complain_last_error(tool, name, "cannot write it");
	(html ? plot_html : plot_svg)(to, view, picture, is_hilbert(tool));
	failed = ferror(to);
	failed |= fclose(to) != 0;
	return failed ? complain_last_error(tool, name, "cannot write it") : STATUS_OK;
}

/* ---- the command ---- */

static enum status plot(struct tool *tool, const char *name)
{
	struct picture picture;
	struct view view;
	enum status status = view_open(tool, name, &view), written;

	if (status != STATUS_OK)
		return status;
	status = view_warn(&view, "drawn");
	if (view.kind && picture_begin(&picture, &view, CELLS_MOST)) {
		written = write_picture(tool, &view, &picture);
		status = written > status ? written : status;
		picture_end(&picture);
	} else if (status < STATUS_DAMAGED) {
		status = STATUS_FAILED;
	}
	view_close(&view);
	return status;
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	const char *layout = tool->options.layout, *output = tool->options.output;

	(void)count;
	if (layout && strcmp(layout, "hilbert") != 0 && strcmp(layout, "rows") != 0) {
		complain(tool, NULL, "plot: --layout takes hilbert or rows, not %s", layout);
		return STATUS_USAGE;
	}
	if (output && !ends_with(output, ".svg") && !ends_with(output, ".html") && !ends_with(output, ".htm")) {
		complain(tool, NULL, "plot: --output wants a name that ends with .svg or .html, not %s", output);
		return STATUS_USAGE;
	}
	return tool->options.watch ? plot_watch(tool, arguments[0]) : plot(tool, arguments[0]);
}

static const struct option_spec options[] = {
	{ "output", 'o', OPTION_TEXT, OPTION(output), "FILE",
	  "FILE.svg or FILE.html, which is replaced when it is there; without it, SVG on standard output" },
	{ "layout", 'l', OPTION_TEXT, OPTION(layout), "LAYOUT", "hilbert (default: neighbours stay together) or rows" },
	{ "watch", 'w', OPTION_FLAG, OPTION(watch), NULL,
	  "draw it in the terminal, again and again, until q or Ctrl-C" },
	{ "interval", 'i', OPTION_SECONDS, OPTION(interval), "SECONDS", "with --watch: how often (1)" },
	{ "count", 'n', OPTION_NUMBER, OPTION(count), "N", "with --watch: so many times" },
	{ 0 },
};

const struct command command_plot = {
	.name = "plot",
	.arguments = "FILE",
	.summary = "Draw a map: each square some of its space, colored by what is there, the stronger the fuller.",
	.options = options,
	.more = "Of a damaged map, what can be read is drawn, and what is wrong is marked. The page has the table of "
		"sizes and the findings too.\n",
	.examples = "  mapalloc plot notes.map -o notes.html\n"
		    "  mapalloc plot --layout rows notes.map >notes.svg\n"
		    "  mapalloc plot --watch --interval 0.2 /dev/shm/cache.map\n",
	.least = 1,
	.most = 1,
	.run = run,
};
