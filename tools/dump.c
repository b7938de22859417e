/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc dump. See dump.h. */
#include "tools/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/target.h"
#include "tools/base64.h"
#include "tools/checkpoints.h"
#include "tools/commands.h"

struct counts {
	FILE *to;
	uint64_t blocks, roots;
};

static void write_head(struct view *view, FILE *to)
{
	const struct ma_header *h = &view->header;
	const struct shmbuddy__shape *shape = &view->shape;
	uint64_t tag;

	fprintf(to,
		"{\"mapalloc_dump\": %d, \"kind\": \"%s\", \"base\": %" PRIu64 ", \"length\": %" PRIu64
		", \"range\": %" PRIu64,
		DUMP_FORMAT, view->kind->name, h->base, (uint64_t)ma_load(&h->length), view_range(view));
	if (view->region)
		fprintf(to,
			", \"capacity\": %" PRIu64 ", \"capacity_range\": %" PRIu64 ", \"smallest\": %" PRIu64
			", \"largest\": %" PRIu64,
			shape->area, shape->range, shape->smallest, shape->largest);
	else
		fprintf(to, ", \"streams\": %u", view->map.lay.streams);
	tag = view_tag(view);
	if (tag)
		fprintf(to, ", \"tag\": %" PRIu64, tag);
	if (h->kind == MA_KIND_STATIC)
		fprintf(to, ", \"item_bytes\": %" PRIu64, view->map.item_bytes);
	fputs("}\n", to);
}

/* Pages that were never touched are not read one by one: most of a large block's are zeros at its end. */
static uint64_t without_zeros(const volatile unsigned char *at, uint64_t size)
{
	while (size % 8 && at[size - 1] == 0)
		size--;
	if (size % 8)
		return size;
	while (size >= 8 && *(const volatile uint64_t *)(const volatile void *)(at + size - 8) == 0)
		size -= 8;
	while (size > 0 && at[size - 1] == 0)
		size--;
	return size;
}

static int write_block(struct view *view, uint64_t offset, uint64_t size, void *arg)
{
	const volatile unsigned char *at = (const volatile unsigned char *)view->base + offset;
	struct counts *counts = arg;

	if (offset >= view->mapped || size > view->mapped - offset)
		return 0;
	fprintf(counts->to, "{\"block\": %" PRIu64 ", \"size\": %" PRIu64 ", \"data\": \"", offset, size);
	base64_write(counts->to, at, without_zeros(at, size));
	fputs("\"}\n", counts->to);
	counts->blocks++;
	return ferror(counts->to);
}

/* Plain enough to stand in JSON as it is. */
static bool is_plain(const char *name, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if ((unsigned char)name[i] < 0x20 || (unsigned char)name[i] >= 0x7f || name[i] == '"' ||
		    name[i] == '\\')
			return false;
	return true;
}

static void write_root(struct view *view, const char *name, size_t bytes, int key, uint64_t offset, void *arg)
{
	struct counts *counts = arg;

	counts->roots++;
	if (key >= 0) {
		fprintf(counts->to, "{\"key\": %d, \"value\": %" PRIu64 "}\n", key, offset + view->header.base);
		return;
	}
	fprintf(counts->to, "{\"%s\": \"", is_plain(name, bytes) ? "root" : "root64");
	if (is_plain(name, bytes))
		fwrite(name, 1, bytes, counts->to);
	else
		base64_write(counts->to, (const unsigned char *)name, bytes);
	fprintf(counts->to, "\", \"offset\": %" PRIu64 "}\n", offset);
}

void dump_write(struct view *view, FILE *to)
{
	struct counts counts = { .to = to };

	write_head(view, to);
	view->kind->walk(view, write_block, &counts);
	view->kind->roots(view, write_root, &counts);
	fprintf(to, "{\"end\": true, \"blocks\": %" PRIu64 ", \"roots\": %" PRIu64 "%s}\n", counts.blocks, counts.roots,
		view_status(view) >= STATUS_DAMAGED ? ", \"damaged\": true" : "");
}

static int write_target(struct view *view, struct ma_target *target)
{
	int fd = fcntl(target->fd, F_DUPFD_CLOEXEC, 3), result;
	FILE *to = fd < 0 ? NULL : fdopen(fd, "w");

	if (!to)
		return -1;
	dump_write(view, to);
	result = ferror(to) ? -1 : 0;
	return fclose(to) != 0 ? -1 : result;
}

/* It appears when it is whole: half of it would be in the way of the next one. */
static enum status write_to(struct view *view, const char *name)
{
	enum status status = STATUS_OK;
	struct ma_target target;
	mode_t mask = umask(0);

	umask(mask);
	last_error_clear();
	if (ma_target_find(&target, name) < 0 || ma_target_is_there(&target) ||
	    ma_target_open(&target, "mapalloc", 0666 & ~mask) < 0)
		status = complain_making(view->tool, name, "cannot make it");
	else if (write_target(view, &target) < 0)
		status = complain_last_error(view->tool, name, "cannot write it");
	else if (ma_target_commit(&target, false) < 0)
		status = complain_making(view->tool, name, "cannot make it");
	ma_target_close(&target);
	return status;
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	struct view view;
	enum status status = view_open(tool, arguments[0], &view), written = STATUS_OK;

	(void)count;
	if (status != STATUS_OK)
		return status;
	if (checkpoints_roll_back(&view)) {
		status = checkpoints_refuse_stale(&view, "dumped");
		view_close(&view);
		return status;
	}
	status = view_warn(&view, "written");
	if (!view.kind)
		written = status == STATUS_OK ? STATUS_FAILED : STATUS_OK;
	else if (tool->options.output)
		written = write_to(&view, tool->options.output);
	else
		dump_write(&view, tool->out);
	status = written > status ? written : status;
	view_close(&view);
	return status;
}

static const struct option_spec options[] = {
	{ "output", 'o', OPTION_TEXT, OPTION(output), "DUMP", "a new file; without it, standard output" },
	{ 0 },
};

const struct command command_dump = {
	.name = "dump",
	.arguments = "FILE",
	.summary = "Write all live blocks with their contents, and the roots, as JSON lines.",
	.options = options,
	.more = "The form is described in the manual page. Of a damaged map, what can be read is written, the last "
		"line says so, and the status\n"
		"is 2: mapalloc load takes such a dump only with --damaged. A map that is in use changes while it is "
		"read: take a snapshot\n"
		"first when that matters. Of guarded blocks (mmcheck()) what is between the guards is written: what is "
		"loaded has none.\n",
	.examples = "  mapalloc dump notes.map -o notes.dump\n"
		    "  mapalloc dump notes.map | mapalloc load --base 0x200000000000 --relocate moved.map\n",
	.least = 1,
	.most = 1,
	.run = run,
};
