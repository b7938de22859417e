/* SPDX-License-Identifier: BSD-3-Clause */
/* From units of any size to tiles of one size. What lies in several tiles is shared among them by its bytes. */
#include "tools/picture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/sizeclass.h"

#define SMALL 128

enum tile_kind picture_class(uint64_t bytes)
{
	return bytes <= SMALL ? TILE_SMALL : bytes <= MA_SMALL_MAX ? TILE_MEDIUM : TILE_LARGE;
}

void picture_add(struct picture *picture, uint64_t at, uint64_t bytes, enum tile_kind kind, uint64_t used,
		 uint64_t blocks, uint64_t class_bytes)
{
	uint64_t end, all = bytes;

	if (at >= picture->bytes || bytes == 0)
		return;
	end = at + ma_min(bytes, picture->bytes - at);
	picture->tile[at / picture->tile_bytes].blocks += blocks;
	while (at < end) {
		struct tile *tile = &picture->tile[at / picture->tile_bytes];
		uint64_t here = ma_min(end - at, picture->tile_bytes - at % picture->tile_bytes);

		tile->bytes[kind] += here;
		tile->used += (uint64_t)((double)used * (double)here / (double)all);
		tile->class_bytes =
			!class_bytes || (tile->class_bytes && tile->class_bytes != class_bytes) ? 0 : class_bytes;
		at += here;
	}
}

/* A tile in which the check found damage. What no finding has a place for is marked by draw(). */
static void mark_damage(struct picture *picture, const struct view *view)
{
	for (size_t i = 0; i < view->findings; i++) {
		const struct finding *f = &view->finding[i];
		uint64_t tile = (f->at - view->user_off) / picture->tile_bytes;

		if (f->severity >= SEVERITY_DAMAGE && f->at >= view->user_off && tile < picture->tiles)
			picture->tile[tile].bytes[TILE_BAD] = picture_tile_bytes(picture, tile);
	}
}

bool picture_begin(struct picture *picture, struct view *view, uint64_t most)
{
	uint64_t unit, units;

	*picture = (struct picture){ .bytes = view->kind->extent(view, &unit) };
	units = (picture->bytes + unit - 1) / unit;
	picture->tile_bytes = (units + most - 1) / most * unit;
	picture->tiles = (picture->bytes + picture->tile_bytes - 1) / picture->tile_bytes;
	picture->tile = calloc(picture->tiles, sizeof(*picture->tile));
	if (!picture->tile) {
		errno = ENOMEM;
		last_error_clear();
		complain_last_error(view->tool, view->name, "cannot draw it");
		return false;
	}
	view->kind->draw(view, picture);
	mark_damage(picture, view);
	return true;
}

void picture_end(struct picture *picture)
{
	free(picture->tile);
	picture->tile = NULL;
}

enum tile_kind picture_kind(const struct picture *picture, uint64_t number)
{
	const struct tile *tile = &picture->tile[number];
	enum tile_kind best = TILE_FREE;
	uint64_t most = 0;

	if (tile->bytes[TILE_BAD])
		return TILE_BAD;
	for (int kind = TILE_SMALL; kind < TILE_BAD; kind++)
		if (tile->bytes[kind] > most) {
			most = tile->bytes[kind];
			best = (enum tile_kind)kind;
		}
	if (most == 0 && tile->bytes[TILE_UNTOUCHED] == picture_tile_bytes(picture, number))
		return TILE_UNTOUCHED;
	return best;
}

uint64_t picture_tile_bytes(const struct picture *picture, uint64_t tile)
{
	return ma_min(picture->tile_bytes, picture->bytes - tile * picture->tile_bytes);
}

double picture_fill(const struct picture *picture, uint64_t tile)
{
	double fill = (double)picture->tile[tile].used / (double)picture_tile_bytes(picture, tile);

	return fill > 1 ? 1 : fill;
}

const char *picture_kind_name(enum tile_kind kind)
{
	static const char *const names[] = {
		[TILE_UNTOUCHED] = "never used",         [TILE_FREE] = "free",
		[TILE_SMALL] = "blocks up to 128 bytes", [TILE_MEDIUM] = "blocks up to 8 KiB",
		[TILE_LARGE] = "blocks up to 64 KiB",    [TILE_RUN] = "larger blocks",
		[TILE_TABLE] = "tables of the map",      [TILE_BAD] = "damaged",
	};

	return names[kind];
}

void picture_describe(const struct picture *picture, const struct view *view, uint64_t number, char *text, size_t size)
{
	const struct tile *tile = &picture->tile[number];
	uint64_t at = view->user_off + number * picture->tile_bytes, bytes = picture_tile_bytes(picture, number);
	char one[SIZE_TEXT], used[SIZE_TEXT], all[SIZE_TEXT], of[SIZE_TEXT + 8] = "";

	if (tile->class_bytes)
		snprintf(of, sizeof(of), " of %s", size_text(view->tool, tile->class_bytes, one));
	snprintf(text, size, "%#" PRIx64 " to %#" PRIx64 ": %s; %s of %s used, %" PRIu64 " %s%s %s here", at,
		 at + bytes, picture_kind_name(picture_kind(picture, number)),
		 size_text(view->tool, ma_min(tile->used, bytes), used), size_text(view->tool, bytes, all),
		 tile->blocks, plural(tile->blocks, "block", "blocks"), of, plural(tile->blocks, "begins", "begin"));
}
