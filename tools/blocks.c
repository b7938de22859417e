/* SPDX-License-Identifier: BSD-3-Clause */
/* See blocks.h. */
#include "tools/blocks.h"

#include <ctype.h>

enum status blocks_begin(struct tool *tool, const char *name, struct view *view, struct reach *reach, const char *what)
{
	enum status status = view_open(tool, name, view);

	if (status != STATUS_OK)
		return status;
	status = view_warn(view, what);
	if (view->kind && reach_begin(reach, view)) {
		if (reach_scan(reach))
			return STATUS_OK;
		status = STATUS_FAILED;
	} else if (status == STATUS_OK) {
		status = STATUS_FAILED;
	}
	view_close(view);
	return status;
}

enum status blocks_end(struct view *view, struct reach *reach, enum status status)
{
	enum status damage = view_status(view);

	reach_end(reach);
	view_close(view);
	return damage >= STATUS_DAMAGED ? damage : status;
}

uint64_t blocks_address(const struct view *view, uint64_t offset)
{
	return MA_KIND_FLOATS(view->header.kind) ? offset : view->header.base + offset;
}

void blocks_line(FILE *to, const struct view *view, uint64_t offset, uint64_t bytes)
{
	const volatile unsigned char *at = (const volatile unsigned char *)view->base + offset;

	bytes = ma_min(BLOCKS_LINE, bytes);
	for (uint64_t i = 0; i < BLOCKS_LINE; i++)
		if (i < bytes)
			fprintf(to, "%02x ", at[i]);
		else
			fputs("   ", to);
	fputc('|', to);
	for (uint64_t i = 0; i < bytes; i++)
		fputc(isprint(at[i]) && at[i] < 0x80 ? at[i] : '.', to);
	fputc('|', to);
}
