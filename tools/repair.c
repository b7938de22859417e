/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapalloc repair: does what the next process to attach would do, and computes again what follows from the rest. The check rehearses
 * that in memory, and decides before anything is changed. The repair holds the exclusive attach lock, so no process attaches meanwhile;
 * when it is killed, the next opener recovers the file.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/inuse.h"
#include "common/recover.h"
#include "common/ckpt_map.h"
#include "tools/checkpoints.h"
#include "tools/exclusive.h"
#include "tools/commands.h"
#include "tools/copy.h"
#include "tools/kind_map.h"
#include "tools/repair.h"
#include <shmbuddy.h>

/* ---- those with locks ---- */

/* Nothing is believed that can be computed, however certain the file is: what an open does was not enough. */
static int recover(struct view *view)
{
	struct ma_image *map = &view->map;

	if (!ma_image_certainty(map).same_file && ma_image_take_space(map) < 0)
		return -1;
	if (ma_inuse_begin(map->fd, map->name, &map->sealed, &map->place) < 0 ||
	    ma_image_recover(map, MA_RECOVER_MARK | MA_RECOVER_RENEW) < 0)
		return -1;
	if (view->kind->rebuild)
		view->kind->rebuild(view);
	if (ma_image_check_whole(map) < 0)
		return -1;
	ma_image_mark_ready(map);
	return ma_image_mark_closed(map, true);
}

static enum status repair_map(struct tool *tool, const char *name, int fd)
{
	struct view view;
	enum status status = view_open(tool, name, &view);
	struct stat st;

	if (status != STATUS_OK)
		return status;
	if (!view.kind || view.refusal != MA_OK || fstat(fd, &st) < 0 || st.st_ino != view.st.st_ino ||
	    st.st_dev != view.st.st_dev)
		status = exclusive_refuse(tool, name, "repaired", "it changed meanwhile");
	else if (!exclusive_map(&view, fd) || recover(&view) < 0)
		status = complain_last_error(tool, name, "cannot be repaired");
	view_close(&view);
	return status;
}

/* ---- regions ---- */

static enum status repair_region(struct tool *tool, const char *name)
{
	const struct shmbuddy_options how = { .flags = SHMBUDDY_EXISTING };
	shmbuddy_t *region = shmbuddy_open(name, &how);
	enum status status = STATUS_OK;

	if (!region)
		return complain_last_error(tool, name, "cannot be opened for repair");
	if (shmbuddy_mend(region) < 0 || shmbuddy_check(region, NULL, NULL) < 0 || shmbuddy_sync(region) < 0)
		status = complain_last_error(tool, name, "cannot be repaired");
	shmbuddy_close(region);
	return status;
}

/* ---- the backup ---- */

static int copy_checkpoints(int fd, const char *backup)
{
	char *name = NULL;
	int file = ma_checkpoint_file_to_read(fd), result = -1;

	if (file < 0)
		return errno == ENOENT ? 0 : -1;
	if (asprintf(&name, "%s" MA_CKPT_SUFFIX, backup) >= 0)
		result = copy_to_name(file, name);
	free(name);
	close(file);
	return result;
}

/* The checkpoint file too, when the repair changes that, or goes back to what it has. */
static enum status back_up(struct tool *tool, int fd, const struct view *seen)
{
	const char *backup = tool->options.backup;
	bool both = checkpoints_are_lost(seen) || checkpoints_roll_back(seen);

	if (!backup || (copy_to_name(fd, backup) == 0 && (!both || copy_checkpoints(fd, backup) == 0)))
		return STATUS_OK;
	last_error_clear();
	return complain_making(tool, backup, "not repaired: cannot make the backup");
}

/* ---- the command ---- */

/* What the check found of the map itself decided that it can be repaired. The checkpoint file goes last. */
static enum status repair_alone(struct tool *tool, const char *name, const struct view *seen, int fd)
{
	enum status status = back_up(tool, fd, seen);

	if (status != STATUS_OK)
		return status;
	if (checkpoints_are_lost(seen) && checkpoints_end(fd) < 0) {
		status = complain_last_error(tool, name, "cannot be repaired");
	} else if (view_was_cut(seen) && ma_file_lengthen(fd, ma_load(&seen->header.length)) < 0) {
		status = complain_last_error(tool, name, "not repaired: cannot be made as long as it says");
	} else if (MA_KIND_FLOATS(seen->header.kind)) {
		ma_file_detach(fd); /* The library takes it itself. */
		status = repair_region(tool, name);
	} else {
		status = repair_map(tool, name, fd);
	}
	if (status == STATUS_OK && checkpoints_are_lost(seen) && checkpoints_remove(fd) < 0)
		status = complain_last_error(tool, name, "its checkpoint file cannot be removed");
	return status;
}

/* Damaged beyond what the next open mends, but with a header that can be believed. */
static bool is_for_salvage(struct tool *tool, const struct view *seen)
{
	return tool->options.salvage && view_worst(seen) == SEVERITY_DAMAGE &&
	       (seen->refusal == MA_OK || seen->refusal == MA_REFUSE_SHORT);
}

static enum status repair(struct tool *tool, const char *name, const struct view *seen)
{
	bool salvages = is_for_salvage(tool, seen);
	enum status status;
	int fd;

