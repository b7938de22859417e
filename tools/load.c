/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapalloc load: a new map from a dump. Its blocks may come to lie elsewhere, and it may have another base. With --relocate each aligned
 * word that was the address (or, in a region, the offset) of a block, or of a byte inside of one, becomes that byte's new one. That is
 * a guess which only the user can allow: a number that looks like such an address changes too.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/base64.h"
#include "tools/commands.h"
#include "tools/dump.h"
#include "tools/line.h"
#include "tools/make.h"

struct moved {
	uint64_t old, size, new; /* Offsets. */
};

struct pending {
	char name[72];
	int key; /* -1: a root. */
	uint64_t value;
};

struct job {
	struct tool *tool;
	struct dump_load *load;
	struct made made;
	uint64_t old_base;
	bool is_made;
	struct moved *block;
	uint64_t blocks, blocks_most;
	uint64_t left_out; /* With --damaged: blocks that overlap others. */
	struct pending *root;
	uint64_t roots;
	uint64_t line; /* For messages. */
};

static enum status bad_line(struct job *job, const char *why)
{
	complain(job->tool, job->load->from, "line %" PRIu64 ": %s", job->line, why);
	return STATUS_DAMAGED;
}

/* ---- lines ---- */

static enum status read_head(struct job *job, const struct line *line)
{
	const struct line_field *kind = line_find(line, "kind", LINE_TEXT);
	struct make_plan plan = {
		.kind = kind ? make_kind(kind->text) : 0,
		.streams = job->load->streams ? job->load->streams : line_number(line, "streams"),
		.base = job->load->base ? job->load->base : line_number(line, "base"),
		.item = line_number(line, "item_bytes"),
		.smallest = line_number(line, "smallest"),
		.largest = line_number(line, "largest"),
	};
	uint64_t tag = line_number(line, "tag");
	enum status status;

	if (line_number(line, "mapalloc_dump") != DUMP_FORMAT || !plan.kind)
		return bad_line(job, "is not the beginning of a dump that this program reads");
	plan.size = line_number(line, plan.kind == MA_KIND_SHMBUDDY  ? "capacity"
				      : plan.kind == MA_KIND_MMALLOC ? "range"
								     : "length");
	plan.range = line_number(line, "capacity_range");
	if (job->load->size)
		plan.size = job->load->size;
	if (plan.size > plan.range) /* Then as large as by default. */
		plan.range = 0;
	job->old_base = line_number(line, "base");
	status = make_open(job->tool, job->load->file, &plan, job->load->like, &job->made);
	job->is_made = status == STATUS_OK;
	if (job->is_made && tag && make_tag(&job->made, tag) < 0)
		return bad_line(job, "has a tag that cannot be set");
	return status;
}

static bool have_room(struct job *job)
{
	uint64_t most = job->blocks_most ? job->blocks_most * 2 : 1024;
	struct moved *more;

	if (job->blocks < job->blocks_most)
		return true;
	more = realloc(job->block, most * sizeof(*more));
	if (!more)
		return false;
	job->block = more;
	job->blocks_most = most;
	return true;
}

static enum status read_block(struct job *job, const struct line *line, uint64_t old)
{
	const struct line_field *data = line_find(line, "data", LINE_TEXT);
	uint64_t size = line_number(line, "size"), new;
	size_t bytes = data ? base64_decode(data->text, data->length) : SIZE_MAX;

	if (bytes == SIZE_MAX || bytes > size || size == 0)
		return bad_line(job, "is no block: its data is missing, not base64, or longer than its size");
	if (job->blocks && old < job->block[job->blocks - 1].old + job->block[job->blocks - 1].size) {
		if (!job->load->damaged)
			return bad_line(job, "is a block that lies before or inside the one above it");
		job->left_out++;
		return STATUS_OK;
	}
	last_error_clear();
	new = make_block(&job->made, size);
	if (!new || !have_room(job)) {
		complain_last_error(job->tool, job->load->file, "no room for a block; --size makes a larger map");
		return STATUS_FAILED;
	}
	memset(job->made.base + new, 0, size);
	memcpy(job->made.base + new, data->text, bytes);
	job->block[job->blocks++] = (struct moved){ .old = old, .size = size, .new = new };
	job->load->moved +=
		(uint64_t)(uintptr_t)job->made.base * !MA_KIND_FLOATS(job->made.kind) + new != job->old_base + old;
	return STATUS_OK;
}

