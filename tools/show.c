/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc show: one block, what points to it, and its bytes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/blocks.h"
#include "tools/commands.h"

#define SHOWN_BYTES 256 /* Unless --size says otherwise. */

struct shown {
	struct tool *tool;
	const struct reach *reach;
	uint64_t number; /* Of the block. */
	uint64_t offset; /* What was asked for, which lies in it. */
	uint64_t pointers;
};

static const struct reach_block *block_of(const struct shown *s)
{
	return &s->reach->block[s->number];
}

/* ---- which block ---- */

/* A root's offset; NOWHERE: there is no root of that name. */
static uint64_t root_offset(const struct reach *reach, const char *name)
{
	for (uint64_t i = 0; i < reach->roots; i++)
		if (reach->root[i].bytes == strlen(name) &&
		    memcmp(reach->root[i].name, name, reach->root[i].bytes) == 0)
			return reach->root[i].offset;
	return NOWHERE;
}

/* A number is an offset where it can be one, or else an address. Any other text is the name of a root. */
static uint64_t offset_named(const struct reach *reach, const char *where)
{
	const struct view *view = reach->view;
	uint64_t number;

	if (!number_parse(where, &number))
		return root_offset(reach, where);
	return view_is_inside(view, number) ? number : view_offset_of(view, number);
}

/* ---- what points to it ---- */

static const char *first_root(const struct reach *reach, uint64_t number, size_t *bytes)
{
	for (uint64_t i = 0; i < reach->roots; i++)
		if (reach->root[i].block == number) {
			*bytes = reach->root[i].bytes;
			return reach->root[i].name;
		}
	return NULL;
}

static void pointer_text(const struct reach *reach, uint64_t from, uint64_t at, void *arg)
{
	struct shown *s = arg;
	const struct reach_block *block = &reach->block[from];
	char size[SIZE_TEXT];
	size_t bytes;
	const char *root = reach_is(block, REACH_ROOT) ? first_root(reach, from, &bytes) : NULL;

	s->pointers++;
	print_begin(s->tool, s->pointers == 1 ? "pointed to" : "");
	fprintf(s->tool->out, "from %#" PRIx64 ", byte %" PRIu64 " of %s%#" PRIx64 " (%s)", at,
		at - reach_offset(block), from == s->number ? "itself, " : "", reach_offset(block),
		size_text(s->tool, reach_size(block), size));
	if (root) {
		fputs(", root ", s->tool->out);
		print_safe(s->tool->out, root, bytes);
	} else if (!reach_is(block, REACH_FOUND)) {
		fputs(", which is not reached", s->tool->out);
	}
	fputc('\n', s->tool->out);
}

static void pointer_json(const struct reach *reach, uint64_t from, uint64_t at, void *arg)
{
	struct shown *s = arg;
	const struct reach_block *block = &reach->block[from];

	json_open_flat(s->tool, NULL, '{');
	json_number(s->tool, "at", at);
	json_number(s->tool, "offset", reach_offset(block));
	json_number(s->tool, "size", reach_size(block));
	json_bool(s->tool, "reached", reach_is(block, REACH_FOUND));
	json_close(s->tool, '}');
}

/* ---- the block ---- */

static uint64_t bytes_shown(const struct shown *s)
{
	uint64_t most = s->tool->options.size ? s->tool->options.size : SHOWN_BYTES;

	return ma_min(most, reach_size(block_of(s)));
}

static void show_roots(const struct shown *s)
{
	const struct reach *reach = s->reach;

	for (uint64_t i = 0; i < reach->roots; i++) {
		const struct reach_root *root = &reach->root[i];

		if (root->block != s->number)
			continue;
		if (s->tool->options.json) {
			json_bytes(s->tool, NULL, root->name, root->bytes);
			continue;
		}
		print_begin(s->tool, "root");
		print_safe(s->tool->out, root->name, root->bytes);
		fputc('\n', s->tool->out);
	}
}

