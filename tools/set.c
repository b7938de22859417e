/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc set: what a map that no process uses is to be. */
#include <string.h>
#include <unistd.h>

#include "tools/checkpoints.h"
#include "tools/commands.h"
#include "tools/exclusive.h"

static enum status switch_off(struct tool *tool, const char *name, const struct view *seen)
{
	enum status status;
	int fd;

	status = exclusive_open(tool, name, seen, "changed", &fd);
	if (status != STATUS_OK)
		return status;
	if (checkpoints_end(fd) < 0 || checkpoints_remove(fd) < 0)
		status = complain_last_error(tool, name, "cannot be changed");
	close(fd);
	return status;
}

/* A map that the next open would change first is opened before. */
static enum status set_durable(struct tool *tool, const char *name, const struct view *seen, bool on)
{
	enum status status = STATUS_OK;

	if (on)
		return checkpoints_begin(tool, name, seen->header.kind);
	if (seen->checkpoints.state == CHECKPOINTS_OFF)
		return STATUS_OK;
	if (checkpoints_roll_back(seen))
		status = checkpoints_settle(tool, name, seen->header.kind);
	return status == STATUS_OK ? switch_off(tool, name, seen) : status;
}

/* The view is closed on return: the map is opened for writing afterwards. */
static enum status judge(struct tool *tool, const char *name, struct view *view)
{
	enum status status = view_open(tool, name, view);

	if (status != STATUS_OK)
		return status;
	view_check(view);
	status = view_status(view);
	if (view->processes.is_attached) {
		status = exclusive_refuse(tool, name, "changed", "it is in use: its program can make it durable");
	} else if (status != STATUS_OK) {
		view_print_findings(view, tool->err, SEVERITY_REPAIRABLE);
		complain(tool, name, "not changed: %s",
			 status == STATUS_REPAIRABLE ? "mapalloc repair it first" : view_verdict(view));
		status = status == STATUS_REPAIRABLE ? STATUS_REFUSED : status;
	}
	view_close_file(view);
	return status;
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	bool on = strcmp(arguments[1], "durable=on") == 0;
	struct view view;
	enum status status;

	(void)count;
	if (!on && strcmp(arguments[1], "durable=off") != 0) {
		complain(tool, NULL, "set: no setting %s; use durable=on or durable=off", arguments[1]);
		return STATUS_USAGE;
	}
	status = judge(tool, arguments[0], &view);
	if (status == STATUS_OK)
		status = set_durable(tool, arguments[0], &view, on);
	view_close(&view);
	return status;
}

const struct command command_set = {
	.name = "set",
	.arguments = "FILE durable=on|off",
	.summary =
		"Make a map durable, or not durable: durable=on keeps its checkpoints in FILE.checkpoint, durable=off "
		"removes them.",
	.more = "No process may have the map open. on: the first checkpoint is made, and from then on each sync by a "
		"program is a checkpoint,\n"
		"which survives the death of the machine exactly. off: what is in the map now is written to disk, and "
		"FILE.checkpoint is removed.\n\n"
		"exit status: 0 done, or it was so already; 2 damaged: not touched; 3 no map; 4 the system failed; 5 "
		"refused: in use, or\n"
		"to be repaired first; 64 wrong usage.\n",
	.examples = "  mapalloc set notes.map durable=on\n",
	.least = 2,
	.most = 2,
	.run = run,
};
