/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapalloc resize. A map of libqalloc and a heap of libmmalloc can be made longer at any time, also in use, within their range, and so can
 * a region of libshmbuddy; a heap, when no process uses it, shorter again, as far as its last blocks allow. All else is part of what a map is:
 * there a new one is made of what
 * is in the old one, which is possible only with pointers relocated.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/ckpt_map.h"
#include "common/file.h"
#include "common/heap_internal.h"
#include "common/space.h"
#include "tools/checkpoints.h"
#include "tools/exclusive.h"
#include "tools/commands.h"
#include "tools/dump.h"
#include <mmalloc.h>
#include <qalloc.h>
#include <shmbuddy.h>

/* ---- in place ---- */

static void *attach(const char *name)
{
	int fd = open(name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	void *md = fd < 0 ? NULL : mmalloc_attach(fd, NULL);
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
	return md;
}

/* Chunks of a stream up to the last one that is not free. */
static uint64_t needed(struct ma_image *map, uint32_t stream)
{
	uint64_t first = ma_range_first(map, stream), used = ma_range_used(map, stream);

	while (used > 0 && ma_chunk_load(map, first + used - 1) == MA_FREE)
		used--;
	return used;
}

static uint64_t needed_end(struct ma_image *map)
{
	uint64_t chunks = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++)
		if (needed(map, s))
			chunks = ma_range_first(map, s) + needed(map, s);
	return ma_segment_length(&map->lay, chunks * MA_CHUNK);
}

/* Before the length: where there is no space, it stays as short as it is. Where the file system cannot, behind it. */
static int take_and_grow(struct ma_image *map, uint64_t from, uint64_t size)
{
	bool is_taken = from >= size || ma_file_take(map->fd, from, size) == 0;

	if (!is_taken && errno != EOPNOTSUPP && errno != ENOSYS)
		return -1;
	if (ma_space_grow(map, size) < 0)
		return -1;
	return is_taken ? 0 : ma_file_take_by_writing(map->fd, from, size);
}

/* errno says why. A map that another process has open exclusively is not the system's failure. */
static enum status not_opened(struct tool *tool, const char *name, const char *what)
{
	bool is_busy = errno == EBUSY;
	enum status status = complain_last_error(tool, name, what);

	return is_busy ? STATUS_REFUSED : status;
}

/*
 * With its disk space, which is the point of making it longer before that is needed: of all that lies behind its last block, since a kill
 * may have left it this long and without its space.
 */
static enum status grow_heap(struct tool *tool, const char *name, uint64_t size)
{
	struct ma_image *map;
	int result;

	last_error_clear();
	map = attach(name);
	if (!map)
		return not_opened(tool, name, "cannot be made longer");
	result = take_and_grow(map, needed_end(map), size);
	if (result < 0)
		complain_last_error(tool, name, "cannot be made longer");
	mmalloc_detach(map);
	return result < 0 ? STATUS_FAILED : STATUS_OK;
}

/* As any other user would: it needs no lock, and others go on. */
static enum status grow_region(struct tool *tool, const char *name, uint64_t size)
{
	const struct shmbuddy_options how = { .flags = SHMBUDDY_EXISTING };
	shmbuddy_t *region;
	int result;

	last_error_clear();
	region = shmbuddy_open(name, &how);
	if (!region)
		return not_opened(tool, name, "cannot be made larger");
	result = shmbuddy_grow(region, size);
	if (result < 0)
		complain_last_error(tool, name, "cannot be made larger");
	shmbuddy_close(region);
	return result < 0 ? STATUS_FAILED : STATUS_OK;
}

/* A map of libqalloc gets its disk space as it is used, as a new one does. */
static enum status grow_map(struct tool *tool, const char *name, uint64_t size)
{
	void *map;
	int result;

	last_error_clear();
	map = qalloc_open(name, 0);
	if (!map)
		return not_opened(tool, name, "cannot be made longer");
	result = qalloc_grow(map, size);
	if (result < 0)
		complain_last_error(tool, name, "cannot be made longer");
	qalloc_close(map);
	return result < 0 ? STATUS_FAILED : STATUS_OK;
}

