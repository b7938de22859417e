/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See checkpoints.h. The reading commands take no lock, so another process may make checkpoints meanwhile: places of pages that it replaced may have
 * other pages by then. So what looks damaged while the number of the last checkpoint changes is read again.
 */
#include "tools/checkpoints.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/ckpt_map.h"

#define TRIES 5

/* ---- reading ---- */

/* The map of this view is durable, by a header that may be believed. */
static bool is_durable(const struct view *view)
{
	return view->header_bytes == sizeof(view->header) &&
	       (view->refusal == MA_OK || view->refusal == MA_REFUSE_SHORT) && ma_load(&view->header.durable) == 1;
}

bool checkpoints_roll_back(const struct view *view)
{
	return view->checkpoints.state == CHECKPOINTS_THERE && !view->processes.is_attached &&
	       !ma_is_certain(view_certainty(view));
}

/* The library's sentence says what is wrong with the file. */
static void note_bad(struct view *view, enum checkpoints_state state)
{
	struct checkpoints *c = &view->checkpoints;
	int number = errno;
	const char *text = last_error(view->name, &number);

	c->state = state;
	snprintf(c->why, sizeof(c->why), "%s", text ? text : strerror(number));
}

static void note_records(struct view *view, const struct ma_ckpt *file)
{
	struct checkpoints *c = &view->checkpoints;

	c->state = CHECKPOINTS_THERE;
	c->number = file->number;
	c->time = file->time / 1000000000u;
	c->changed = file->changed;
	c->pages = file->table.pages;
	c->journal_bytes = file->journal_places * MA_PAGE;
	c->journal_used = (file->next - file->journal) * MA_PAGE;
}

/* A file that another process begins a new journal in meanwhile looks damaged for a moment. */
static int read_records(struct view *view, struct ma_ckpt *file)
{
	bool after_cut = !view->processes.is_attached && !ma_is_certain(view_certainty(view));
	int result = -1;

	for (int i = 0; result < 0 && i < TRIES; i++) {
		file->known = false;
		result = ma_ckpt_read(file, after_cut);
	}
	return result;
}

/* The file of the checkpoints, open, with its records read; false: noted why not. To be forgotten in any case. */
static bool open_checkpoints(struct view *view, struct ma_ckpt *file)
{
	struct checkpoints *c = &view->checkpoints;
	struct stat st;
	int fd;

	last_error_clear();
	ma_ckpt_init(file, view->header.uuid, view->name);
	file->only_reads = true;
	fd = ma_checkpoint_file_to_read(view->fd);
	if (fd < 0) {
		note_bad(view, errno == ENOENT ? CHECKPOINTS_NONE : CHECKPOINTS_UNREADABLE);
		return false;
	}
	if (ma_ckpt_use(file, fd) < 0 || fstat(fd, &st) < 0 || read_records(view, file) < 0) {
		note_bad(view, errno == EUCLEAN || errno == ENOTSUP ? CHECKPOINTS_BAD : CHECKPOINTS_UNREADABLE);
		return false;
	}
	c->file_bytes = (uint64_t)st.st_size;
	c->disk_bytes = (uint64_t)st.st_blocks * 512;
	if (file->number == 0)
		c->state = CHECKPOINTS_NONE;
	else
		note_records(view, file);
	return file->number != 0;
}

void checkpoints_read(struct view *view)
{
	struct ma_ckpt file;

	view->checkpoints = (struct checkpoints){ .state = CHECKPOINTS_OFF };
	if (!is_durable(view))
		return;
	open_checkpoints(view, &file);
	ma_ckpt_forget(&file);
}

/* ---- findings ---- */

/* What an open would refuse is repairable: what is in the map may be right. */
static enum severity severity_of(const struct view *view)
{
	struct ma_certainty c = view_certainty(view);

	if (view->checkpoints.state == CHECKPOINTS_BAD)
		return SEVERITY_REPAIRABLE;
	return view->processes.is_attached || ma_is_certain(c) || !c.same_file ? SEVERITY_NOTE : SEVERITY_REPAIRABLE;
}

static void find_missing(struct view *view)
{
	struct ma_certainty c = view_certainty(view);

	if (!c.same_file && !view->processes.is_attached)
		view_add_finding(view, SEVERITY_NOTE, "checkpoint/missing", NOWHERE,
				 "it is a copy that came without its checkpoint file: it will not be durable");
	else if (severity_of(view) == SEVERITY_NOTE)
		view_add_finding(
			view, SEVERITY_NOTE, "checkpoint/missing", NOWHERE,
			"its checkpoint file is missing: the next sync makes a new one, and a power cut before "
			"that cannot be undone");
	else
		view_add_finding(view, SEVERITY_REPAIRABLE, "checkpoint/missing", NOWHERE,
				 "the machine died, and its checkpoint file is missing: bring that back, or mapalloc "
				 "repair makes the map not durable, with what is there");
}

