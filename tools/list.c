/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc list and mapalloc leaks: the blocks one by one. */
#include <inttypes.h>
#include <string.h>

#include "tools/commands.h"
#include "tools/blocks.h"

/* ---- list ---- */

static void list_json(struct tool *tool, const struct reach *reach, uint64_t number)
{
	const struct reach_block *block = &reach->block[number];

	json_open_flat(tool, NULL, '{');
	json_number(tool, "offset", reach_offset(block));
	json_number(tool, "address", blocks_address(reach->view, reach_offset(block)));
	json_number(tool, "size", reach_size(block));
	json_bool(tool, "reached", reach_is(block, REACH_FOUND));
	if (reach_is(block, REACH_ROOT)) {
		json_open(tool, "roots", '[');
		for (uint64_t i = 0; i < reach->roots; i++)
			if (reach->root[i].block == number)
				json_bytes(tool, NULL, reach->root[i].name, reach->root[i].bytes);
		json_close(tool, ']');
	}
	json_close(tool, '}');
}

static const struct reach_root *first_root(const struct reach *reach, uint64_t number)
{
	for (uint64_t i = 0; i < reach->roots; i++)
		if (reach->root[i].block == number)
			return &reach->root[i];
	return NULL;
}

static void list_text(struct tool *tool, const struct reach *reach, uint64_t number)
{
	const struct reach_block *block = &reach->block[number];
	const struct reach_root *root = reach_is(block, REACH_ROOT) ? first_root(reach, number) : NULL;
	char size[SIZE_TEXT];

	fprintf(tool->out, "%#-14" PRIx64 " %#-16" PRIx64 " %10s  ", reach_offset(block),
		blocks_address(reach->view, reach_offset(block)), size_text(tool, reach_size(block), size));
	if (root) {
		fputs("root ", tool->out);
		print_safe(tool->out, root->name, root->bytes);
	} else {
		fputs(reach_is(block, REACH_FOUND) ? "reached" : "not reached", tool->out);
	}
	fputc('\n', tool->out);
}

static void json_begin_blocks(struct view *view, const char *name)
{
	json_begin(view->tool);
	json_text(view->tool, "file", view->name);
	json_open(view->tool, name, '[');
}

static enum status run_list(struct tool *tool, char **arguments, int count)
{
	struct view view;
	struct reach reach;
	enum status status = blocks_begin(tool, arguments[0], &view, &reach, "listed");

	(void)count;
	if (status != STATUS_OK)
		return status;
	if (tool->options.json) {
		json_begin_blocks(&view, "blocks");
	} else {
		fprintf(tool->out, "%s%-14s %-16s %10s  %s%s\n", tint(tool, COLOR_DIM), "OFFSET", "ADDRESS", "SIZE",
			"REACHED BY", tint(tool, COLOR_NONE));
	}
	for (uint64_t i = 0; i < reach.count; i++)
		if (reach_size(&reach.block[i]) >= tool->options.min_size)
			(tool->options.json ? list_json : list_text)(tool, &reach, i);
	if (tool->options.json) {
		json_close(tool, ']');
		json_end(tool);
	}
	return blocks_end(&view, &reach, STATUS_OK);
}

static const struct option_spec list_options[] = {
	{ "min-size", 'm', OPTION_SIZE, OPTION(min_size), "SIZE", "only blocks of at least this size" },
	{ 0 },
};

const struct command command_list = {
	.name = "list",
	.arguments = "FILE",
	.summary = "List the live blocks: offset, address, size, and whether a root reaches them.",
	.options = list_options,
	.more = "What reaches what is found by a conservative scan: see mapalloc leaks --help.\n",
	.examples = "  mapalloc list notes.map\n"
		    "  mapalloc list --min-size 1M --json notes.map\n",
	.least = 1,
	.most = 1,
	.has_json = true,
	.run = run_list,
};

/* ---- leaks ---- */

