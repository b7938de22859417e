/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapalloc plot --watch: the picture in the terminal. With colors a tile's color is its kind and its height the fill; without, its letter
 * is its kind, a capital one when it is more than half full. Whatever the width of the terminal is, no line is longer.
 *
 * While the terminal is ours, keys come one by one and unseen. It is put back before the command ends, also by a signal.
 */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "tools/picture.h"
#include "tools/progress.h"

#define WIDTH     80
#define HEIGHT    24
#define LEAST     10 /* Columns. */
#define LINE_MOST 256

/* ---- lines ---- */

/* Words, none of which is broken unless it is longer than a line. columns: of each, as the terminal shows it. */
struct lines {
	struct tool *tool;
	uint64_t width, at; /* at: columns of this line so far. */
	unsigned count;     /* Lines that were ended. */
	bool silent;        /* Only count. */
};

static void end_line(struct lines *lines)
{
	if (!lines->silent)
		fputs(lines->tool->colors ? "\033[K\n" : "\n", lines->tool->out);
	lines->at = 0;
	lines->count++;
}

/* Room for a word of so many columns, and what is between it and the one before. */
static void make_room(struct lines *lines, uint64_t columns, unsigned gap)
{
	if (lines->at && lines->at + gap + columns > lines->width) {
		end_line(lines);
	} else if (lines->at) {
		if (!lines->silent)
			fprintf(lines->tool->out, "%*s", (int)gap, "");
		lines->at += gap;
	}
	lines->at += columns;
}

static void put_word(struct lines *lines, const char *word)
{
	make_room(lines, strlen(word), 1);
	if (!lines->silent)
		fputs(word, lines->tool->out);
}

/* A name may be anything: what does not fit is cut at its front, where the folders are. */
static void put_name(struct lines *lines, const char *name)
{
	char *text = NULL;
	size_t size = 0, cut;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return;
	print_safe(to, name, strlen(name));
	fputc(':', to);
	fclose(to);
	if (!text)
		return;
	cut = size > lines->width ? size - lines->width : 0;
	while (cut && ((unsigned char)text[cut] & 0xc0) == 0x80) /* Not in the middle of a character. */
		cut++;
	put_word(lines, text + cut);
	free(text);
}

static void put_text(struct lines *lines, char *text)
{
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
		put_word(lines, word);
}

/* ---- a frame ---- */

/* One of 256 colors for each kind. */
static const unsigned char colors[TILE_KINDS] = {
	[TILE_UNTOUCHED] = 238, [TILE_FREE] = 244, [TILE_SMALL] = 39,  [TILE_MEDIUM] = 36,
	[TILE_LARGE] = 214,     [TILE_RUN] = 140,  [TILE_TABLE] = 180, [TILE_BAD] = 196,
};

static const char *glyph(enum tile_kind kind, double fill)
{
	static const char *const eighths[] = { "▁", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };

	if (kind == TILE_UNTOUCHED)
		return " ";
	if (kind == TILE_FREE)
		return "·";
	if (kind == TILE_TABLE)
		return "▒";
	return kind == TILE_BAD ? "╳" : eighths[(int)(fill * 8)];
}

static const char *letter(enum tile_kind kind, double fill)
{
	static const char *const low[TILE_KINDS] = {
		[TILE_UNTOUCHED] = " ", [TILE_FREE] = ".", [TILE_SMALL] = "s", [TILE_MEDIUM] = "m",
		[TILE_LARGE] = "l",     [TILE_RUN] = "r",  [TILE_TABLE] = "#", [TILE_BAD] = "!",
	};
	static const char *const high[TILE_KINDS] = {
		[TILE_SMALL] = "S", [TILE_MEDIUM] = "M", [TILE_LARGE] = "L", [TILE_RUN] = "R"
	};

	return fill > 0.5 && high[kind] ? high[kind] : low[kind];
}

static void put_tile(struct tool *tool, enum tile_kind kind, double fill)
{
	if (tool->colors)
		fprintf(tool->out, "\033[38;5;%um%s", colors[kind], glyph(kind, fill));
	else
		fputs(letter(kind, fill), tool->out);
}