static int clear_behind(int fd, uint64_t from, uint64_t to)
{
	if (from >= to || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from)) == 0)
		return 0;
	return ma_file_make_zero(fd, from, to);
}

/* Killed in between: chunks that count as never used have their space; or the file is longer than it says. Both are accepted by all. */
static int cut(struct view *view, int fd, uint64_t size)
{
	struct ma_image *map = &view->map;
	struct stat st;

	for (uint32_t s = 0; s < ma_lanes(map); s++)
		/* Pairs with common/heap_internal.h:ma_range_backed. */
		ma_store_kill(&ma_stream(map, s)->backed, needed(map, s));
	/* Zeros first: a process that grows the file again must not find tables there, should this end before the file is cut. */
	if (fstat(fd, &st) < 0 || clear_behind(fd, size, (uint64_t)st.st_size) < 0)
		return -1;
	ma_store_kill(&map->header->length, size); /* Pairs with common/image.h:ma_image_length. */
	return ma_file_set_length(fd, size);
}

static enum status cut_exclusively(struct tool *tool, const char *name, int fd, uint64_t size)
{
	struct view view;
	enum status status = view_open(tool, name, &view);
	char text[SIZE_TEXT];
	uint64_t least;

	if (status != STATUS_OK)
		return status;
	least = view.kind && view.refusal == MA_OK && exclusive_map(&view, fd) ? ma_up(needed_end(&view.map), MA_PAGE)
									       : UINT64_MAX;
	if (least == UINT64_MAX) {
		status = exclusive_refuse(tool, name, "resized", "it changed meanwhile");
	} else if (size < least) {
		complain(tool, name, "not resized: its blocks and tables reach up to %s", size_text(tool, least, text));
		status = STATUS_REFUSED;
	} else if (cut(&view, fd, size) < 0) {
		status = complain_last_error(tool, name, "cannot be made shorter");
	}
	view_close(&view);
	return status;
}

/* Empty slabs that lie at the end are in the way: the library gives them back. */
static enum status shrink(struct tool *tool, const char *name, const struct view *seen, uint64_t size)
{
	enum status status;
	void *md;
	int fd;

	if (seen->processes.is_attached)
		return exclusive_refuse(tool, name, "resized",
					"it is in use: it can be made longer now, and shorter when no process uses it");
	last_error_clear();
	md = attach(name);
	if (!md)
		return complain_last_error(tool, name, "cannot attach to it");
	mmalloc_trim(md);
	mmalloc_detach(md);
	status = exclusive_open(tool, name, seen, "resized", &fd);
	if (status != STATUS_OK)
		return status;
	status = cut_exclusively(tool, name, fd, size);
	close(fd);
	return status;
}

/* ---- a new one ---- */

/* Its contents, to be read again from the start. */
static enum status read_old(struct tool *tool, const char *name, FILE *to)
{
	struct view view;
	enum status status = view_open(tool, name, &view);

	if (status != STATUS_OK)
		return status;
	if (view.kind)
		dump_write(&view, to);
	else
		status = STATUS_DAMAGED;
	view_close(&view);
	if (status == STATUS_OK && (fflush(to) != 0 || ferror(to)))
		status = complain_last_error(tool, name, "no temporary file");
	rewind(to);
	return status;
}

/* The old one is only read, so a kill before its name leads to the new one leaves it as it was. */
static enum status replace(struct tool *tool, const char *name, struct dump_load *load)
{
	enum status status;

	load->input = tmpfile();
	if (!load->input)
		return complain_last_error(tool, name, "no temporary file");
	status = read_old(tool, name, load->input);
	if (status == STATUS_OK)
		status = dump_read(tool, load);
	fclose(load->input);
	return status;
}

static enum status rebuild(struct tool *tool, const char *name, const struct view *seen, struct dump_load *load)
{
	char *real = realpath(name, NULL); /* A link goes on leading to it. */
	enum status status;
	struct stat st;
	int fd;

