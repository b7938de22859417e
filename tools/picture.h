/* SPDX-License-Identifier: BSD-3-Clause */
/* The picture of a map, made once and drawn as SVG, as HTML, or with characters. */
#ifndef TOOLS_PICTURE_H
#define TOOLS_PICTURE_H

#include "tools/view.h"

/* At most so many tiles. False: no memory, said why. */
bool picture_begin(struct picture *picture, struct view *view, uint64_t most);
void picture_end(struct picture *picture);

/* What a tile is drawn as: damage before all else, then what most of its blocks are in. */
enum tile_kind picture_kind(const struct picture *picture, uint64_t tile);
/* Bytes of this tile: the last one may have fewer. */
uint64_t picture_tile_bytes(const struct picture *picture, uint64_t tile);
/* 0 to 1. */
double picture_fill(const struct picture *picture, uint64_t tile);
const char *picture_kind_name(enum tile_kind kind);
/* A sentence about a tile. */
void picture_describe(const struct picture *picture, const struct view *view, uint64_t tile, char *text, size_t size);

/* ---- plot_svg.c ---- */

void plot_svg(FILE *to, struct view *view, const struct picture *picture, bool hilbert);
/* The same in a page, with what stat and check say. */
void plot_html(FILE *to, struct view *view, const struct picture *picture, bool hilbert);

/* ---- watch.c ---- */

/* In the terminal, until q, Ctrl-C, or as often as --count says. */
enum status plot_watch(struct tool *tool, const char *name);

#endif /* TOOLS_PICTURE_H */
