/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapalloc snapshot: a copy of a map that others may be using. common/snapshot.c makes it, of a region libshmbuddy/src/snapshot.c.
 */
#include <errno.h>
#include <sys/stat.h>

#include "common/snapshot.h"
#include "tools/checkpoints.h"
#include "tools/commands.h"

/* A symbolic link, or a directory, is not replaced. */
static bool may_be_made(struct tool *tool, const struct view *view, const char *copy)
{
	struct stat st;

	if (lstat(copy, &st) < 0)
		return true;
	if (st.st_dev == view->st.st_dev && st.st_ino == view->st.st_ino)
		complain(tool, copy, "is the map itself");
	else if (!S_ISREG(st.st_mode))
		complain(tool, copy, "is there already, and no regular file");
	else if (!tool->options.force)
		complain(tool, copy, "is there already; --force replaces it");
	else
		return true;
	return false;
}

/* In a map that is in use, changes cannot be told from damage; but in a region they can: there the copy is checked. */
static void check_if_possible(struct view *view)
{
	if (!view->processes.is_attached && !view->processes.locks_unknown && !view_users_unknown(view))
		view_check(view);
	else if (MA_KIND_FLOATS(view->header.kind) && view->kind)
		view->kind->check(view);
}

static int copy_region(const struct view *view, const char *copy)
{
	return shmbuddy__view_snapshot(view->region, (uint64_t)view->st.st_size, copy);
}

/* *grew: the region did meanwhile, and another view is necessary. */
static enum status copy_to(struct tool *tool, struct view *view, const char *copy, bool *grew)
{
	int result, error;

	last_error_clear();
	result = view->region ? copy_region(view, copy) : ma_image_snapshot(&view->map, copy);
	error = errno;
	*grew = result < 0 && view->region && error == EAGAIN;
	if (result < 0 && !*grew)
		complain_last_error(tool, view->name, "no snapshot");
	return result == 0 ? STATUS_OK : error == EUCLEAN ? STATUS_DAMAGED : STATUS_FAILED;
}

static enum status take(struct tool *tool, struct view *view, const char *copy, bool *grew)
{
	enum status status;

	*grew = false;
	if (checkpoints_roll_back(view))
		return checkpoints_refuse_stale(view, "copied");
	check_if_possible(view);
	status = view_status(view);
	if (status >= STATUS_DAMAGED || !view->kind) {
		view_print_findings(view, tool->err, SEVERITY_DAMAGE);
		complain(tool, view->name, "no snapshot: %s", view_verdict(view));
		return status >= STATUS_DAMAGED ? status : STATUS_FAILED;
	}
	if (view->header.rocompat) {
		complain(tool, view->name, "no snapshot: it has features that this program can only read");
		return STATUS_REFUSED;
	}
	return may_be_made(tool, view, copy) ? copy_to(tool, view, copy, grew) : STATUS_REFUSED;
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	struct view view;
	enum status status;
	bool grew = false;

	(void)count;
	do {
		status = view_open(tool, arguments[0], &view);
		if (status != STATUS_OK)
			return status;
		status = take(tool, &view, arguments[1], &grew);
		view_close(&view);
	} while (grew);
	return status;
}

static const struct option_spec options[] = {
	{ "force", 'f', OPTION_FLAG, OPTION(force), NULL, "replace COPY when it is there" },
	{ 0 },
};

const struct command command_snapshot = {
	.name = "snapshot",
	.arguments = "FILE COPY",
	.summary = "Make a sound copy of a map, also while others use it: blocks that were there when it began, and "
		   "stay, are in it.",
	.options = options,
	.more = "The blocks of the disk are shared where the file system can (reflink); holes stay holes. COPY appears "
		"when it is whole,\n"
		"checked and on disk; of a damaged map none is made, and the status is 2. Contents that others write "
		"meanwhile may be of before\n"
		"or after. The copy of a durable map is not durable; of one that waits for its next open to go back to "
		"its "
		"last checkpoint none is made.\n",
	.examples = "  mapalloc snapshot /dev/shm/cache.map /backup/cache.map\n",
	.least = 2,
	.most = 2,
	.run = run,
};
