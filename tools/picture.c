/* SPDX-License-Identifier: BSD-3-Clause */
/* From units of any size to cells of one size. What lies in several cells is shared among them by its bytes. */
#include "tools/picture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/sizeclass.h"

#define SMALL 128

enum cell_kind picture_class(uint64_t bytes)
{
	return bytes <= SMALL ? CELL_SMALL : bytes <= MA_SMALL_MAX ? CELL_MEDIUM : CELL_LARGE;
}

void picture_add(struct picture *picture, uint64_t at, uint64_t bytes, enum cell_kind kind, uint64_t used,
		 uint64_t blocks, uint64_t class_bytes)
{
	uint64_t end, all = bytes;

	if (at >= picture->bytes || bytes == 0)
		return;
	end = at + ma_min(bytes, picture->bytes - at);
	picture->cell[at / picture->cell_bytes].blocks += blocks;
	while (at < end) {
		struct cell *cell = &picture->cell[at / picture->cell_bytes];
		uint64_t here = ma_min(end - at, picture->cell_bytes - at % picture->cell_bytes);

		cell->bytes[kind] += here;
		cell->used += (uint64_t)((double)used * (double)here / (double)all);
		cell->class_bytes =
			!class_bytes || (cell->class_bytes && cell->class_bytes != class_bytes) ? 0 : class_bytes;
		at += here;
	}
}

bool picture_begin(struct picture *picture, struct view *view, uint64_t most)
{
	uint64_t unit, units;

	*picture = (struct picture){ .bytes = view->kind->span(view, &unit) };
	units = (picture->bytes + unit - 1) / unit;
	picture->cell_bytes = (units + most - 1) / most * unit;
	picture->cells = (picture->bytes + picture->cell_bytes - 1) / picture->cell_bytes;
	picture->cell = calloc(picture->cells, sizeof(*picture->cell));
	if (!picture->cell) {
		errno = ENOMEM;
		last_error_clear();
		complain_last_error(view->tool, view->name, "cannot draw it");
		return false;
	}
	view->kind->draw(view, picture);
	return true;
}

void picture_end(struct picture *picture)
{
	free(picture->cell);
	picture->cell = NULL;
}

enum cell_kind picture_kind(const struct picture *picture, uint64_t number)
{
	const struct cell *cell = &picture->cell[number];
	enum cell_kind best = CELL_FREE;
	uint64_t most = 0;

	if (cell->bytes[CELL_BAD])
		return CELL_BAD;
	for (int kind = CELL_SMALL; kind < CELL_BAD; kind++)
		if (cell->bytes[kind] > most) {
			most = cell->bytes[kind];
			best = (enum cell_kind)kind;
		}
	if (most == 0 && cell->bytes[CELL_UNTOUCHED] == picture_cell_bytes(picture, number))
		return CELL_UNTOUCHED;
	return best;
}

uint64_t picture_cell_bytes(const struct picture *picture, uint64_t cell)
{
	return ma_min(picture->cell_bytes, picture->bytes - cell * picture->cell_bytes);
}

double picture_fill(const struct picture *picture, uint64_t cell)
{
	double fill = (double)picture->cell[cell].used / (double)picture_cell_bytes(picture, cell);

	return fill > 1 ? 1 : fill;
}

const char *picture_kind_name(enum cell_kind kind)
{
	static const char *const names[] = {
		[CELL_UNTOUCHED] = "never used",         [CELL_FREE] = "free",
		[CELL_SMALL] = "blocks up to 128 bytes", [CELL_MEDIUM] = "blocks up to 8 KiB",
		[CELL_LARGE] = "blocks up to 64 KiB",    [CELL_RUN] = "larger blocks",
		[CELL_TABLE] = "tables of the map",      [CELL_BAD] = "damaged",
	};

	return names[kind];
}

void picture_describe(const struct picture *picture, const struct view *view, uint64_t number, char *text, size_t size)
{
	const struct cell *cell = &picture->cell[number];
	uint64_t at = view->user_off + number * picture->cell_bytes, bytes = picture_cell_bytes(picture, number);
	char one[SIZE_TEXT], used[SIZE_TEXT], all[SIZE_TEXT], of[SIZE_TEXT + 8] = "";

	if (cell->class_bytes)
		snprintf(of, sizeof(of), " of %s", size_text(view->tool, cell->class_bytes, one));
	snprintf(text, size, "%#" PRIx64 " to %#" PRIx64 ": %s; %s of %s used, %" PRIu64 " %s%s %s here", at,
		 at + bytes, picture_kind_name(picture_kind(picture, number)),
		 size_text(view->tool, ma_min(cell->used, bytes), used), size_text(view->tool, bytes, all),
		 cell->blocks, plural(cell->blocks, "block", "blocks"), of, plural(cell->blocks, "begins", "begin"));
}