static void leak_json(struct tool *tool, const struct view *view, const struct reach_block *block)
{
	const volatile unsigned char *at = (const volatile unsigned char *)view->base + reach_offset(block);
	char hex[2 * BLOCKS_LINE + 1] = "";

	for (uint64_t i = 0; i < ma_min(BLOCKS_LINE, reach_size(block)); i++)
		snprintf(hex + 2 * i, 3, "%02x", at[i]);
	json_open_flat(tool, NULL, '{');
	json_number(tool, "offset", reach_offset(block));
	json_number(tool, "address", blocks_address(view, reach_offset(block)));
	json_number(tool, "size", reach_size(block));
	json_bool(tool, "direct", !reach_is(block, REACH_POINTED));
	json_text(tool, "begins", hex);
	json_close(tool, '}');
}

static void leak_text(struct tool *tool, const struct view *view, const struct reach_block *block)
{
	char size[SIZE_TEXT];

	fprintf(tool->out, "%#-14" PRIx64 " %10s  %-8s  ", reach_offset(block),
		size_text(tool, reach_size(block), size), reach_is(block, REACH_POINTED) ? "indirect" : "direct");
	blocks_line(tool->out, view, reach_offset(block), reach_size(block));
	fputc('\n', tool->out);
}

static void leaks_end(struct tool *tool, const struct reach *reach, uint64_t leaks, uint64_t bytes)
{
	char size[SIZE_TEXT];

	if (tool->options.json) {
		json_close(tool, ']');
		json_number(tool, "leaked_blocks", leaks);
		json_number(tool, "leaked_bytes", bytes);
		json_number(tool, "blocks", reach->count);
		json_number(tool, "roots", reach->roots);
		json_end(tool);
		return;
	}
	fprintf(tool->out, "%" PRIu64 " of %" PRIu64 " %s, %s, %s reached by none of %" PRIu64 " %s\n", leaks,
		reach->count, plural(reach->count, "block", "blocks"), size_text(tool, bytes, size),
		plural(leaks, "is", "are"), reach->roots, plural(reach->roots, "root", "roots"));
}

static enum status run_leaks(struct tool *tool, char **arguments, int count)
{
	struct view view;
	struct reach reach;
	uint64_t leaks = 0, bytes = 0;
	enum status status = blocks_begin(tool, arguments[0], &view, &reach, "listed");

	(void)count;
	if (status != STATUS_OK)
		return status;
	if (tool->options.json)
		json_begin_blocks(&view, "leaks");
	for (uint64_t i = 0; i < reach.count; i++) {
		if (reach_is(&reach.block[i], REACH_FOUND))
			continue;
		leaks++;
		bytes += reach_size(&reach.block[i]);
		if (reach_size(&reach.block[i]) >= tool->options.min_size)
			(tool->options.json ? leak_json : leak_text)(tool, &view, &reach.block[i]);
	}
	leaks_end(tool, &reach, leaks, bytes);
	return blocks_end(&view, &reach, leaks ? STATUS_LEAKS : STATUS_OK);
}

const struct command command_leaks = {
	.name = "leaks",
	.arguments = "FILE",
	.summary = "List the blocks that no root reaches, each with its first bytes.",
	.options = list_options,
	.more = "The scan is conservative: each aligned word of a block that is reached counts as a pointer when it "
		"could be the address of\n"
		"a block, or of a byte inside of one (in a region of libshmbuddy: its offset). So a number that looks "
		"like an address hides\n"
		"a leak, and a pointer that is stored in another form shows one that is none. Roots are named roots, "
		"and the keys of\n"
		"libmmalloc. indirect: another block that is not reached points to it.\n"
		"While others use the map, a block that was just allocated and is not linked yet counts too.\n\n"
		"exit status: 0 none; 1 there are some; otherwise as mapalloc check.\n",
	.examples = "  mapalloc leaks notes.map\n"
		    "  mapalloc leaks --min-size 4K --json notes.map\n",
	.least = 1,
	.most = 1,
	.has_json = true,
	.run = run_leaks,
};
