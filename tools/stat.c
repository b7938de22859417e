/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc stat: the table of sizes, or with an interval a line each time, as vmstat does. */
#include <inttypes.h>
#include <time.h>

#include "tools/commands.h"

#define HEAD_EVERY 20 /* Lines. */

double stat_fragmentation(const struct figures *f)
{
	uint64_t free = f->capacity - ma_min(f->capacity, f->used_bytes + f->tables);
	uint64_t most = f->largest_ever ? ma_min(free, f->largest_ever) : free;

	return most ? 1 - (double)ma_min(f->largest_free, most) / (double)most : 0;
}

uint64_t stat_free_bytes(const struct figures *f)
{
	return f->capacity - ma_min(f->capacity, f->used_bytes + f->reserved + f->tables);
}

static void print_bucket(struct tool *tool, const struct bucket *b)
{
	char size[SIZE_TEXT], bytes[SIZE_TEXT];
	uint64_t slots = b->used + b->free;

	fprintf(tool->out, "%10s  %-5s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10s",
		b->bytes ? size_text(tool, b->bytes, size) : "any", b->what, b->units, b->used, b->free,
		size_text(tool, b->used_bytes, bytes));
	if (b->free || b->units)
		fprintf(tool->out, " %5.1f %%", slots ? 100 * (double)b->used / (double)slots : 100);
	fputc('\n', tool->out);
}

static void print_text(struct view *view, const struct figures *f)
{
	struct tool *tool = view->tool;
	char a[SIZE_TEXT], b[SIZE_TEXT];

	fprintf(tool->out, "%s%10s  %-5s %10s %10s %10s %10s %7s%s\n", tint(tool, COLOR_DIM), "SIZE", "IN", "UNITS",
		"USED", "FREE", "BYTES", "FILL", tint(tool, COLOR_NONE));
	for (unsigned i = 0; i < f->buckets; i++)
		print_bucket(tool, &f->bucket[i]);
	print_key(tool, "used", "%s of %s in %" PRIu64 " %s", size_text(tool, f->used_bytes, a),
		  size_text(tool, f->capacity, b), f->used_blocks, plural(f->used_blocks, "block", "blocks"));
	print_key(tool, "free", "%s, the largest %s %s", size_text(tool, stat_free_bytes(f), a),
		  view->region ? "block" : "run", size_text(tool, f->largest_free, b));
	print_key(tool, "reserved", "%s: free slots of slabs, for their own sizes", size_text(tool, f->reserved, a));
	print_key(tool, "tables", "%s", size_text(tool, f->tables, a));
	print_key(tool, "on disk", "%s of the capacity has its space", size_text(tool, f->backed, a));
	if (view->region)
		print_key(tool, "fragmented", "%.1f %%: the largest free block is that much smaller than it could be",
			  100 * stat_fragmentation(f));
	else if (view->header.kind != MA_KIND_STATIC)
		print_key(tool, "fragmented", "%.1f %% of what is free or reserved is not in the largest run",
			  100 * stat_fragmentation(f));
}

static void print_json(struct view *view, const struct figures *f)
{
	struct tool *tool = view->tool;

	json_begin(tool);
	json_text(tool, "file", view->name);
	json_text(tool, "kind", view->kind->name);
	info_json_occupancy(view, f);
	json_number(tool, "free_bytes", stat_free_bytes(f));
	if (view->header.kind != MA_KIND_STATIC)
		json_real(tool, "fragmentation", stat_fragmentation(f));
	json_open(tool, "sizes", '[');
	for (unsigned i = 0; i < f->buckets; i++) {
		const struct bucket *b = &f->bucket[i];

		json_open_flat(tool, NULL, '{');
		json_number(tool, "bytes", b->bytes);
		json_text(tool, "in", b->what);
		json_number(tool, "units", b->units);
		json_number(tool, "used", b->used);
		json_number(tool, "free", b->free);
		json_number(tool, "used_bytes", b->used_bytes);
		json_close(tool, '}');
	}
	json_close(tool, ']');
	json_end(tool);
}

