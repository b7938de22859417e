/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ratios to the baseline as an SVG drawing: a row a metric, a mark an adapter, a logarithmic axis. Our libraries
 * have large marks, their goals as ticks, and their figures as text. What is beyond the axis, or did not end in time,
 * stands in a strip of its own at the right. Colours are such that they can be seen on white and on black.
 */
#define _GNU_SOURCE 1
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pixels. */
enum {
	LABELS = 285, /* the axis begins here */
	AXIS = 500,
	STRIP = LABELS + AXIS + 14, /* what is beyond, side by side */
	STRIP_WIDTH = 160,
	FIGURES = STRIP + STRIP_WIDTH + 8,
	FIGURE = 52,
	WIDTH = FIGURES + 4 * FIGURE + 12,
	TOP = 118,
	ROW = 42,
	NEAR = 11 /* marks closer than this cover each other */
};

#define AXIS_LEAST 0.05
#define AXIS_MOST  100.0

enum shape { CIRCLE, SQUARE, DIAMOND, UP, DOWN };

struct style {
	const char *adapter;
	const char *title;
	const char *family; /* CSS class; "ours" is drawn large */
	enum shape shape;
};

static const struct style styles[] = {
	{ "qalloc", "qalloc, dynamic map", "ours", CIRCLE },
	{ "qalloc-static", "qalloc, static map", "ours", DIAMOND },
	{ "mmalloc", "mmalloc, heap in a file", "ours", SQUARE },
	{ "mmalloc-anon", "mmalloc, heap in memory", "ours", UP },
	{ "shmbuddy", "shmbuddy, 32 B to 1 KiB", "ours", DOWN },
	{ "shmbuddy-wide", "shmbuddy, 16 B to 256 KiB", "file", DOWN },
	{ "glibc", "glibc", "memory", CIRCLE },
	{ "jemalloc", "jemalloc", "memory", SQUARE },
	{ "tcmalloc", "tcmalloc", "memory", UP },
	{ "boost", "Boost mapped file", "boost", CIRCLE },
	{ "boost-shm", "Boost shared memory", "boost", SQUARE },
	{ "boost-node", "Boost node_allocator", "boost", UP },
	{ "boost-cached", "Boost cached_node_allocator", "boost", DOWN },
	{ "pmemobj", "libpmemobj", "file", CIRCLE },
	{ "memkind", "memkind file kind", "file", SQUARE },
	{ "apr", "APR rmm", "file", UP },
	{ "xmemory", "xmemory, in RAM", "memory", DOWN },
};
enum { STYLES = sizeof(styles) / sizeof(*styles) };

static const char head[] =
	"<style>\n"
	"text { font: 13px system-ui, 'DejaVu Sans', sans-serif; fill: #333 }\n"
	".title { font-size: 17px; font-weight: 600 } .small { font-size: 11.5px; fill: #666 }\n"
	".number { text-anchor: end } .middle { text-anchor: middle }\n"
	".page { fill: #fff } .band { fill: #888; fill-opacity: .09 } .strip { fill: #888; fill-opacity: .12 }\n"
	".grid { stroke: #999; stroke-opacity: .35 } .one { stroke: #777; stroke-width: 2 }\n"
	".mark { stroke-width: 1.6; fill-opacity: .35 }\n"
	".ours { fill: #e8590c; stroke: #b8420a; fill-opacity: 1 } .goal { stroke: #e8590c; stroke-width: 2.4 } "
	".dotted { stroke-dasharray: 2.5 2.5 }\n"
	".memory { fill: #3b82d6; stroke: #3b82d6 } .boost { fill: #2f9e5b; stroke: #2f9e5b }\n"
	".file { fill: #a06bd6; stroke: #a06bd6 }\n"
	"@media (prefers-color-scheme: dark) {\n"
	"text { fill: #ddd } .small { fill: #aaa } .page { fill: #16181c } .one { stroke: #aaa }\n"
	"}\n"
	"</style>\n";

static double axis_x(double ratio)
{
	return LABELS + AXIS * log(ratio / AXIS_LEAST) / log(AXIS_MOST / AXIS_LEAST);
}