static enum status keep_root(struct job *job, int key, const struct line_field *name, uint64_t value, bool encoded)
{
	struct pending *more = realloc(job->root, (job->roots + 1) * sizeof(*more));
	size_t bytes = name ? name->length : 0;

	if (!more)
		return complain_last_error(job->tool, job->load->from, "no memory");
	job->root = more;
	more += job->roots;
	*more = (struct pending){ .key = key, .value = value };
	if (name && encoded)
		bytes = base64_decode(name->text, name->length);
	if (bytes >= sizeof(more->name) || (key >= 64))
		return bad_line(job, "is no root that a map can have");
	if (name)
		memcpy(more->name, name->text, bytes);
	job->roots++;
	return STATUS_OK;
}

static enum status read_line(struct job *job, const struct line *line)
{
	const struct line_field *block = line_find(line, "block", LINE_NUMBER),
				*key = line_find(line, "key", LINE_NUMBER);
	const struct line_field *root = line_find(line, "root", LINE_TEXT),
				*root64 = line_find(line, "root64", LINE_TEXT);

	if (block)
		return read_block(job, line, block->number);
	if (root || root64)
		return keep_root(job, -1, root ? root : root64, line_number(line, "offset"), !root);
	if (key)
		return keep_root(job, (int)ma_min(key->number, 64), NULL, line_number(line, "value"), false);
	return bad_line(job, "is neither block nor root nor end");
}

static bool is_of_damaged(const struct line *line)
{
	const struct line_field *field = line_find(line, "damaged", LINE_BOOL);

	return field && field->number;
}

/* The last line: has all that was written come? */
static enum status read_end(struct job *job, const struct line *line)
{
	if (line_number(line, "blocks") != job->blocks + job->left_out || line_number(line, "roots") != job->roots)
		return bad_line(job, "counts other blocks or roots than there are above");
	if (is_of_damaged(line) && !job->load->damaged)
		return bad_line(job,
				"the dump is of a damaged map: blocks may be missing; --damaged loads what there is");
	return STATUS_OK;
}

static int peek(FILE *from)
{
	int next = getc(from);

	return next == EOF ? EOF : ungetc(next, from);
}

static enum status end_early(struct job *job)
{
	int error = errno, next = peek(job->load->input);

	if (ferror(job->load->input) || error == ENOMEM)
		return complain_last_error(job->tool, job->load->from, "cannot read it");
	if (next == EOF)
		return bad_line(job, "the dump ends before its last line");
	job->line++;
	return bad_line(job, "is not the JSON of a dump");
}

/* What does not begin as a line does is not read any further: /dev/zero has no end of a line. */
static enum status read_all(struct job *job)
{
	enum status status = STATUS_OK;
	bool ended = false;
	char *text = NULL;
	size_t most = 0;

	errno = 0;
	while (status == STATUS_OK && !ended && peek(job->load->input) == '{' &&
	       getline(&text, &most, job->load->input) > 0) {
		struct line line;

		job->line++;
		if (!line_parse(text, &line)) {
			status = bad_line(job, "is not the JSON of a dump");
		} else if (job->line == 1) {
			status = read_head(job, &line);
		} else if (line_find(&line, "end", LINE_BOOL)) {
			status = read_end(job, &line);
			ended = true;
		} else {
			status = read_line(job, &line);
		}
		errno = 0;
	}
	if (status == STATUS_OK && !ended)
		status = end_early(job);
	free(text);
	return status;
}

/* ---- addresses ---- */

