/* SPDX-License-Identifier: BSD-3-Clause */
/* From units of any size to cells of one size. What lies in several cells is shared among them by its bytes. */
#include "common/sizeclass.h"
#include "tools/view.h"

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
		cell->class_bytes = class_bytes;
		at += here;
	}
}
