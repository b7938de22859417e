/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole check, and the verdict. What a body's check finds may be what a killed process left, which the next open cleans up before
 * anything else. So that open is rehearsed in a view of its own: what is right then is only "not closed". Then the repair is rehearsed.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "tools/checkpoints.h"
#include "tools/reach.h"

#define STATE_AT offsetof(struct ma_header, state)

static void check_in_use(struct view *view)
{
	const struct ma_header *h = &view->header;
	struct ma_certainty c = view_certainty(view);

	if (view->processes.is_attached || view->processes.locks_unknown)
		return;
	if (ma_load(&h->phase) != 1)
		view_add_finding(view, SEVERITY_UNCLOSED, "state/phase", offsetof(struct ma_header, phase),
				 "recovery was not finished: the next open completes it");
	if (ma_load(&h->state) != MA_STATE_IN_USE)
		return;
	if (ma_is_same_run(c) || !c.same_file)
		view_add_finding(
			view, SEVERITY_UNCLOSED, "state/in-use", STATE_AT,
			"no process uses it, and it was not closed: its last user ended without that, or the file was "
			"copied while it was in use");
	else
		view_add_finding(view, SEVERITY_UNCLOSED, "state/in-use", STATE_AT,
				 "it was in use when the machine went down, or its file system was unmounted: the next "
				 "open verifies all of it");
}

static void check_state(struct view *view)
{
	if (!MA_KIND_FLOATS(view->header.kind))
		check_in_use(view);
	if (!view_certainty(view).same_file)
		view_add_finding(view, SEVERITY_NOTE, "state/copy", offsetof(struct ma_header, device),
				 "it is a copy of another file: its next opener verifies all of it");
	if (view->header.rocompat)
		view_add_finding(view, SEVERITY_NOTE, "header/features", offsetof(struct ma_header, rocompat),
				 "it has features that this program can only read");
	if (view->processes.locks_unknown)
		view_add_finding(view, SEVERITY_NOTE, "state/locks", NOWHERE,
				 "its file system has no open-file-description locks: it cannot be told which "
				 "processes are alive");
}

/* Rules that are about what the words say: those that a rehearsal covers. */
static bool is_covered(const struct finding *f)
{
	static const char *const rules[] = { "body/chunk", "body/item", "body/free-chunks", "body/word", "body" };

	for (size_t i = 0; i < MA_COUNT(rules); i++)
		if (strcmp(f->rule, rules[i]) == 0)
			return true;
	return false;
}

static bool has_finding(const struct view *view, const struct finding *wanted)
{
	for (size_t i = 0; i < view->findings; i++)
		if (strcmp(view->finding[i].text, wanted->text) == 0)
			return true;
	return false;
}

static void rehearse(struct view *view)
{
	struct view again;
	enum severity then;

	if (!view_open_again(view, &again)) {
		view_close(&again);
		return;
	}
	then = again.kind->rehearse(&again);
	for (size_t i = 0; i < again.findings; i++) {
		const struct finding *f = &again.finding[i];

		if (!has_finding(view, f) && !(f->severity == SEVERITY_DAMAGE && view_users_unknown(view)))
			view_add_finding(view, f->severity, f->rule, f->at, "%s", f->text);
	}
	for (size_t i = 0; i < view->findings && then < SEVERITY_DAMAGE; i++)
		if (is_covered(&view->finding[i]))
			view->finding[i].severity = then;
	view_close(&again);
}

/* A program may free what a root points to: that is its own affair, but worth a word. */
static void check_roots(struct view *view)
{
	const struct reach_root *first = NULL;
	struct reach reach;
	uint64_t count = 0;

	if (!reach_roots(&reach, view))
		return;
	for (uint64_t i = 0; i < reach.roots; i++) {
		const struct reach_root *root = &reach.root[i];

		if (root->block != NOWHERE || root->key >= 0 || !view_is_inside(view, root->offset))
			continue;
		first = first ? first : root;
		count++;
	}
	if (count)
		view_add_finding(view, SEVERITY_NOTE, "root/no-block", first->offset,
				 "%" PRIu64 " %s \"%.*s\", to no live block", count,
				 count > 1 ? "roots point, the first of them" : "root points,", (int)first->bytes,
				 first->name);
	reach_end(&reach);
}

/* What is in a map that goes back to its last checkpoint at the next open does not matter. */
void view_check(struct view *view)
{
	if (view->header_bytes == sizeof(view->header) && view->refusal != MA_REFUSE_MAGIC &&
	    view->refusal != MA_REFUSE_HALF && view->kind)
		check_state(view);
	checkpoints_check(view);
	if (!view->kind || checkpoints_roll_back(view))
		return;
	view->kind->check(view);
	if (!view->processes.is_attached && (view->refusal == MA_OK || view_was_cut(view)))
		rehearse(view);
	check_roots(view);
}