/* The new offset of what was at this one; 0: it was in no block. */
static uint64_t translate(const struct job *job, uint64_t old)
{
	uint64_t low = 0, high = job->blocks;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (job->block[middle].old <= old)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || old - job->block[low - 1].old >= job->block[low - 1].size)
		return 0;
	return job->block[low - 1].new + (old - job->block[low - 1].old);
}

static uint64_t new_base(const struct job *job)
{
	return MA_KIND_FLOATS(job->made.kind) ? 0 : (uint64_t)(uintptr_t)job->made.base;
}

/* From the first block to the end of the last one: what is in there and in no block is doubtful. */
static bool is_near(const struct job *job, uint64_t old)
{
	const struct moved *last = &job->block[job->blocks - 1];

	return old >= job->block[0].old && old < last->old + last->size;
}

/* Without --relocate the words stay, and are counted all the same. */
static void relocate_block(struct job *job, const struct moved *block)
{
	uint64_t *word = (uint64_t *)(void *)(job->made.base + block->new);

	for (uint64_t i = 0; i < block->size / 8; i++) {
		uint64_t old = word[i] - job->old_base, to = is_near(job, old) ? translate(job, old) : 0;

		if (to && new_base(job) + to != word[i]) {
			if (job->load->relocate)
				word[i] = new_base(job) + to;
			job->load->fixed += job->load->relocate;
			job->load->stale += !job->load->relocate;
		} else if (!to && is_near(job, old)) {
			job->load->doubtful++;
		}
	}
}

static int set_key(struct job *job, const struct pending *root, uint64_t new)
{
	uint64_t value = new ? new_base(job) + new : root->value;

	if (job->load->relocate)
		return make_key(&job->made, root->key, value);
	job->load->stale += value != root->value;
	return make_key(&job->made, root->key, root->value);
}

static enum status set_root(struct job *job, const struct pending *root)
{
	uint64_t new = translate(job, root->key < 0 ? root->value : root->value - job->old_base);
	int result;

	if (root->key >= 0)
		result = set_key(job, root, new);
	else if (new)
		result = make_root(&job->made, root->name, new);
	else {
		complain(job->tool, job->load->from, "root \"%s\" was in no block: left out", root->name);
		return STATUS_OK;
	}
	job->load->roots++;
	return result < 0
		       ? complain_last_error(job->tool, job->load->file, "cannot set a root; --size makes a larger map")
		       : STATUS_OK;
}

static enum status finish(struct job *job)
{
	enum status status = STATUS_OK;

	if (job->left_out)
		complain(job->tool, job->load->from, "%" PRIu64 " %s: left out", job->left_out,
			 plural(job->left_out, "block overlaps another", "blocks overlap others"));
	for (uint64_t i = 0; i < job->blocks && (job->load->relocate || job->load->moved); i++)
		relocate_block(job, &job->block[i]);
	for (uint64_t i = 0; i < job->roots && status == STATUS_OK; i++)
		status = set_root(job, &job->root[i]);
	job->load->blocks = job->blocks;
	return status;
}

enum status dump_read(struct tool *tool, struct dump_load *load)
{
	struct job job = { .tool = tool, .load = load };
	enum status status = read_all(&job);

	last_error_clear();
	if (status == STATUS_OK)
		status = finish(&job);
	if (job.is_made && status == STATUS_OK)
		status = make_finish(tool, load->file, load->like, &job.made);
	else if (job.is_made)
		make_drop(&job.made); /* Half a heap is none. */
	free(job.block);
	free(job.root);
	return status;
}

/* ---- the command ---- */

void load_report_json(struct tool *tool, const struct dump_load *load)
{
	json_open(tool, "loaded", '{');
	json_number(tool, "blocks", load->blocks);
	json_number(tool, "moved", load->moved);
	json_number(tool, "roots", load->roots);
	json_bool(tool, "relocated", load->relocate);
	json_number(tool, "words_changed", load->fixed);
	json_number(tool, "words_between", load->doubtful);
	json_number(tool, "words_stale", load->stale);
	json_close(tool, '}');
}

