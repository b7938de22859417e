/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc restore: a durable map becomes what its last checkpoint was. */
#include <errno.h>
#include <inttypes.h>

#include "common/ckpt_map.h"
#include "tools/checkpoints.h"
#include "tools/commands.h"

static enum status go_back(struct tool *tool, const char *name)
{
	int error;

	last_error_clear();
	if (ma_checkpoint_go_back(name, UINT32_MAX) == 0)
		return STATUS_OK;
	error = errno;
	complain_last_error(tool, name, "not restored");
	return error == EBUSY || error == ENOENT ? STATUS_REFUSED : error == EUCLEAN ? STATUS_DAMAGED : STATUS_FAILED;
}

static enum status report(struct tool *tool, const char *name)
{
	struct view view;
	enum status status = view_open(tool, name, &view);

	if (status != STATUS_OK)
		return status;
	if (tool->options.json) {
		json_begin(tool);
		json_text(tool, "file", name);
		checkpoints_json(&view);
		json_end(tool);
	} else {
		fprintf(tool->out, "%s: restored: it is as checkpoint %" PRIu64 " has it\n", name,
			view.checkpoints.number);
	}
	view_close(&view);
	return STATUS_OK;
}

/* Then it is opened once: recovery is done, and the reading commands believe what they see. */
static enum status run(struct tool *tool, char **arguments, int count)
{
	const char *name = arguments[0];
	struct view view;
	enum status status = view_open(tool, name, &view);
	bool is_busy;
	uint32_t kind;

	(void)count;
	if (status != STATUS_OK)
		return status;
	status = view_status(&view);
	is_busy = view.processes.is_attached;
	kind = view.header.kind;
	if (status == STATUS_FOREIGN)
		complain(tool, name, "not restored: it is no map that this program can read");
	view_close(&view);
	if (status == STATUS_FOREIGN)
		return status;
	if (is_busy) {
		complain(tool, name, "not restored: it is in use; end the processes that use it first");
		return STATUS_REFUSED;
	}
	status = go_back(tool, name);
	if (status == STATUS_OK)
		status = checkpoints_settle(tool, name, kind);
	return status == STATUS_OK ? report(tool, name) : status;
}

const struct command command_restore = {
	.name = "restore",
	.arguments = "FILE",
	.summary = "Make a durable map what its last checkpoint was: all that was stored since is lost.",
	.more = "No process may have the map open. The whole checkpoint is verified before anything changes. After the "
		"machine died\n"
		"this is not needed: the next program that opens the map goes back by itself.\n\n"
		"exit status: 0 done; 2 the checkpoint file is damaged: not touched; 3 no map; 4 the system failed; 5 "
		"refused: in use,\n"
		"or it has no checkpoint; 64 wrong usage.\n",
	.examples = "  mapalloc restore notes.map\n",
	.least = 1,
	.most = 1,
	.has_json = true,
	.run = run,
};