static void show_cells(struct tool *tool, const struct picture *picture, uint64_t width)
{
	for (uint64_t tile = 0; tile < picture->tiles; tile++) {
		put_tile(tool, picture_kind(picture, tile), picture_fill(picture, tile));
		if (tile % width == width - 1 || tile + 1 == picture->tiles)
			fprintf(tool->out, "%s%s\n", tint(tool, COLOR_NONE), tool->colors ? "\033[K" : "");
	}
}

static void show_legend(struct lines *lines, bool keys)
{
	static const struct {
		enum tile_kind kind;
		const char *text;
	} legend[] = {
		{ TILE_SMALL, "to 128" }, { TILE_MEDIUM, "to 8K" }, { TILE_LARGE, "to 64K" }, { TILE_RUN, "larger" },
		{ TILE_TABLE, "tables" }, { TILE_FREE, "free" },    { TILE_BAD, "damaged" },
	};

	for (size_t i = 0; i < MA_COUNT(legend); i++) {
		make_room(lines, 2 + strlen(legend[i].text), 2);
		if (lines->silent)
			continue;
		put_tile(lines->tool, legend[i].kind, lines->tool->colors ? 1 : 0);
		fprintf(lines->tool->out, " %s%s", legend[i].text, tint(lines->tool, COLOR_NONE));
	}
	if (!lines->tool->colors)
		put_text(lines, (char[]){ "(capital: over half full)" });
	if (keys)
		put_text(lines, (char[]){ " q: quit" });
	end_line(lines);
}

static void show_head(struct lines *lines, struct view *view, const struct figures *f, uint64_t tile_bytes)
{
	struct tool *tool = lines->tool;
	char used[SIZE_TEXT], all[SIZE_TEXT], size[SIZE_TEXT], text[LINE_MOST];

	put_name(lines, view->name);
	snprintf(text, sizeof(text), "%s, %s of %s used, %llu %s, %s per character", view->kind->name,
		 size_text(tool, f->used_bytes, used), size_text(tool, f->capacity, all),
		 (unsigned long long)f->used_blocks, plural(f->used_blocks, "block", "blocks"),
		 size_text(tool, tile_bytes, size));
	put_text(lines, text);
	end_line(lines);
}

/* Lines that are no tiles: as many as the longest sizes could take, and one for the cursor. */
static uint64_t others(struct tool *tool, struct view *view, const struct figures *f, uint64_t width, bool keys)
{
	struct lines lines = { .tool = tool, .width = width, .silent = true };

	show_head(&lines, view, f, 1023);
	show_legend(&lines, keys);
	return lines.count + 1;
}

static enum status show(struct tool *tool, struct view *view, uint64_t width, uint64_t height, bool keys)
{
	struct lines lines = { .tool = tool, .width = width };
	struct figures f = { 0 };
	struct picture picture;
	uint64_t taken;

	view->kind->measure(view, &f);
	taken = others(tool, view, &f, width, keys);
	if (!picture_begin(&picture, view, width * (height > taken ? height - taken : 1)))
		return STATUS_FAILED;
	show_head(&lines, view, &f, picture.tile_bytes);
	show_cells(tool, &picture, width);
	show_legend(&lines, keys);
	picture_end(&picture);
	return STATUS_OK;
}

/* ---- the terminal ---- */

static struct termios terminal_was;
static volatile sig_atomic_t ended_by;

static void on_signal(int number)
{
	ended_by = number;
}

/* Who changes a terminal from the background is stopped. */
static bool has_keys(void)
{
	return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

/* Again for each frame: another program may have had the terminal while this one was stopped. */
static bool take_keys(void)
{
	struct termios now;

	if (!has_keys() || tcgetattr(STDIN_FILENO, &now) < 0)
		return false;
	now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	now.c_cc[VMIN] = 1;
	now.c_cc[VTIME] = 0;
	return tcsetattr(STDIN_FILENO, TCSANOW, &now) == 0;
}

static void give_keys_back(void)
{
	if (has_keys())
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal_was);
}