	if (!real)
		return complain_last_error(tool, name, "cannot find it");
	status = exclusive_open(tool, name, seen, "resized", &fd);
	if (status == STATUS_OK && fstat(fd, &st) < 0)
		status = complain_last_error(tool, name, "cannot read its status");
	load->file = real;
	load->like = &st;
	if (status == STATUS_OK)
		status = replace(tool, name, load);
	if (fd >= 0)
		close(fd);
	load->file = name;
	load->like = NULL;
	free(real);
	return status;
}

/* ---- the command ---- */

/* A heap's file may be longer than it says: a process that made it longer, or shorter, was killed or is not done. */
static uint64_t size_of(const struct view *view)
{
	uint64_t length = ma_load(&view->header.length);

	if (view->header.kind == MA_KIND_MMALLOC && !view->processes.is_attached)
		return ma_max(length, (uint64_t)view->st.st_size);
	return view->region ? view->shape.area : length;
}

/* The largest size that it can have where it is. */
static uint64_t range_of(const struct view *seen)
{
	return seen->header.kind == MA_KIND_SHMBUDDY ? seen->shape.range : seen->map.lay.file_end;
}

/* A map that stays where it is, in the range that it has. None but those of libmmalloc ever gets shorter. */
static bool is_in_place(const struct view *seen, uint64_t old, uint64_t size)
{
	if (size > range_of(seen))
		return false;
	if (seen->header.kind == MA_KIND_SHMBUDDY)
		return size >= old;
	return seen->header.kind == MA_KIND_MMALLOC || size >= ma_load(&seen->header.length);
}

static enum status report(struct tool *tool, const char *name, uint64_t old, const struct dump_load *load)
{
	struct view view;
	enum status status;

	if (!tool->options.json) {
		if (load)
			load_report(tool, load);
		return STATUS_OK;
	}
	status = view_open(tool, name, &view);
	if (status != STATUS_OK)
		return status;
	json_begin(tool);
	json_text(tool, "file", name);
	json_number(tool, "before", old);
	json_number(tool, "after", view.kind ? size_of(&view) : 0);
	if (load)
		load_report_json(tool, load);
	json_end(tool);
	view_close(&view);
	return STATUS_OK;
}

static enum status in_place(struct tool *tool, const char *name, const struct view *seen, uint64_t old, uint64_t size)
{
	enum status status;

	if (seen->header.kind == MA_KIND_SHMBUDDY)
		status = grow_region(tool, name, size);
	else if (seen->header.kind != MA_KIND_MMALLOC)
		status = grow_map(tool, name, size);
	else
		status = size < old ? shrink(tool, name, seen, size) : grow_heap(tool, name, size);
	return status == STATUS_OK ? report(tool, name, old, NULL) : status;
}

/* The old map's checkpoints are not those of the new one, which is on disk. */
static enum status begin_checkpoints(struct tool *tool, const char *name, uint32_t kind)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	enum status status = STATUS_OK;

	last_error_clear();
	if (fd < 0 || ma_checkpoint_remove(fd) < 0)
		status = complain_last_error(tool, name, "resized, but not durable: cannot remove its checkpoint file");
	if (fd >= 0)
		close(fd);
	return status == STATUS_OK ? checkpoints_begin(tool, name, kind) : status;
}

static enum status make_new(struct tool *tool, const char *name, const struct view *seen, uint64_t old, uint64_t size)
{
	struct dump_load load = { .from = name, .size = size, .relocate = true };
	enum status status;

	if (size == old)
		return report(tool, name, old, NULL);
	status = rebuild(tool, name, seen, &load);
	if (status == STATUS_OK && seen->checkpoints.state != CHECKPOINTS_OFF)
		status = begin_checkpoints(tool, name, seen->header.kind);
	return status == STATUS_OK ? report(tool, name, old, &load) : status;
}

