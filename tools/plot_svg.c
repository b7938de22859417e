/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The picture as SVG: each tile a square, its color the kind, its strength the fill, its title a sentence. Along a Hilbert curve
 * neighbours stay neighbours; in rows addresses grow as one reads. The same colors in light and dark, by the reader's preference.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tools/picture.h"

#define SIDE      640 /* Of the tiles. */
#define SIDE_MOST 48  /* Of one. */
#define MARGIN    24
#define HEAD      78
#define LEGEND    250 /* Width. */
#define ROW       26
#define COLUMNS   64
#define TEXT_SIZE 13

static const char style[] =
	".bg{fill:#fcfcfa}.t{fill:#222;font:13px system-ui,sans-serif}.h{font-size:18px;font-weight:600}.d{fill:#666}\n"
	".k0{fill:#eceae4}.k1{fill:#cfd8d3}.k2{fill:#0072b2}.k3{fill:#009e73}.k4{fill:#e69f00}.k5{fill:#8f5fb0}.k6{"
	"fill:#7d7468}\n"
	".k7{fill:#d0021b}.g{fill:none;stroke:#b9b6ad}.x{stroke:#fff;stroke-width:.12}.c:hover{stroke:#000;stroke-"
	"width:.12}\n"
	"@media(prefers-color-scheme:dark){.bg{fill:#17191c}.t{fill:#e8e6e1}.d{fill:#a09d96}.k0{fill:#24272b}.k1{fill:#"
	"3a423f}\n"
	".k2{fill:#4aa8e0}.k3{fill:#2fc79a}.k4{fill:#f3b73c}.k5{fill:#b78ad6}.k6{fill:#9a9186}.k7{fill:#ff4d5e}.g{"
	"stroke:#454a50}\n"
	".x{stroke:#17191c}.c:hover{stroke:#fff}}\n";

/* A name in XML: what is no plain character is shown as print_safe() does. */
static void print_xml(FILE *to, const char *text)
{
	for (; *text; text++) {
		if (*text == '&')
			fputs("&amp;", to);
		else if (*text == '<')
			fputs("&lt;", to);
		else if (*text == '"')
			fputs("&quot;", to);
		else
			print_safe(to, text, 1);
	}
}

/* Text with characters of several bytes goes through print_safe() whole, which wants no escapes then. */
static void print_name(FILE *to, const char *name)
{
	if (strpbrk(name, "&<\""))
		print_xml(to, name);
	else
		print_safe(to, name, strlen(name));
}

/* ---- where a tile goes ---- */

static unsigned grid_side(uint64_t tiles)
{
	unsigned side = 2;

	while ((uint64_t)side * side < tiles)
		side *= 2;
	return side;
}

/* Step d along the curve that fills a square of side n, a power of two. */
static void hilbert_at(unsigned n, uint64_t d, unsigned *x, unsigned *y)
{
	*x = *y = 0;
	for (unsigned s = 1; s < n; s *= 2) {
		unsigned rx = (unsigned)(d / 2) & 1, ry = (unsigned)(d ^ rx) & 1, swap;

		if (ry == 0) {
			if (rx == 1) {
				*x = s - 1 - *x;
				*y = s - 1 - *y;
			}
			swap = *x;
			*x = *y;
			*y = swap;
		}
		*x += s * rx;
		*y += s * ry;
		d /= 4;
	}
}

struct grid {
	bool hilbert;
	unsigned columns, rows;
	double side; /* Of a tile, in pixels. */
};

static struct grid grid_for(const struct picture *picture, bool hilbert)
{
	struct grid grid = { .hilbert = hilbert };
	uint64_t tiles = picture->tiles;

	if (hilbert) {
		grid.columns = grid.rows = grid_side(tiles);
		if (tiles <= (uint64_t)grid.columns * grid.rows / 2) /* The curve fills the upper half first. */
			grid.rows = grid.columns / 2;
	} else {
		grid.columns = tiles >= (uint64_t)COLUMNS * COLUMNS / 2 ? COLUMNS : (unsigned)ceil(sqrt((double)tiles));
		grid.rows = (unsigned)((tiles + grid.columns - 1) / grid.columns);
	}
	grid.side = fmin((double)SIDE / grid.columns, SIDE_MOST);
	return grid;
}

static void position(const struct grid *grid, uint64_t tile, unsigned *x, unsigned *y)
{
	if (grid->hilbert) {
		hilbert_at(grid->columns, tile, y, x);
	} else {
		*x = (unsigned)(tile % grid->columns);
		*y = (unsigned)(tile / grid->columns);
	}
}

/* ---- parts ---- */

/* Empty slabs can still be told from free chunks. */
static double strength(const struct picture *picture, uint64_t tile, enum tile_kind kind)
{
	if (kind == TILE_UNTOUCHED || kind == TILE_FREE || kind == TILE_TABLE || kind == TILE_BAD)
		return 1;
	return 0.25 + 0.75 * picture_fill(picture, tile);
}