static void terminal_size(const struct tool *tool, uint64_t *width, uint64_t *height)
{
	struct winsize w = { 0 };
	uint64_t columns;
	const char *text = getenv("COLUMNS");

	*width = WIDTH;
	*height = HEIGHT;
	if (tool->out == stdout && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= LEAST && w.ws_row >= 6) {
		*width = w.ws_col;
		*height = w.ws_row;
	} else if (text && number_parse(text, &columns) && columns >= LEAST && columns <= 10000) {
		*width = columns;
	}
}

/* Until the next frame is due. True: q was typed, or a signal came. */
static bool pause_is_cut(double seconds, bool keys)
{
	double end = progress_now() + seconds, left;
	struct pollfd in = { .fd = keys ? STDIN_FILENO : -1, .events = POLLIN };
	char key;

	while (!ended_by && (left = end - progress_now()) > 0) {
		struct timespec wait = { .tv_sec = (time_t)left };

		wait.tv_nsec = (long)((left - (double)wait.tv_sec) * 1e9);
		if (ppoll(&in, 1, &wait, NULL) <= 0)
			continue;
		if (read(STDIN_FILENO, &key, 1) != 1)
			in.fd = -1; /* The terminal is gone. */
		else if (key == 'q' || key == 'Q')
			return true;
	}
	return ended_by != 0;
}

/* ---- the command ---- */

/* first: all is checked, and what is wrong is said when the picture no longer moves. */
static enum status frame(struct tool *tool, struct view *view, bool first, bool keys)
{
	uint64_t width, height;
	enum status status, shown;

	if (first && view->kind)
		view_check(view);
	status = view_status(view);
	terminal_size(tool, &width, &height);
	if (!view->kind) {
		view_print_findings(view, tool->err, SEVERITY_NOTE);
		return status == STATUS_OK ? STATUS_FAILED : status;
	}
	shown = show(tool, view, width, height, keys);
	return shown > status ? shown : status == STATUS_REPAIRABLE ? STATUS_OK : status;
}

static enum status one(struct tool *tool, const char *name, bool first, bool moves, bool keys)
{
	struct view view;
	enum status status = view_open(tool, name, &view);

	if (status != STATUS_OK)
		return status;
	if (moves)
		fputs("\033[H", tool->out);
	status = frame(tool, &view, first, keys);
	if (moves)
		fputs("\033[J", tool->out);
	fflush(tool->out);
	view_close(&view);
	return status;
}

static enum status frames(struct tool *tool, const char *name, bool moves)
{
	double seconds = tool->options.interval > 0 ? tool->options.interval : 1;
	enum status status = STATUS_OK, worst = STATUS_OK;

	for (uint64_t i = 0; status < STATUS_FOREIGN && (tool->options.count == 0 || i < tool->options.count); i++) {
		bool keys = moves && take_keys();

		if (i > 0 && pause_is_cut(seconds, keys))
			break;
		status = one(tool, name, i == 0, moves, keys);
		worst = status > worst ? status : worst;
	}
	return worst;
}

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

static enum status in_terminal(struct tool *tool, const char *name)
{
	struct sigaction action = { .sa_handler = on_signal }, before[MA_COUNT(signals)];
	bool had_keys = has_keys() && tcgetattr(STDIN_FILENO, &terminal_was) == 0;
	enum status status;

	ended_by = 0;
	for (size_t i = 0; i < MA_COUNT(signals); i++)
		sigaction(signals[i], &action, &before[i]);
	fputs("\033[2J", tool->out);
	status = frames(tool, name, true);
	if (had_keys)
		give_keys_back();
	for (size_t i = 0; i < MA_COUNT(signals); i++)
		sigaction(signals[i], &before[i], NULL);
	if (ended_by && ended_by != SIGINT)
		raise(ended_by);
	return status;
}

enum status plot_watch(struct tool *tool, const char *name)
{
	bool moves = tool->out == stdout && isatty(STDOUT_FILENO);
	enum status status = moves ? in_terminal(tool, name) : frames(tool, name, false);

	if (status == STATUS_DAMAGED)
		complain(tool, name, "damaged: only what can be read is drawn; see mapalloc check");
	return status;
}