static enum status resize(struct tool *tool, const char *name, const struct view *seen, uint64_t old, uint64_t size)
{
	char text[SIZE_TEXT];

	if (seen->header.rocompat)
		return exclusive_refuse(tool, name, "resized", "it has features that this program can only read");
	if (is_in_place(seen, old, size))
		return in_place(tool, name, seen, old,
				seen->header.kind == MA_KIND_MMALLOC ? ma_up(size, MA_PAGE) : size);
	if (tool->options.relocate)
		return make_new(tool, name, seen, old, size);
	if (size > old)
		complain(tool, name,
			 "not resized: its range ends at %s; --relocate makes a new one, with pointers changed",
			 size_text(tool, range_of(seen), text));
	else
		complain(tool, name,
			 "not resized: a %s map never gets shorter; --relocate makes a new one, with pointers changed",
			 kind_name(seen->header.kind));
	return STATUS_REFUSED;
}

/* A map that its next open changes is opened before. */
static enum status open_settled(struct tool *tool, const char *name, struct view *view)
{
	enum status status = view_open(tool, name, view);
	uint32_t kind = view->header.kind;

	if (status != STATUS_OK || !checkpoints_roll_back(view))
		return status;
	view_close(view);
	status = checkpoints_settle(tool, name, kind);
	return status == STATUS_OK ? view_open(tool, name, view) : status;
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	const char *name = arguments[0];
	struct view view, seen;
	enum status status;
	uint64_t size, old;

	(void)count;
	if (!size_parse(arguments[1], &size) || size == 0 || size >> 46) {
		complain(tool, NULL, "resize: not a size that a map can have: %s", arguments[1]);
		return STATUS_USAGE;
	}
	status = open_settled(tool, name, &view);
	if (status != STATUS_OK)
		return status;
	view_check(&view);
	status = view_status(&view);
	if (!view.processes.is_attached && status != STATUS_OK) {
		view_print_findings(&view, tool->err, SEVERITY_REPAIRABLE);
		complain(tool, name, "not resized: %s",
			 status == STATUS_REPAIRABLE ? "mapalloc repair it first" : view_verdict(&view));
		status = status == STATUS_REPAIRABLE ? STATUS_REFUSED : status;
	} else {
		status = view.kind ? STATUS_OK : STATUS_DAMAGED;
	}
	seen = view;
	old = view.kind ? size_of(&view) : 0;
	view_close(&view);
	return status == STATUS_OK ? resize(tool, name, &seen, old, size) : status;
}

static const struct option_spec options[] = {
	{ "relocate", 0, OPTION_FLAG, OPTION(relocate), NULL,
	  "make a new map of what is in it: see mapalloc load --help" },
	{ 0 },
};

const struct command command_resize = {
	.name = "resize",
	.arguments = "FILE SIZE",
	.summary = "Make a map longer or shorter.",
	.options = options,
	.more = "A heap of libmmalloc: longer at any time, also while it is used, with its disk space; shorter when "
		"no process uses it, down to its\n"
		"last block. A map of libqalloc: longer at any time, also while it is used, within the range that it "
		"was "
		"made with (mapalloc info).\n"
		"A region of libshmbuddy: larger at any time, also while it is used, within the range that it was made "
		"with; SIZE is\n"
		"what blocks can take. All else: with --relocate, and when no process uses it, a new map of SIZE takes "
		"its "
		"place,\n"
		"in which blocks lie elsewhere and what looks like a pointer was changed. SIZE is then, in a region of "
		"libshmbuddy, what blocks\n"
		"can take, and of a heap of libmmalloc, the range that it may grow in.\n"
		"A durable map keeps its last checkpoint, of the old size, until a program makes the next one. A new "
		"map "
		"that takes the place\n"
		"of a durable one is made durable, too.\n",
	.examples = "  mapalloc resize heap.map 2G\n"
		    "  mapalloc snapshot notes.map before.map && mapalloc resize --relocate notes.map 64M\n",
	.least = 2,
	.most = 2,
	.has_json = true,
	.run = run,
};