static void draw_tile(FILE *to, const struct view *view, const struct picture *picture, const struct grid *grid,
		      uint64_t tile)
{
	enum tile_kind kind = picture_kind(picture, tile);
	double opacity = strength(picture, tile, kind);
	char text[240];
	unsigned x, y;

	position(grid, tile, &x, &y);
	picture_describe(picture, view, tile, text, sizeof(text));
	fprintf(to, "<g class=\"c\"><title>%s</title>", text);
	if (opacity < 1) /* Over what is free, so that the strength is the fill. */
		fprintf(to, "<rect class=\"k1\" x=\"%u\" y=\"%u\" width=\".94\" height=\".94\"/>", x, y);
	fprintf(to, "<rect class=\"k%d\" x=\"%u\" y=\"%u\" width=\".94\" height=\".94\"", (int)kind, x, y);
	if (opacity < 1)
		fprintf(to, " opacity=\"%.2f\"", opacity);
	fputs("/>", to);
	if (kind == TILE_BAD)
		fprintf(to, "<path class=\"x\" d=\"M%u.2 %u.2l.54 .54m0-.54l-.54 .54\"/>", x, y);
	fputs("</g>\n", to);
}

static void draw_legend(FILE *to, const struct view *view, const struct picture *picture)
{
	uint64_t bytes[TILE_KINDS] = { 0 };
	unsigned y = HEAD, x = MARGIN + SIDE + MARGIN;
	char size[SIZE_TEXT];

	for (uint64_t tile = 0; tile < picture->tiles; tile++) {
		uint64_t left = picture_tile_bytes(picture, tile);

		for (int kind = 0; kind < TILE_KINDS; kind++) {
			bytes[kind] += picture->tile[tile].bytes[kind];
			left -= ma_min(left, picture->tile[tile].bytes[kind]);
		}
		bytes[TILE_FREE] += left;
	}
	for (int kind = 0; kind < TILE_KINDS; kind++, y += ROW) {
		if (kind == TILE_BAD && !bytes[kind])
			continue;
		fprintf(to, "<rect class=\"k%d\" x=\"%u\" y=\"%u\" width=\"16\" height=\"16\"/>", kind, x, y);
		fprintf(to, "<text class=\"t\" x=\"%u\" y=\"%u\">%s</text>", x + 24, y + TEXT_SIZE,
			picture_kind_name((enum tile_kind)kind));
		fprintf(to, "<text class=\"t d\" x=\"%u\" y=\"%u\" text-anchor=\"end\">%s</text>\n", x + LEGEND - 8,
			y + TEXT_SIZE, size_text(view->tool, bytes[kind], size));
	}
	y += ROW / 2;
	fprintf(to, "<text class=\"t d\" x=\"%u\" y=\"%u\">fill: empty</text>\n", x, y + TEXT_SIZE);
	for (int step = 0; step <= 4; step++)
		fprintf(to,
			"<rect class=\"k1\" x=\"%u\" y=\"%u\" width=\"20\" height=\"16\"/><rect class=\"k2\" x=\"%u\" "
			"y=\"%u\" "
			"width=\"20\" height=\"16\" opacity=\"%.2f\"/>\n",
			x + 76 + (unsigned)step * 22, y, x + 76 + (unsigned)step * 22, y, 0.25 + 0.75 * step / 4);
	fprintf(to, "<text class=\"t d\" x=\"%u\" y=\"%u\">full</text>\n", x + 192, y + TEXT_SIZE);
	y += ROW;
	fprintf(to, "<text class=\"t d\" x=\"%u\" y=\"%u\">a square: %s</text>\n", x, y + TEXT_SIZE,
		size_text(view->tool, picture->tile_bytes, size));
}

static void draw_head(FILE *to, struct view *view, unsigned width)
{
	const char *base = strrchr(view->name, '/');
	struct figures f = { 0 };
	char used[SIZE_TEXT], all[SIZE_TEXT];

	view->kind->measure(view, &f);
	fprintf(to, "<rect class=\"bg\" width=\"%u\" height=\"100%%\"/>\n<text class=\"t h\" x=\"%d\" y=\"32\">", width,
		MARGIN);
	print_name(to, base ? base + 1 : view->name);
	fprintf(to,
		"</text>\n<text class=\"t d\" x=\"%d\" y=\"56\">%s, %s: %s of %s used (%.1f %%), %" PRIu64
		" %s</text>\n",
		MARGIN, view->kind->name, view_verdict(view), size_text(view->tool, f.used_bytes, used),
		size_text(view->tool, f.capacity, all),
		f.capacity ? 100 * (double)f.used_bytes / (double)f.capacity : 0, f.used_blocks,
		plural(f.used_blocks, "block", "blocks"));
}

