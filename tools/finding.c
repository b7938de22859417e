/* SPDX-License-Identifier: BSD-3-Clause */
/* See view.h: the list of findings, what they say of the whole map, and how they are printed. */
#include "tools/checkpoints.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define FINDINGS_MOST 1024
#define WARNINGS_MOST 8 /* Of the findings, those that other commands than check and info print. */

const char *severity_name(enum severity severity)
{
	static const char *const names[] = {
		[SEVERITY_NOTE] = "note",      [SEVERITY_UNCLOSED] = "not closed", [SEVERITY_REPAIRABLE] = "repairable",
		[SEVERITY_DAMAGE] = "damaged", [SEVERITY_FOREIGN] = "foreign",
	};

	return names[severity];
}

const char *verdict_name(enum severity severity)
{
	static const char *const names[] = {
		[SEVERITY_NOTE] = "sound",
		[SEVERITY_UNCLOSED] = "sound, not closed",
		[SEVERITY_REPAIRABLE] = "repairable",
		[SEVERITY_DAMAGE] = "damaged",
		[SEVERITY_FOREIGN] = "not ours",
	};

	return names[severity];
}

/* ---- findings ---- */

static bool have_room(struct view *view)
{
	size_t most = view->findings_most ? view->findings_most * 2 : 16;
	struct finding *more;

	if (view->findings < view->findings_most)
		return true;
	more = view->findings < FINDINGS_MOST ? realloc(view->finding, most * sizeof(*more)) : NULL;
	if (!more)
		return false;
	view->finding = more;
	view->findings_most = most;
	return true;
}

/* The last one that is less severe: whatever is left out, the verdict stands. NULL: there is none. */
static struct finding *least_of(struct view *view, enum severity severity)
{
	for (size_t i = view->findings; i-- > 0;)
		if (view->finding[i].severity < severity)
			return &view->finding[i];
	return NULL;
}

void view_add_finding(struct view *view, enum severity severity, const char *rule, uint64_t at, const char *format, ...)
{
	bool is_more = have_room(view);
	struct finding *f = is_more ? &view->finding[view->findings] : least_of(view, severity);
	char *text = NULL;
	va_list args;

	view->unlisted += !is_more;
	if (!f)
		return;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (!text)
		return;
	if (is_more)
		view->findings++;
	else
		free(f->text);
	*f = (struct finding){ .severity = severity, .rule = rule, .at = at, .text = text };
}

bool view_users_unknown(const struct view *view)
{
	return MA_KIND_FLOATS(view->header.kind) && view->processes.proc_unknown;
}

enum severity view_worst(const struct view *view)
{
	enum severity worst = SEVERITY_NOTE;

	for (size_t i = 0; i < view->findings; i++)
		if (view->finding[i].severity > worst)
			worst = view->finding[i].severity;
	return worst;
}

enum status view_status(const struct view *view)
{
	static const enum status statuses[] = {
		[SEVERITY_NOTE] = STATUS_OK,
		[SEVERITY_UNCLOSED] = STATUS_OK,
		[SEVERITY_REPAIRABLE] = STATUS_REPAIRABLE,
		[SEVERITY_DAMAGE] = STATUS_DAMAGED,
		[SEVERITY_FOREIGN] = STATUS_FOREIGN,
	};

	return statuses[view_worst(view)];
}

const char *view_verdict(const struct view *view)
{
	return verdict_name(view_worst(view));
}

static enum color severity_color(enum severity severity)
{
	return severity <= SEVERITY_UNCLOSED ? COLOR_DIM : severity == SEVERITY_REPAIRABLE ? COLOR_WARNING : COLOR_BAD;
}

static void print_finding(struct view *view, const struct finding *f, FILE *to)
{
	struct tool *tool = view->tool;

	print_safe(to, view->name, strlen(view->name));
	fprintf(to, ": %s%s%s: %s", tint(tool, severity_color(f->severity)), severity_name(f->severity),
		tint(tool, COLOR_NONE), f->rule);
	if (f->at != NOWHERE)
		fprintf(to, " at %#" PRIx64, f->at);
	fputs(": ", to);
	print_safe(to, f->text, strlen(f->text));
	fputc('\n', to);
}

void view_print_findings(struct view *view, FILE *to, enum severity least)
{
	for (size_t i = 0; i < view->findings; i++)
		if (view->finding[i].severity >= least)
			print_finding(view, &view->finding[i], to);
	if (view->unlisted)
		fprintf(to, "%s: and %" PRIu64 " more like these\n", view->name, view->unlisted);
}

enum status view_warn(struct view *view, const char *what)
{
	enum status status;
	uint64_t count = 0;

	if (view->kind)
		view_check(view);
	if (checkpoints_roll_back(view))
		complain(view->tool, view->name,
			 "the next open makes it what its last checkpoint was: what is %s here is older, newer, or a "
			 "mixture",
			 what);
	status = view_status(view);
	for (size_t i = 0; i < view->findings; i++)
		if (view->finding[i].severity >= SEVERITY_DAMAGE && count++ < WARNINGS_MOST)
			print_finding(view, &view->finding[i], view->tool->err);
	if (status == STATUS_DAMAGED && view->kind)
		complain(view->tool, view->name,
			 "damaged (%" PRIu64 " %s): only what can be read is %s; see mapalloc check",
			 count + view->unlisted, plural(count + view->unlisted, "finding", "findings"), what);
	/* That it may be repaired is no news here. */
	return status == STATUS_REPAIRABLE ? STATUS_OK : status;
}

void view_json_findings(struct view *view)
{
	struct tool *tool = view->tool;

	json_open(tool, "findings", '[');
	for (size_t i = 0; i < view->findings; i++) {
		const struct finding *f = &view->finding[i];

		json_open_flat(tool, NULL, '{');
		json_text(tool, "severity", severity_name(f->severity));
		json_text(tool, "rule", f->rule);
		if (f->at != NOWHERE)
			json_number(tool, "at", f->at);
		json_text(tool, "text", f->text);
		json_close(tool, '}');
	}
	json_close(tool, ']');
	if (view->unlisted)
		json_number(tool, "findings_not_listed", view->unlisted);
}
