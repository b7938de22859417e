/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc plot: the picture in a file, or in the terminal again and again. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/commands.h"
#include "tools/picture.h"

#define CELLS_MOST   4096
#define WIDTH        80
#define HEIGHT       24
#define WATCH_OTHERS 4 /* Lines that are no cells. */

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
	reason_clear();
	to = fopen(name, "we");
	if (!to)
		return complain_reason(tool, name, "cannot write it");
	(html ? plot_html : plot_svg)(to, view, picture, is_hilbert(tool));
	failed = ferror(to);
	failed |= fclose(to) != 0;
	return failed ? complain_reason(tool, name, "cannot write it") : STATUS_OK;
}

/* ---- in the terminal ---- */

/* One of 256 colors for each kind. */
static const unsigned char colors[CELL_KINDS] = {
	[CELL_UNTOUCHED] = 238, [CELL_FREE] = 244, [CELL_SMALL] = 39,  [CELL_MEDIUM] = 36,
	[CELL_LARGE] = 214,     [CELL_RUN] = 140,  [CELL_TABLE] = 180, [CELL_BAD] = 196,
};

static const char *glyph(enum cell_kind kind, double fill)
{
	static const char *const eighths[] = { "▁", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };

	if (kind == CELL_UNTOUCHED)
		return " ";
	if (kind == CELL_FREE)
		return "·";
	if (kind == CELL_TABLE)
		return "▒";
	return kind == CELL_BAD ? "╳" : eighths[(int)(fill * 8)];
}

static void paint(struct tool *tool, enum cell_kind kind)
{
	if (tool->colors)
		fprintf(tool->out, "\033[38;5;%um", colors[kind]);
}

static void unpaint(struct tool *tool)
{
	fputs(tint(tool, COLOR_NONE), tool->out);
}

static void show_cells(struct tool *tool, const struct picture *picture, uint64_t width)
{
	for (uint64_t cell = 0; cell < picture->cells; cell++) {
		enum cell_kind kind = picture_kind(picture, cell);

		paint(tool, kind);
		fputs(glyph(kind, picture_fill(picture, cell)), tool->out);
		if (cell % width == width - 1 || cell + 1 == picture->cells) {
			unpaint(tool);
			fputs(tool->colors ? "\033[K\n" : "\n", tool->out);
		}
	}
}

static void show_legend(struct tool *tool)
{
	static const struct {
		enum cell_kind kind;
		const char *text;
	} legend[] = {
		{ CELL_SMALL, "█ to 128" }, { CELL_MEDIUM, "█ to 8K" }, { CELL_LARGE, "█ to 64K" },
		{ CELL_RUN, "█ larger" },   { CELL_TABLE, "▒ tables" }, { CELL_FREE, "· free" },
		{ CELL_BAD, "╳ damaged" },
	};

	for (size_t i = 0; i < MA_COUNT(legend); i++) {
		paint(tool, legend[i].kind);
		fprintf(tool->out, "%s  ", legend[i].text);
	}
	unpaint(tool);
	fputs(tool->colors ? "\033[K\n" : "\n", tool->out);
}

static void show(struct tool *tool, struct view *view, const struct picture *picture, uint64_t width)
{
	struct figures f = { 0 };
	char used[SIZE_TEXT], all[SIZE_TEXT], size[SIZE_TEXT];

	view->kind->measure(view, &f);
	print_safe(tool->out, view->name, strlen(view->name));
	fprintf(tool->out, ": %s, %s of %s used, %llu blocks, a character is %s%s\n", view->kind->name,
		size_text(tool, f.used_bytes, used), size_text(tool, f.capacity, all),
		(unsigned long long)f.used_blocks, size_text(tool, picture->cell_bytes, size),
		tool->colors ? "\033[K" : "");
	show_cells(tool, picture, width);
	show_legend(tool);
}

static void terminal_size(const struct tool *tool, uint64_t *width, uint64_t *height)
{
	struct winsize w = { 0 };

	if (tool->out != stdout || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_col < 10 || w.ws_row < 6) {
		w.ws_col = WIDTH;
		w.ws_row = HEIGHT;
	}
	*width = w.ws_col;
	*height = w.ws_row;
}

static enum status frame(struct tool *tool, const char *name)
{
	struct picture picture;
	uint64_t width, height;
	struct view view;
	enum status status = view_open(tool, name, &view);

	if (status != STATUS_OK)
		return status;
	terminal_size(tool, &width, &height);
	status = view_status(&view);
	if (!view.kind)
		view_print_findings(&view, tool->err, SEVERITY_NOTE);
	else if (!picture_begin(&picture, &view, width * (height - WATCH_OTHERS)))
		status = STATUS_FAILED;
	else {
		show(tool, &view, &picture, width);
		picture_end(&picture);
	}
	view_close(&view);
	return status;
}

static enum status watch(struct tool *tool, const char *name)
{
	double seconds = tool->options.interval > 0 ? tool->options.interval : 1;
	struct timespec pause = { .tv_sec = (time_t)seconds };
	bool moves = tool->out == stdout && isatty(STDOUT_FILENO);
	enum status status = STATUS_OK;

	pause.tv_nsec = (long)((seconds - (double)pause.tv_sec) * 1e9);
	if (moves)
		fputs("\033[2J", tool->out);
	for (uint64_t i = 0; status < STATUS_FOREIGN && (tool->options.count == 0 || i < tool->options.count); i++) {
		if (i > 0)
			nanosleep(&pause, NULL);
		if (moves)
			fputs("\033[H", tool->out);
		status = frame(tool, name);
		if (moves)
			fputs("\033[J", tool->out);
		fflush(tool->out);
	}
	return status;
}

/* ---- the command ---- */

static enum status plot(struct tool *tool, const char *name)
{
	struct picture picture;
	struct view view;
	enum status status = view_open(tool, name, &view), written;

	if (status != STATUS_OK)
		return status;
	view_check(&view);
	status = view_status(&view);
	if (status >= STATUS_DAMAGED)
		view_print_findings(&view, tool->err, SEVERITY_DAMAGE);
	if (view.kind && picture_begin(&picture, &view, CELLS_MOST)) {
		written = write_picture(tool, &view, &picture);
		status = written > status ? written : status;
		picture_end(&picture);
	} else if (status < STATUS_DAMAGED) {
		status = STATUS_FAILED;
	}
	view_close(&view);
	return status == STATUS_REPAIRABLE ? STATUS_OK : status;
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
	return tool->options.watch ? watch(tool, arguments[0]) : plot(tool, arguments[0]);
}

static const struct option_spec options[] = {
	{ "output", 'o', OPTION_TEXT, OPTION(output), "FILE",
	  "FILE.svg or FILE.html, which is replaced when it is there; without it, SVG on standard output" },
	{ "layout", 'l', OPTION_TEXT, OPTION(layout), "LAYOUT", "hilbert (default: neighbours stay together) or rows" },
	{ "watch", 'w', OPTION_FLAG, OPTION(watch), NULL, "draw it in the terminal, again and again" },
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