static void text(FILE *out, const char *class, double x, double y, const char *what)
{
	fprintf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", class, x, y, what);
}

static void line(FILE *out, const char *class, double x, double y, double y2)
{
	fprintf(out, "<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", class, x, x, y, y2);
}

static void box(FILE *out, const char *class, double x, double y, double width, double height)
{
	fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", class, x, y, width,
		height);
}

static void mark(FILE *out, const struct style *style, double x, double y)
{
	static const char *const path[] = {
		[CIRCLE] = "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
		[SQUARE] = "M-4.5-4.5h9v9h-9z",
		[DIAMOND] = "M0-6L6 0L0 6L-6 0z",
		[UP] = "M0-5.5L5.5 4.5H-5.5z",
		[DOWN] = "M0 5.5L5.5-4.5H-5.5z",
	};
	double scale = strcmp(style->family, "ours") == 0 ? 1.25 : 0.9;

	fprintf(out,
		"<path class=\"mark %s\" transform=\"translate(%.1f %.1f) scale(%g)\" "
		"d=\"%s\"><title>%s</title></path>\n",
		style->family, x, y, scale, path[style->shape], style->title);
}

/* Was there anything to compare? */
static bool has_row(const struct results *results, size_t metric)
{
	for (size_t i = 0; i < STYLES; i++)
		if (!isnan(result_ratio(results, metric, adapter_place(styles[i].adapter))))
			return true;
	return false;
}

/* The goal as a ratio to the baseline; NaN when there is none. */
static double goal_of(const struct results *results, size_t metric, const char *adapter)
{
	for (const struct limit *limit = limits; limit->adapter != NULL; limit++) {
		if (strcmp(limit->adapter, adapter) != 0 || metric_place(limit->workload, limit->key) != metric)
			continue;
		if (limit->kind == LIMIT_RATIO)
			return limit->most;
		if (limit->kind == LIMIT_PLAIN)
			return limit->most / result_median(results, metric, adapter_place(BASELINE));
	}
	return NAN;
}

struct place {
	const struct style *style;
	double x, y;
};

/* The distance to the next of the marks that have their places. */
static double room_at(const struct place *place, size_t n, double x, double y)
{
	double room = HUGE_VAL;

	for (size_t i = 0; i < n; i++)
		room = fmin(room, hypot(place[i].x - x, place[i].y - y));
	return room;
}

/* Five lines a row, the middle one first; if there is room on none, the one with the most. */
static void find_place(struct place *place, size_t n, double y)
{
	static const double line[] = { 0, -7.5, 7.5, -15, 15 };
	double best = -1;

	for (size_t i = 0; i < sizeof(line) / sizeof(*line) && best < NEAR; i++) {
		double room = room_at(place, n, place[n].x, y + line[i]);

		if (room <= best)
			continue;
		best = room;
		place[n].y = y + line[i];
	}
}

/* Ours, which come first in styles[], have the first choice of places and are drawn last. */
static void draw_marks(const struct results *results, size_t metric, double y, FILE *out)
{
	struct place place[STYLES];
	double beyond = STRIP + 10;
	size_t n = 0;

	for (size_t i = 0; i < STYLES; i++) {
		size_t adapter = adapter_place(styles[i].adapter);
		double ratio = result_ratio(results, metric, adapter);

		if (results->outcome[metric][adapter] != FINE || ratio > AXIS_MOST) {
			mark(out, &styles[i], beyond, y);
			beyond += NEAR + 3;
		} else if (!isnan(ratio)) {
			place[n] = (struct place){ &styles[i], axis_x(ratio > AXIS_LEAST ? ratio : AXIS_LEAST), y };
			find_place(place, n, y);
			n++;
		}
	}
	while (n-- != 0)
		mark(out, place[n].style, place[n].x, place[n].y);
}

static void draw_figure(double figure, double x, double y, FILE *out)
{
	char digits[32];

	if (isnan(figure))
		return;
	snprintf(digits, sizeof(digits), "%.2f", figure);
	text(out, "number", x, y, digits);
}

