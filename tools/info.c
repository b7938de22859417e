/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc info: what a file is, who uses it, how full it is, what is wrong with it. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "tools/checkpoints.h"
#include "tools/commands.h"
#include "tools/reach.h"

static const char *state_name(const struct view *view)
{
	static const char *const names[] = { "in use", "closed", "closed and synced" };
	uint32_t state = ma_load(&view->header.state);

	if (view->processes.is_opening)
		return "being opened";
	if (MA_KIND_FLOATS(view->header.kind))
		return view->processes.is_attached ? "in use" : "not mapped";
	return state < MA_COUNT(names) ? names[state] : "unknown";
}

static void uuid_text(const struct ma_header *h, char text[40])
{
	char *at = text;

	for (unsigned i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at += sprintf(at, "%02x", h->uuid[i]);
	}
}

/* In UTC, or "-". */
static const char *time_text(uint64_t seconds, char text[32])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (seconds == 0 || seconds > (uint64_t)1 << 36 || !gmtime_r(&t, &tm) ||
	    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return "-";
	return text;
}

static bool has_header(const struct view *view)
{
	return view->header_bytes == sizeof(view->header) && view->refusal != MA_REFUSE_MAGIC &&
	       view->refusal != MA_REFUSE_HALF;
}

/* ---- text ---- */

static void print_sizes(struct view *view)
{
	struct tool *tool = view->tool;
	const struct ma_header *h = &view->header;
	char a[SIZE_TEXT], b[SIZE_TEXT], c[SIZE_TEXT];

	if (MA_KIND_FLOATS(h->kind))
		print_key(tool, "base", "any: it holds offsets");
	else
		print_key(tool, "base", "%#" PRIx64, h->base);
	print_key(tool, "sizes", "%s long, range %s, on disk %s", size_text(tool, ma_load(&h->length), a),
		  size_text(tool, view_range(view), b), size_text(tool, (uint64_t)view->st.st_blocks * 512, c));
	if (!view->kind)
		return;
	if (h->kind == MA_KIND_STATIC)
		print_key(tool, "items", "of %s", size_text(tool, view->map.item_bytes, a));
	if (!MA_KIND_FLOATS(h->kind))
		print_key(tool, "streams", "%u", view->map.lay.streams);
}

static void print_occupancy(struct view *view)
{
	struct tool *tool = view->tool;
	struct figures f = { 0 };
	char a[SIZE_TEXT], b[SIZE_TEXT], c[SIZE_TEXT];

	view->kind->measure(view, &f);
	print_key(tool, "used", "%s of %s (%.1f %%) in %" PRIu64 " %s", size_text(tool, f.used_bytes, a),
		  size_text(tool, f.capacity, b), f.capacity ? 100 * (double)f.used_bytes / (double)f.capacity : 0,
		  f.used_blocks, plural(f.used_blocks, "block", "blocks"));
	print_key(tool, "free", "largest %s; %s reserved in slabs", size_text(tool, f.largest_free, a),
		  size_text(tool, f.reserved, c));
}

#define ROOTS_SHOWN 16

static void print_root(struct view *view, const char *name, size_t bytes, int key, uint64_t offset, void *arg)
{
	struct tool *tool = view->tool;
	unsigned *count = arg;

	(void)key;
	if ((*count)++ >= ROOTS_SHOWN)
		return;
	fprintf(tool->out, "  %s%-12s%s ", tint(tool, COLOR_DIM), *count > 1 ? "" : "roots", tint(tool, COLOR_NONE));
	fprintf(tool->out, "%#-12" PRIx64 " ", offset);
	print_safe(tool->out, bytes ? name : "(without a name)", bytes ? bytes : strlen("(without a name)"));
	fputc('\n', tool->out);
}

static void print_process(struct tool *tool, const struct process *process, bool is_first)
{
	char since[32];

	fprintf(tool->out, "  %s%-12s%s ", tint(tool, COLOR_DIM), is_first ? "processes" : "", tint(tool, COLOR_NONE));
	fprintf(tool->out, "%s%s%s pid %u", tint(tool, process->is_alive ? COLOR_GOOD : COLOR_DIM),
		process->is_alive ? "alive" : "gone", tint(tool, COLOR_NONE), process->pid);
	if (process->command[0]) {
		fputs(" (", tool->out);
		print_safe(tool->out, process->command, strlen(process->command));
		fputc(')', tool->out);
	}
	if (process->slot >= 0)
		fprintf(tool->out, ", slot %d", process->slot);
	fprintf(tool->out, ", since %s\n", time_text(process->since, since));
}