void load_report(struct tool *tool, const struct dump_load *load)
{
	fprintf(tool->out, "%s: %" PRIu64 " %s, %" PRIu64 " of them at another address; %" PRIu64 " %s\n", load->file,
		load->blocks, plural(load->blocks, "block", "blocks"), load->moved, load->roots,
		plural(load->roots, "root", "roots"));
	if (load->relocate)
		fprintf(tool->out,
			"%s: %" PRIu64 " %s changed that looked like %s; %" PRIu64 " left that %s between blocks\n",
			load->file, load->fixed, plural(load->fixed, "word", "words"),
			plural(load->fixed, "a pointer", "pointers"), load->doubtful,
			plural(load->doubtful, "points", "point"));
	else if (load->moved)
		fprintf(tool->out,
			"%s: %" PRIu64 " %s to where blocks were, left as %s: --relocate changes such words\n",
			load->file, load->stale,
			plural(load->stale, "word looks like a pointer", "words look like pointers"),
			plural(load->stale, "it is", "they are"));
}

static void report(struct tool *tool, const struct dump_load *load)
{
	if (!tool->options.json) {
		load_report(tool, load);
		return;
	}
	json_begin(tool);
	json_text(tool, "file", load->file);
	load_report_json(tool, load);
	json_end(tool);
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	struct dump_load load = {
		.file = arguments[0],
		.from = tool->options.input ? tool->options.input : "standard input",
		.input = stdin,
		.size = tool->options.size,
		.base = tool->options.base,
		.streams = tool->options.streams,
		.relocate = tool->options.relocate,
		.damaged = tool->options.damaged,
	};
	enum status status;

	(void)count;
	last_error_clear();
	if (tool->options.input)
		load.input = fopen(tool->options.input, "re");
	if (!load.input)
		return complain_last_error(tool, load.from, "cannot open it");
	status = dump_read(tool, &load);
	if (status == STATUS_OK) {
		report(tool, &load);
		status = load.stale ? STATUS_STALE : STATUS_OK;
	}
	if (load.input != stdin)
		fclose(load.input);
	return status;
}

static const struct option_spec options[] = {
	{ "input", 'i', OPTION_TEXT, OPTION(input), "DUMP", "read this file; without it, standard input" },
	{ "size", 's', OPTION_SIZE, OPTION(size), "SIZE", "as for mapalloc create (as it was)" },
	{ "base", 0, OPTION_SIZE, OPTION(base), "ADDRESS", "where it is to be mapped (as it was)" },
	{ "streams", 'n', OPTION_NUMBER, OPTION(streams), "N", "lanes (as it was)" },
	{ "relocate", 0, OPTION_FLAG, OPTION(relocate), NULL,
	  "change words that look like pointers to blocks, and say how many" },
	{ "damaged", 0, OPTION_FLAG, OPTION(damaged), NULL,
	  "load the dump of a damaged map too: blocks and roots may be missing, overlapping blocks are left out" },
	{ 0 },
};

const struct command command_load = {
	.name = "load",
	.arguments = "FILE",
	.summary = "Make a new map from what mapalloc dump wrote.",
	.options = options,
	.more = "Blocks may come to lie at other addresses. With --relocate, each aligned word that was the address of "
		"a block, or of a byte\n"
		"inside of one, becomes the new one (in a region of libshmbuddy: its offset). Pointers in another form "
		"stay wrong, and a\n"
		"number that looked like a pointer is changed: only you can know whether there are such. Without\n"
		"it, they are counted: the map is made, and a program that follows one of them goes astray. The new "
		"map is not durable: see "
		"mapalloc set --help.\n\n"
		"exit status: 0 done; 1 done, but without --relocate words look like pointers to where blocks were; 2 "
		"the dump is cut or\n"
		"damaged, or of a damaged map and without --damaged; 4 the system failed; 5 refused: FILE is there; 64 "
		"wrong usage.\n",
	.examples = "  mapalloc load --input notes.dump notes.map\n"
		    "  mapalloc dump a.map | mapalloc load --size 1G --relocate larger.map\n",
	.least = 1,
	.most = 1,
	.has_json = true,
	.run = run,
};