/* Pages of the last checkpoint that are not what their hashes say; they were looked at while that was the last one. */
static uint64_t count_wrong(struct view *view, struct ma_ckpt *file)
{
	uint64_t wrong = 0, number;

	for (int i = 0; i < TRIES; i++) {
		number = file->number;
		wrong = ma_ckpt_check(file);
		if (wrong == 0 || wrong == UINT64_MAX || read_records(view, file) < 0 || file->number == number)
			return wrong == UINT64_MAX ? 0 : wrong;
	}
	return 0;
}

static void verify(struct view *view)
{
	struct checkpoints *c = &view->checkpoints;
	struct ma_ckpt file;
	uint64_t wrong;

	wrong = open_checkpoints(view, &file) ? count_wrong(view, &file) : 0;
	ma_ckpt_forget(&file);
	if (wrong == 0)
		return;
	c->state = CHECKPOINTS_BAD;
	snprintf(c->why, sizeof(c->why),
		 "%" PRIu64 " of %" PRIu64
		 " pages of the last checkpoint are damaged: restore the checkpoint file from a "
		 "copy, or mapalloc repair makes the map not durable",
		 wrong, c->pages);
}

void checkpoints_check(struct view *view)
{
	const struct checkpoints *c = &view->checkpoints;

	if (c->state == CHECKPOINTS_THERE && view->verify_checkpoints)
		verify(view);
	if (c->state == CHECKPOINTS_NONE)
		find_missing(view);
	else if (c->state == CHECKPOINTS_BAD)
		view_add_finding(view, SEVERITY_REPAIRABLE, "checkpoint/damaged", NOWHERE, "%s", c->why);
	else if (c->state == CHECKPOINTS_UNREADABLE)
		view_add_finding(view, SEVERITY_NOTE, "checkpoint/read", NOWHERE,
				 "its checkpoint file cannot be read: %s", c->why);
	else if (checkpoints_roll_back(view))
		view_add_finding(view, SEVERITY_UNCLOSED, "checkpoint/roll-back", NOWHERE,
				 "the machine died, or it is a copy: the next open makes it what its last checkpoint "
				 "was, number %" PRIu64,
				 c->number);
}

bool checkpoints_are_lost(const struct view *view)
{
	enum checkpoints_state state = view->checkpoints.state;

	return (state == CHECKPOINTS_NONE || state == CHECKPOINTS_BAD) && severity_of(view) == SEVERITY_REPAIRABLE;
}

/* ---- info ---- */

/* In UTC. */
static const char *time_text(uint64_t seconds, char text[32])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (seconds > (uint64_t)1 << 36 || !gmtime_r(&t, &tm) || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return "1970-01-01T00:00:00Z";
	return text;
}

void checkpoints_print(struct view *view)
{
	const struct checkpoints *c = &view->checkpoints;
	struct tool *tool = view->tool;
	char when[32], a[SIZE_TEXT], b[SIZE_TEXT], used[SIZE_TEXT];

	if (c->state == CHECKPOINTS_OFF)
		return;
	if (c->state != CHECKPOINTS_THERE) {
		print_key(tool, "durable", "yes, but no checkpoint can be read");
		return;
	}
	print_key(tool, "durable", "yes, checkpoint %" PRIu64 " of %s, which changed %" PRIu64 " %s", c->number,
		  time_text(c->time, when), c->changed, plural(c->changed, "page", "pages"));
	print_key(tool, "checkpoints", "%s long, on disk %s, journal %s of %s in use",
		  size_text(tool, c->file_bytes, a), size_text(tool, c->disk_bytes, b),
		  size_text(tool, c->journal_used, used), size_text(tool, c->journal_bytes, when));
}

void checkpoints_json(struct view *view)
{
	const struct checkpoints *c = &view->checkpoints;
	struct tool *tool = view->tool;
	char when[32];

	json_bool(tool, "durable", c->state != CHECKPOINTS_OFF);
	if (c->state != CHECKPOINTS_THERE)
		return;
	json_open_flat(tool, "checkpoint", '{');
	json_number(tool, "number", c->number);
	json_text(tool, "time", time_text(c->time, when));
	json_number(tool, "pages_changed", c->changed);
	json_number(tool, "pages", c->pages);
	json_number(tool, "file_bytes", c->file_bytes);
	json_number(tool, "disk_bytes", c->disk_bytes);
	json_number(tool, "journal_bytes", c->journal_bytes);
	json_number(tool, "journal_used_bytes", c->journal_used);
	json_close(tool, '}');
}