static void print_processes(struct view *view)
{
	const struct processes *processes = &view->processes;

	print_key(view->tool, "attached", "%s%s%s",
		  processes->locks_unknown ? "unknown: no locks here"
		  : processes->is_attached ? "yes"
					   : "no process",
		  processes->is_attached && processes->count == 0 ? ", by processes that are not to be seen from here"
								  : "",
		  MA_KIND_FLOATS(view->header.kind) && processes->proc_unknown ? " (some processes cannot be asked)"
									       : "");
	for (unsigned i = 0; i < processes->count; i++)
		print_process(view->tool, &processes->process[i], i == 0);
}

/* "FILE: sound" */
static void print_verdict(struct view *view)
{
	struct tool *tool = view->tool;
	enum status status = view_status(view);

	print_safe(tool->out, view->name, strlen(view->name));
	fprintf(tool->out, ": %s%s%s",
		tint(tool, status == STATUS_OK           ? COLOR_GOOD
			   : status == STATUS_REPAIRABLE ? COLOR_WARNING
							 : COLOR_BAD),
		view_verdict(view), tint(tool, COLOR_NONE));
}

static void print_text(struct view *view)
{
	struct tool *tool = view->tool;
	const struct ma_header *h = &view->header;
	unsigned roots = 0;
	char uuid[40];

	print_verdict(view);
	fputc('\n', tool->out);
	if (has_header(view)) {
		uuid_text(h, uuid);
		print_key(tool, "kind", "%s, format %u", kind_name(h->kind), h->format);
		print_key(tool, "uuid", "%s", uuid);
		print_sizes(view);
		print_key(tool, "state", "%s, generation %" PRIu64, state_name(view),
			  (uint64_t)ma_load(&h->generation));
		if (view_tag(view))
			print_key(tool, "tag", "%" PRIu64, view_tag(view));
		checkpoints_print(view);
		print_processes(view);
	}
	if (view->kind) {
		print_occupancy(view);
		view->kind->roots(view, print_root, &roots);
		if (roots > ROOTS_SHOWN)
			print_key(tool, "", "and %u more: see mapalloc info --json", roots - ROOTS_SHOWN);
	}
	view_print_findings(view, tool->out, SEVERITY_NOTE);
}

/* ---- JSON ---- */

static void json_processes(struct view *view)
{
	struct tool *tool = view->tool;
	char since[32];

	json_bool(tool, "attached", view->processes.is_attached);
	json_open(tool, "processes", '[');
	for (unsigned i = 0; i < view->processes.count; i++) {
		const struct process *process = &view->processes.process[i];

		json_open_flat(tool, NULL, '{');
		json_number(tool, "pid", process->pid);
		json_bool(tool, "alive", process->is_alive);
		if (process->slot >= 0)
			json_number(tool, "slot", (uint64_t)process->slot);
		if (process->command[0])
			json_text(tool, "command", process->command);
		if (process->since)
			json_text(tool, "since", time_text(process->since, since));
		json_close(tool, '}');
	}
	json_close(tool, ']');
}

static void json_header(struct view *view)
{
	const struct ma_header *h = &view->header;
	struct tool *tool = view->tool;
	char uuid[40];

	uuid_text(h, uuid);
	json_text(tool, "kind", kind_name(h->kind));
	json_number(tool, "format", h->format);
	json_text(tool, "uuid", uuid);
	json_number(tool, "base", h->base);
	json_number(tool, "length", ma_load(&h->length));
	json_number(tool, "range", view_range(view));
	json_text(tool, "state", state_name(view));
	json_number(tool, "generation", ma_load(&h->generation));
	if (view_tag(view))
		json_number(tool, "tag", view_tag(view));
	checkpoints_json(view);
	if (view->kind && h->kind == MA_KIND_STATIC)
		json_number(tool, "item_bytes", view->map.item_bytes);
	if (view->kind && !MA_KIND_FLOATS(h->kind))
		json_number(tool, "streams", view->map.lay.streams);
	json_processes(view);
}

static void json_root(struct view *view, const char *name, size_t bytes, int key, uint64_t offset, void *arg)
{
	struct tool *tool = view->tool;

	(void)arg;
	json_open_flat(tool, NULL, '{');
	if (key >= 0)
		json_number(tool, "key", (uint64_t)key);
	else
		json_bytes(tool, "name", name, bytes);
	json_number(tool, "offset", offset);
	json_bool(tool, "inside", view_is_inside(view, offset));
	json_close(tool, '}');
}

void info_json_occupancy(struct view *view, const struct figures *f)
{
	struct tool *tool = view->tool;

	json_open_flat(tool, "occupancy", '{');
	json_number(tool, "capacity", f->capacity);
	json_number(tool, "used_bytes", f->used_bytes);
	json_number(tool, "used_blocks", f->used_blocks);
	json_number(tool, "reserved_bytes", f->reserved);
	json_number(tool, "backed_bytes", f->backed);
	json_number(tool, "table_bytes", f->tables);
	json_number(tool, "largest_free", f->largest_free);
	json_close(tool, '}');
}