	status = exclusive_open(tool, name, seen, "repaired", &fd);
	if (status != STATUS_OK)
		return status;
	if (salvages || checkpoints_roll_back(seen))
		status = back_up(tool, fd, seen);
	else
		status = repair_alone(tool, name, seen, fd);
	close(fd);
	if (status == STATUS_OK && salvages)
		return salvage(tool, name, seen->header.kind);
	if (status == STATUS_OK && checkpoints_roll_back(seen))
		status = checkpoints_settle(tool, name, seen->header.kind);
	return status;
}

/* What it was, what it is now, and of what was wrong the list. A refusal is said already, and is all that is said. */
static void report(struct tool *tool, struct view *before, enum severity is, enum status status)
{
	enum severity was = view_worst(before);

	if (tool->options.json) {
		if (!tool->options.salvage)
			json_begin(tool);
		else
			json_close(tool, ']');
		json_text(tool, "file", before->name);
		json_text(tool, "before", verdict_name(was));
		json_text(tool, "after", verdict_name(is));
		view_json_findings(before);
		json_end(tool);
		return;
	}
	if (status == STATUS_REFUSED)
		return;
	if (was > SEVERITY_NOTE)
		view_print_findings(before, tool->out, SEVERITY_UNCLOSED);
	print_safe(tool->out, status == STATUS_OK ? before->name : "", status == STATUS_OK ? strlen(before->name) : 0);
	if (status == STATUS_OK)
		fprintf(tool->out, ": %s\n",
			was == SEVERITY_NOTE  ? "sound: nothing to repair"
			: is == SEVERITY_NOTE ? "repaired: sound"
					      : "repaired, and used since without a close: sound, not closed");
}

/* The verdict of a file. STATUS_FAILED and above: said why. */
static enum status judge(struct tool *tool, const char *name, struct view *view)
{
	enum status status = view_open(tool, name, view);

	if (status != STATUS_OK)
		return status;
	view->verify_checkpoints = true;
	view_check(view);
	return view_status(view);
}

/* While it is repaired no other process may have it open, nor this one: of what was seen the findings stay. */
static enum status mend(struct tool *tool, const char *name, struct view *seen, enum severity *is)
{
	struct view after;
	enum status status;

	view_close_file(seen);
	status = repair(tool, name, seen);
	if (status != STATUS_OK)
		return status;
	/* The lock is free again: a process may have used it since, and left something. */
	status = judge(tool, name, &after);
	if (status >= STATUS_FAILED)
		return status;
	*is = view_worst(&after);
	if (status != STATUS_OK)
		view_print_findings(&after, tool->err, SEVERITY_REPAIRABLE);
	if (status == STATUS_REPAIRABLE)
		complain(tool, name, "repaired, but a process used it since and was killed: repair it again");
	view_close(&after);
	return status;
}

static const char *why_not(const struct view *view, enum status status)
{
	if (status == STATUS_FOREIGN)
		return "it is no map that this program can read";
	if (view->checkpoints.state == CHECKPOINTS_THERE)
		return "what is damaged could only be guessed; mapalloc restore goes back to the last checkpoint";
	return "what is damaged could only be guessed; take a backup, or keep what can be proved: mapalloc repair "
	       "--salvage";
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	const char *name = arguments[0];
	struct view view;
	enum status status = judge(tool, name, &view);
	enum severity is;

	(void)count;
	if (status >= STATUS_FAILED)
		return status;
	is = view_worst(&view);
	if (tool->options.json && tool->options.salvage) {
		json_begin(tool);
		json_open(tool, "salvage", '[');
	}
	if (status >= STATUS_DAMAGED && !is_for_salvage(tool, &view))
		complain(tool, name, "not repaired: %s", why_not(&view, status));
	else if (view.processes.is_attached)
		status = exclusive_refuse(tool, name, "repaired",
					  "it is in use: the processes that use it clean up by themselves");
	else if (is != SEVERITY_NOTE)
		status = mend(tool, name, &view, &is);
	report(tool, &view, is, status);
	view_close(&view);
	return status;
}

static const struct option_spec options[] = {
	{ "backup", 0, OPTION_TEXT, OPTION(backup), "COPY",
	  "first copy the file to COPY, which must not be there yet" },
	{ "salvage", 0, OPTION_FLAG, OPTION(salvage), NULL,
	  "of a damaged map keep what can be proved, and list what cannot" },
	{ 0 },
};

const struct command command_repair = {
	.name = "repair",
	.arguments = "FILE",
	.summary = "Repair a map: finish or undo what killed processes were changing, free their locks, leases and "
		   "process "
		   "slots, count free space again.",
	.options = options,
	.more = "It never touches a map in use, and refuses where it would have to guess. Live blocks, their contents "
		"and the roots stay as\n"
		"they are. A map that is sound, not closed, needs no repair: the next open does the same. A durable "
		"map "
		"whose checkpoint\n"
		"file is missing or damaged stays as it is, and is not durable any more; --backup then copies that "
		"file to "
		"COPY.checkpoint.\n\n"
		"With --salvage a damaged map is mended, too: each block of which the tables agree stays, memory whose "
		"use is "
		"unknown becomes one\n"
		"block, and each thing that is not as it was is listed with its offset: see qalloc_salvage(3).\n\n"
		"exit status: 0 sound now; 1 repaired, but a process used it since and was killed; 2 damaged: not "
		"touched; 3 no map: not\n"
		"touched; 4 the system failed; 5 refused: in use, or COPY is there; 64 wrong usage.\n",
	.examples = "  mapalloc repair --backup notes.map.before notes.map\n"
		    "  mapalloc repair --salvage --backup notes.map.before notes.map\n",
	.least = 1,
	.most = 1,
	.has_json = true,
	.run = run,
};