static void show_text(struct shown *s)
{
	struct tool *tool = s->tool;
	const struct view *view = s->reach->view;
	uint64_t begin = reach_offset(block_of(s)), bytes = bytes_shown(s), size = reach_size(block_of(s));
	char text[SIZE_TEXT];

	print_key(tool, "block", "%#" PRIx64 ", %s%s", begin, size_text(tool, size, text),
		  reach_is(block_of(s), REACH_FOUND) ? "" : ", no root reaches it");
	if (!MA_KIND_FLOATS(view->header.kind))
		print_key(tool, "address", "%#" PRIx64, blocks_address(view, begin));
	if (s->offset != begin)
		print_key(tool, "asked for", "%#" PRIx64 ": its byte %" PRIu64, s->offset, s->offset - begin);
	show_roots(s);
	reach_pointers(s->reach, s->number, pointer_text, s);
	for (uint64_t at = 0; at < bytes; at += BLOCKS_LINE) {
		fprintf(tool->out, "%8" PRIx64 "  ", at);
		blocks_line(tool->out, view, begin + at, bytes - at);
		fputc('\n', tool->out);
	}
	if (bytes < size)
		fprintf(tool->out, "%s%" PRIu64 " more %s: see --size%s\n", tint(tool, COLOR_DIM), size - bytes,
			plural(size - bytes, "byte", "bytes"), tint(tool, COLOR_NONE));
}

static void json_hex(struct shown *s)
{
	const volatile unsigned char *at =
		(const volatile unsigned char *)s->reach->view->base + reach_offset(block_of(s));
	char hex[2 * BLOCKS_LINE + 1];
	uint64_t bytes = bytes_shown(s);

	json_open(s->tool, "bytes", '[');
	for (uint64_t i = 0; i < bytes; i++) {
		snprintf(hex + 2 * (i % BLOCKS_LINE), 3, "%02x", at[i]);
		if (i % BLOCKS_LINE == BLOCKS_LINE - 1 || i == bytes - 1)
			json_text(s->tool, NULL, hex);
	}
	json_close(s->tool, ']');
}

static void show_json(struct shown *s)
{
	struct tool *tool = s->tool;
	const struct reach_block *block = block_of(s);

	json_begin(tool);
	json_text(tool, "file", s->reach->view->name);
	json_number(tool, "offset", reach_offset(block));
	json_number(tool, "address", blocks_address(s->reach->view, reach_offset(block)));
	json_number(tool, "size", reach_size(block));
	json_number(tool, "byte", s->offset - reach_offset(block));
	json_bool(tool, "reached", reach_is(block, REACH_FOUND));
	json_open(tool, "roots", '[');
	show_roots(s);
	json_close(tool, ']');
	json_open(tool, "pointers", '[');
	reach_pointers(s->reach, s->number, pointer_json, s);
	json_close(tool, ']');
	json_hex(s);
	json_end(tool);
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	struct view view;
	struct reach reach;
	struct shown s = { .tool = tool, .reach = &reach };
	enum status status = blocks_begin(tool, arguments[0], &view, &reach, "shown");

	(void)count;
	if (status != STATUS_OK)
		return status;
	s.offset = offset_named(&reach, arguments[1]);
	s.number = reach_find(&reach, s.offset);
	if (s.offset == NOWHERE || s.number == NOWHERE) {
		complain(tool, arguments[0], "no live block is there: %s; mapalloc list shows the blocks and roots",
			 arguments[1]);
		return blocks_end(&view, &reach, STATUS_NO_BLOCK);
	}
	if (tool->options.json)
		show_json(&s);
	else
		show_text(&s);
	return blocks_end(&view, &reach, STATUS_OK);
}

static const struct option_spec options[] = {
	{ "size", 's', OPTION_SIZE, OPTION(size), "SIZE", "so many of its bytes (256)" },
	{ 0 },
};

const struct command command_show = {
	.name = "show",
	.arguments = "FILE OFFSET",
	.summary = "Show one block: its roots, what points to it, and its bytes.",
	.options = options,
	.more = "OFFSET is that of any byte of the block. The address of a byte will do, and so does the name of a "
		"root.\n"
		"What points to it is found by a conservative scan: see mapalloc leaks --help.\n\n"
		"exit status: 0 shown; 1 no live block is there; otherwise as mapalloc check.\n",
	.examples = "  mapalloc show notes.map 0x21040\n"
		    "  mapalloc show notes.map notes --size 64\n",
	.least = 2,
	.most = 2,
	.has_json = true,
	.run = run,
};