void plot_svg(FILE *to, struct view *view, const struct picture *picture, bool hilbert)
{
	struct grid grid = grid_for(picture, hilbert);
	unsigned width = MARGIN + SIDE + MARGIN + LEGEND + MARGIN;
	unsigned tiles = (unsigned)(grid.side * grid.rows), least = 12 * ROW;
	unsigned height = HEAD + (tiles > least ? tiles : least) + MARGIN;

	fprintf(to,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %u\" width=\"%u\" "
		"height=\"%u\">\n<style>\n%s</style>\n",
		width, height, width, height, style);
	draw_head(to, view, width);
	draw_legend(to, view, picture);
	fprintf(to, "<g transform=\"translate(%d %d) scale(%.4f)\">\n", MARGIN, HEAD, grid.side);
	for (uint64_t tile = 0; tile < picture->tiles; tile++)
		draw_tile(to, view, picture, &grid, tile);
	fputs("</g>\n</svg>\n", to);
}

/* ---- the page ---- */

static const char page_style[] =
	":root{color-scheme:light dark}body{margin:0;background:#fcfcfa;color:#222;font:14px/1.5 "
	"system-ui,sans-serif}\n"
	"main{max-width:1000px;margin:auto;padding:0 12px 40px}svg{max-width:100%;height:auto;display:block}\n"
	"table{border-collapse:collapse;margin:8px 24px;font-variant-numeric:tabular-nums}td,th{padding:3px 14px 3px "
	"0;text-align:right}td:last-child,th:last-child{text-align:left}\n"
	"th{color:#666;font-weight:500}h2{font-size:16px;margin:20px 24px 4px}ul{margin:4px 24px;padding-left:18px}\n"
	"meter{width:180px}.damaged{color:#b00016}.repairable{color:#8a5a00}\n"
	"#tip{position:sticky;top:0;background:#fcfcfae8;padding:6px 24px;min-height:1.5em;z-index:1}\n"
	"@media(prefers-color-scheme:dark){body,#tip{background:#17191c;color:#e8e6e1}th{color:#a09d96}.damaged{color:#"
	"ff6b79}\n"
	".repairable{color:#f3b73c}}\n";

/* Titles appear late, and not on touch screens: the line at the top says the same at once. */
static const char script[] =
	"<script>\nconst tip=document.getElementById('tip');\n"
	"document.querySelector('svg').addEventListener('pointermove',e=>{const c=e.target.closest('.c');\n"
	"if(c)tip.textContent=c.querySelector('title').textContent;});\n</script>\n";

static void print_table(FILE *to, struct view *view)
{
	struct figures f = { 0 };
	char size[SIZE_TEXT], bytes[SIZE_TEXT];

	view->kind->measure(view, &f);
	fputs("<h2>Sizes</h2>\n<table><tr><th>size<th>in<th>used<th>free<th>bytes<th>fill</tr>\n", to);
	for (unsigned i = 0; i < f.buckets; i++) {
		const struct bucket *b = &f.bucket[i];
		double fill = b->used + b->free ? (double)b->used / (double)(b->used + b->free) : 1;

		fprintf(to, "<tr><td>%s<td>%s<td>%" PRIu64 "<td>%" PRIu64 "<td>%s<td>",
			b->bytes ? size_text(view->tool, b->bytes, size) : "any", b->what, b->used, b->free,
			size_text(view->tool, b->used_bytes, bytes));
		if (b->free || b->units)
			fprintf(to, "<meter value=\"%.3f\">%.0f %%</meter>", fill, 100 * fill);
		fputs("</tr>\n", to);
	}
	fputs("</table>\n", to);
}

static void print_findings(FILE *to, const struct view *view)
{
	if (view->findings == 0)
		return;
	fputs("<h2>Findings</h2>\n<ul>\n", to);
	for (size_t i = 0; i < view->findings; i++) {
		const struct finding *f = &view->finding[i];

		fprintf(to, "<li class=\"%s\">%s: %s",
			f->severity == SEVERITY_UNCLOSED ? "note" : severity_name(f->severity),
			severity_name(f->severity), f->rule);
		if (f->at != NOWHERE)
			fprintf(to, " at %#" PRIx64, f->at);
		fputs(": ", to);
		print_xml(to, f->text);
		fputs("\n", to);
	}
	fputs("</ul>\n", to);
}

void plot_html(FILE *to, struct view *view, const struct picture *picture, bool hilbert)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
	      "<meta name=\"viewport\" content=\"width=device-width\"><title>",
	      to);
	print_name(to, view->name);
	fprintf(to, "</title>\n<style>\n%s</style></head><body><main>\n<div id=\"tip\">Point at a square.</div>\n",
		page_style);
	plot_svg(to, view, picture, hilbert);
	print_table(to, view);
	print_findings(to, view);
	fprintf(to, "</main>\n%s</body></html>\n", script);
}