static void print_json(struct view *view)
{
	struct tool *tool = view->tool;
	struct figures f = { 0 };

	json_open(tool, NULL, '{');
	json_text(tool, "file", view->name);
	json_text(tool, "verdict", view_verdict(view));
	json_number(tool, "file_bytes", (uint64_t)view->st.st_size);
	json_number(tool, "disk_bytes", (uint64_t)view->st.st_blocks * 512);
	if (has_header(view))
		json_header(view);
	if (view->kind) {
		view->kind->measure(view, &f);
		info_json_occupancy(view, &f);
		json_open(tool, "roots", '[');
		view->kind->roots(view, json_root, NULL);
		json_close(tool, ']');
	}
	view_json_findings(view);
	json_close(tool, '}');
}

/* ---- the commands info and check ---- */

/* A file that cannot be read: what stderr says of it. */
static void json_missing(struct tool *tool, const char *name)
{
	json_open(tool, NULL, '{');
	json_text(tool, "file", name);
	json_text(tool, "verdict", "failed");
	json_text(tool, "error", tool->said);
	json_open(tool, "findings", '[');
	json_close(tool, ']');
	json_close(tool, '}');
}

/* check: each page of the checkpoints, too. */
static enum status each(struct tool *tool, char **arguments, int count, bool check, void (*print)(struct view *view))
{
	enum status worst = STATUS_OK;

	if (tool->options.json) {
		json_begin(tool);
		json_open(tool, "maps", '[');
	}
	for (int i = 0; i < count; i++) {
		struct view view;
		enum status status = view_open(tool, arguments[i], &view);

		if (status == STATUS_OK) {
			view.verify_checkpoints = check;
			view_check(&view);
			print(&view);
			status = view_status(&view);
			view_close(&view);
		} else if (tool->options.json) {
			json_missing(tool, arguments[i]);
		}
		worst = status > worst ? status : worst;
	}
	if (tool->options.json) {
		json_close(tool, ']');
		json_end(tool);
	}
	return worst;
}

static enum status run_info(struct tool *tool, char **arguments, int count)
{
	return each(tool, arguments, count, false, tool->options.json ? print_json : print_text);
}

const struct command command_info = {
	.name = "info",
	.arguments = "FILE...",
	.summary = "Show what a map is: kind, sizes, its last checkpoint, who is attached, roots, how full it is, and "
		   "what "
		   "is wrong with it.\n"
		   "It takes no lock and changes nothing, also when others use the map. Exit status as for check.",
	.examples = "  mapalloc info notes.map\n"
		    "  mapalloc info --json /dev/shm/*.map\n",
	.least = 1,
	.has_json = true,
	.run = run_info,
};

static void check_text(struct view *view)
{
	struct tool *tool = view->tool;
	view_print_findings(view, tool->out, SEVERITY_NOTE);
	print_verdict(view);
	if (view_worst(view) == SEVERITY_UNCLOSED)
		fputs(view->processes.is_attached ? ": the processes that use it clean up"
						  : ": the next open cleans up",
		      tool->out);
	fputc('\n', tool->out);
}

static void check_json(struct view *view)
{
	struct tool *tool = view->tool;

	json_open(tool, NULL, '{');
	json_text(tool, "file", view->name);
	if (has_header(view))
		json_text(tool, "kind", kind_name(view->header.kind));
	json_text(tool, "verdict", view_verdict(view));
	json_bool(tool, "attached", view->processes.is_attached);
	view_json_findings(view);
	json_close(tool, '}');
}

static enum status run_check(struct tool *tool, char **arguments, int count)
{
	return each(tool, arguments, count, true, tool->options.json ? check_json : check_text);
}

const struct command command_check = {
	.name = "check",
	.arguments = "FILE...",
	.summary =
		"Verify everything: header, body, free space, locks, unfinished changes, leases of the dead, roots, "
		"checkpoints.\n"
		"It takes no lock and changes nothing. Of a map that others use, it looks again at what is in motion.",
	.more = "\"sound, not closed\" is a sound map that a process left without closing it: it was killed, or ended "
		"without a "
		"close, or the\n"
		"machine went down. The next open cleans up by itself, and so do processes that use the map: there is "
		"nothing to do.\n\n"
		"exit status: 0 sound, closed or not; 1 repairable: mapalloc repair is needed; 2 damaged; 3 no map, or "
		"none "
		"that this program can\n"
		"read; 4 a file cannot be read; 64 wrong usage. Of several files: the highest.\n",
	.examples = "  mapalloc check notes.map\n"
		    "  mapalloc check --json *.map\n",
	.least = 1,
	.has_json = true,
	.run = run_check,
};