/* Figures and goals of the first two, in this order: dynamic, its goal, static, its goal. mmalloc has the goals of the dynamic map. */
static void draw_figures(const struct results *results, size_t metric, double y, FILE *out)
{
	for (size_t i = 0; i < 2; i++) {
		double goal = goal_of(results, metric, styles[i].adapter);
		double x = FIGURES + (double)(2 * i + 1) * FIGURE;

		draw_figure(result_ratio(results, metric, adapter_place(styles[i].adapter)), x, y + 4.5, out);
		draw_figure(goal, x + FIGURE, y + 4.5, out);
		if (!isnan(goal) && goal > AXIS_LEAST)
			line(out, i == 0 ? "goal" : "goal dotted", axis_x(goal), y - ROW / 2.0 + 2, y + ROW / 2.0 - 2);
	}
}

static void draw_axis(double bottom, FILE *out)
{
	static const double at[] = { 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100 };
	char digits[32];

	box(out, "strip", STRIP, TOP - 4, STRIP_WIDTH, bottom - TOP + 8);
	text(out, "small middle", STRIP + STRIP_WIDTH / 2.0, TOP - 10, "over 100, too slow, crash");
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		snprintf(digits, sizeof(digits), "%g", at[i]);
		line(out, at[i] == 1 ? "one" : "grid", axis_x(at[i]), TOP - 4, bottom + 4);
		text(out, "small middle", axis_x(at[i]), TOP - 10, digits);
		text(out, "small middle", axis_x(at[i]), bottom + 18, digits);
	}
	for (size_t i = 0; i < 2; i++) {
		double x = FIGURES + (double)(2 * i + 1) * FIGURE;

		text(out, "small number", x, TOP - 10, i == 0 ? "dynamic" : "static");
		text(out, "small number", x + FIGURE, TOP - 10, "goal");
	}
}

/* Above the drawing, in five columns. */
static void draw_legend(const struct results *results, FILE *out)
{
	size_t n = 0;

	for (size_t i = 0; i < STYLES; i++) {
		double x = 26 + (double)(n % 5) * 222, y = 48 + (double)(n / 5) * 19;

		if (!results->present[adapter_place(styles[i].adapter)])
			continue;
		mark(out, &styles[i], x, y - 4.5);
		text(out, "legend", x + 13, y, styles[i].title);
		n++;
	}
	for (size_t i = 0; i < 2; i++, n++) {
		double x = 26 + (double)(n % 5) * 222, y = 48 + (double)(n / 5) * 19;

		line(out, i == 0 ? "goal" : "goal dotted", x, y - 12, y + 4);
		text(out, "legend", x + 13, y, i == 0 ? "goal of the dynamic map" : "goal of the static map");
	}
}

static void draw_rows(const struct results *results, FILE *out)
{
	char label[128];
	size_t row = 0;

	for (size_t m = 0; metrics[m].workload != 0; m++) {
		double y = TOP + ((double)row + 0.5) * ROW;

		if (!has_row(results, m))
			continue;
		if (row++ % 2 == 0)
			box(out, "band", 8, y - ROW / 2.0, WIDTH - 16, ROW);
		snprintf(label, sizeof(label), "%c  %s", metrics[m].workload, metrics[m].title);
		text(out, "label", 16, y + 4.5, label);
		draw_figures(results, m, y, out);
		draw_marks(results, m, y, out);
	}
}

int report_plot(const struct results *results, const char *path)
{
	FILE *out = fopen(path, "w");
	double bottom = TOP;
	int height;

	if (out == NULL)
		return -1;
	for (size_t m = 0; metrics[m].workload != 0; m++)
		bottom += has_row(results, m) ? ROW : 0;
	height = (int)bottom + 48;
	fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n",
		WIDTH, height, WIDTH, height);
	fputs(head, out);
	box(out, "page", 0, 0, WIDTH, height);
	text(out, "title", 16, 24, "Time or memory as a multiple of " BASELINE "'s; left is better");
	draw_legend(results, out);
	draw_axis(bottom, out);
	draw_rows(results, out);
	text(out, "small", 16, bottom + 38,
	     "Medians of interleaved runs. Orange: a MAP_SHARED file, for many processes, kill-safe. Blue: private "
	     "memory. Green and violet: files and shared memory.");
	fputs("</svg>\n", out);
	return fclose(out);
}