/* Opened each time: it may have grown, and who is attached changes. */
static enum status show(struct tool *tool, const char *name, void (*print)(struct view *, const struct figures *),
			bool check)
{
	struct figures f = { 0 };
	struct view view;
	enum status status = view_open(tool, name, &view);

	if (status != STATUS_OK)
		return status;
	status = check ? view_warn(&view, "counted") : view_status(&view);
	if (view.kind) {
		view.kind->measure(&view, &f);
		print(&view, &f);
	} else if (status == STATUS_OK) {
		status = STATUS_FAILED;
	}
	view_close(&view);
	return status;
}

static void print_line(struct view *view, const struct figures *f)
{
	struct tool *tool = view->tool;
	char a[SIZE_TEXT], b[SIZE_TEXT], c[SIZE_TEXT], d[SIZE_TEXT], e[SIZE_TEXT];
	unsigned alive = 0;

	for (unsigned i = 0; i < view->processes.count; i++)
		alive += view->processes.process[i].is_alive;
	fprintf(tool->out, "%5u %10" PRIu64 " %8s %8s %8s %8s %8s %6.1f\n", alive, f->used_blocks,
		size_text(tool, f->used_bytes, a), size_text(tool, f->reserved, b),
		size_text(tool, stat_free_bytes(f), c), size_text(tool, f->largest_free, d),
		size_text(tool, f->backed, e), view->header.kind == MA_KIND_STATIC ? 0 : 100 * stat_fragmentation(f));
	fflush(tool->out);
}

static enum status every(struct tool *tool, const char *name)
{
	double seconds = tool->options.interval;
	struct timespec pause = { .tv_sec = (time_t)seconds };
	enum status status = STATUS_OK, worst = STATUS_OK;

	pause.tv_nsec = (long)((seconds - (double)pause.tv_sec) * 1e9);
	/* What is damaged is said once, and in the status at the end. */
	for (uint64_t i = 0; status <= STATUS_DAMAGED && (tool->options.count == 0 || i < tool->options.count); i++) {
		if (i > 0)
			nanosleep(&pause, NULL);
		if (i % HEAD_EVERY == 0 && !tool->options.json)
			fprintf(tool->out, "%s%5s %10s %8s %8s %8s %8s %8s %6s%s\n", tint(tool, COLOR_DIM), "PROCS",
				"BLOCKS", "USED", "RESERVED", "FREE", "LARGEST", "ON DISK", "FRAG %",
				tint(tool, COLOR_NONE));
		status = show(tool, name, tool->options.json ? print_json : print_line, i == 0);
		worst = status > worst ? status : worst;
		fflush(tool->out);
	}
	return worst;
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	(void)count;
	if (tool->options.prometheus) {
		if (!tool->options.json && tool->options.interval == 0)
			return show(tool, arguments[0], prometheus_print, true);
		complain(tool, arguments[0],
			 "--prometheus is for one answer in its own format: leave --json and --interval out");
		return STATUS_USAGE;
	}
	if (tool->options.interval > 0)
		return every(tool, arguments[0]);
	return show(tool, arguments[0], tool->options.json ? print_json : print_text, true);
}

static const struct option_spec options[] = {
	{ "interval", 'i', OPTION_SECONDS, OPTION(interval), "SECONDS",
	  "a line every so often, until it is interrupted" },
	{ "count", 'n', OPTION_NUMBER, OPTION(count), "N", "with --interval: so many lines" },
	{ "prometheus", 0, OPTION_FLAG, OPTION(prometheus), NULL, "print metrics as Prometheus reads them" },
	{ 0 },
};

const struct command command_stat = {
	.name = "stat",
	.arguments = "FILE",
	.summary = "Show sizes of blocks and how full they are, free space and its fragmentation.",
	.options = options,
	.examples = "  mapalloc stat notes.map\n"
		    "  mapalloc stat --interval 1 /dev/shm/cache.map\n"
		    "  mapalloc stat --prometheus /dev/shm/cache.map > cache.prom\n",
	.least = 1,
	.most = 1,
	.has_json = true,
	.run = run,
};
