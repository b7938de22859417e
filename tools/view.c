/* SPDX-License-Identifier: BSD-3-Clause */
/* See view.h: opening and mapping. What is found is in finding.c. What a kind looks like inside is in kind_*.c. */
#include "common/page.h"
#include "tools/view.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/checkpoints.h"
#include "tools/zero_fill.h"

static const struct kind *const kinds[] = { &kind_static, &kind_dynamic, &kind_mmalloc, &kind_buddy };

static const struct kind *kind_of(uint32_t number)
{
	for (size_t i = 0; i < MA_COUNT(kinds); i++)
		if (kinds[i]->number == number)
			return kinds[i];
	return NULL;
}

const char *kind_name(uint32_t number)
{
	const struct kind *kind = kind_of(number);

	return kind ? kind->name : "unknown";
}

/* ---- where it comes from ---- */

static struct ma_place place_of(const struct view *view)
{
	struct ma_place place = ma_place_of(view->fd, &view->st);

	if (view->processes.is_attached)
		place.mount = view->header.mount;
	return place;
}

struct ma_certainty view_certainty(const struct view *view)
{
	return ma_header_certainty(&view->header, &view->place);
}

bool view_was_cut(const struct view *view)
{
	return view->refusal == MA_REFUSE_SHORT && view->header_bytes == sizeof(view->header) &&
	       !view->processes.is_attached && ma_header_was_cut(&view->header, &view->place);
}

/* ---- opening ---- */

static const char *const rules[] = {
	[MA_REFUSE_READ] = "header/read",
	[MA_REFUSE_MAGIC] = "header/magic",
	[MA_REFUSE_HALF] = "header/half-made",
	[MA_REFUSE_KIND] = "header/kind",
	[MA_REFUSE_FORMAT] = "header/format",
	[MA_REFUSE_FEATURE] = "header/features",
	[MA_REFUSE_FEATURE_RW] = "header/features",
	[MA_REFUSE_ORDER] = "header/byte-order",
	[MA_REFUSE_WORD] = "header/word-size",
	[MA_REFUSE_PAGE] = "header/page-size",
	[MA_REFUSE_CRC] = "header/checksum",
	[MA_REFUSE_BASE] = "header/base",
	[MA_REFUSE_LENGTH] = "header/length",
	[MA_REFUSE_SHORT] = "header/short",
	[MA_REFUSE_BODY] = "body",
};

static uint64_t field_of(enum ma_refusal why)
{
	static const uint64_t fields[] = {
		[MA_REFUSE_MAGIC] = 0,
		[MA_REFUSE_HALF] = 0,
		[MA_REFUSE_KIND] = offsetof(struct ma_header, kind),
		[MA_REFUSE_FORMAT] = offsetof(struct ma_header, format),
		[MA_REFUSE_FEATURE] = offsetof(struct ma_header, incompat),
		[MA_REFUSE_FEATURE_RW] = offsetof(struct ma_header, rocompat),
		[MA_REFUSE_ORDER] = offsetof(struct ma_header, order),
		[MA_REFUSE_WORD] = offsetof(struct ma_header, word_bytes),
		[MA_REFUSE_PAGE] = offsetof(struct ma_header, page_shift),
		[MA_REFUSE_CRC] = offsetof(struct ma_header, crc),
		[MA_REFUSE_BASE] = offsetof(struct ma_header, base),
		[MA_REFUSE_LENGTH] = offsetof(struct ma_header, length),
		[MA_REFUSE_SHORT] = offsetof(struct ma_header, length),
	};

	return why < MA_COUNT(fields) ? fields[why] : NOWHERE;
}

/* Is it no map, or none that this program can read, or one that something happened to? */
static enum severity severity_of(enum ma_refusal why)
{
	return why < MA_REFUSE_CRC && why != MA_REFUSE_HALF ? SEVERITY_FOREIGN : SEVERITY_DAMAGE;
}

/* Two that the library tells by one sentence. */
static const char *text_of(enum ma_refusal why)
{
	if (why == MA_REFUSE_KIND)
		return "is a map of a kind that this program does not know";
	if (why == MA_REFUSE_FORMAT)
		return "has a format version that this program does not read";
	if (why == MA_REFUSE_FEATURE)
		return "needs features that this program does not know";
	return ma_refusal_text(why);
}

static void find_in_header(struct view *view)
{
	enum ma_refusal why = view->refusal;

	if (why == MA_OK)
		return;
	if (why == MA_REFUSE_SHORT && view->header_bytes < sizeof(view->header))
		view_add_finding(view, SEVERITY_DAMAGE, rules[why], view->header_bytes,
				 "ends within its header, after %" PRIu64 " bytes", view->header_bytes);
	else if (view_was_cut(view))
		view_add_finding(view, SEVERITY_UNCLOSED, rules[why], field_of(why),
				 "is shorter than its header says, because the machine died while it grew: %" PRIu64
				 " bytes of %" PRIu64 "; the next open makes it longer and verifies it",
				 (uint64_t)view->st.st_size, (uint64_t)ma_load(&view->header.length));
	else if (why == MA_REFUSE_SHORT)
		view_add_finding(view, SEVERITY_DAMAGE, rules[why], field_of(why), "%s: %" PRIu64 " bytes of %" PRIu64,
				 text_of(why), (uint64_t)view->st.st_size, (uint64_t)ma_load(&view->header.length));
	else if (view->header_bytes == 0)
		view_add_finding(view, SEVERITY_FOREIGN, rules[why], NOWHERE, "is empty");
	else
		view_add_finding(view, severity_of(why), rules[why], field_of(why), "%s", text_of(why));
}

/* Later refusals too: ma_header_check() names the first one alone, and a wrong checksum hides what made it wrong. */
static void find_behind(struct view *view)
{
	struct ma_header h = view->header;
	enum ma_refusal why;

	if (view->refusal != MA_REFUSE_CRC)
		return;
	h.crc = ma_header_crc(&h);
	why = ma_header_check(&h, sizeof(h), (uint64_t)view->st.st_size, UINT32_MAX, false);
	if (why == MA_OK)
		return;
	view->refusal = why;
	find_in_header(view);
	view->refusal = MA_REFUSE_CRC;
}

/* Numbers that a layout may be tried with, whether they are right or not. */
static bool may_lay_out(const struct view *view)
{
	const struct ma_header *h = &view->header;

	if (view->header_bytes < sizeof(*h) || memcmp(h->magic, MA_MAGIC, sizeof(h->magic)) != 0)
		return false;
	return h->format == MA_FORMAT && h->order == MA_ORDER && h->word_bytes == sizeof(void *) &&
	       h->page_shift == (MA_KIND_FLOATS(h->kind) ? MA_PAGE_SHIFT : ma_page_shift()) && h->base >> 47 == 0 && h->base % MA_PAGE == 0 &&
	       h->reserved >> 47 == 0 && ma_load(&h->length) >> 47 == 0;
}

/* A region is in its file as it is in memory; other maps are in slices. */
static int map_file(const struct view *view, char *at, uint64_t bytes, int prot, int flags)
{
	if (view->map.lay.slices)
		return ma_segment_map(&view->map.lay, at, view->map.reach, prot, flags, view->fd,
				      view->processes.is_attached ? UINT64_MAX : bytes);
	return mmap(at, bytes, prot, flags | MAP_FIXED, view->fd, 0) == MAP_FAILED ? -1 : 0;
}

/*
 * Copy-on-write. What a file at rest does not have is zeros from the start; one in use is mapped beyond its end too, for it may grow.
 * zero_fill.h is about what it never has, or loses meanwhile.
 */
static bool map_it(struct view *view)
{
	int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_NORESERVE;
	uint64_t bytes = ma_min(view->mapped, ma_up((uint64_t)view->st.st_size, ma_page()));
	void *at = mmap(NULL, view->mapped, prot, flags | MAP_ANONYMOUS, -1, 0);

	if (view->processes.is_attached)
		bytes = view->mapped;
	if (at != MAP_FAILED && map_file(view, at, bytes, prot, flags) < 0) {
		syscall(SYS_munmap, at, view->mapped);
		at = MAP_FAILED;
	}
	if (at == MAP_FAILED) {
		view_add_finding(view, SEVERITY_NOTE, "system/memory", NOWHERE,
				 "no address space for %" PRIu64 " bytes: %s", view->mapped, strerror(errno));
		return false;
	}
	view->base = at;
	madvise(at, view->mapped, MADV_RANDOM);
	zero_fill_add(at, view->mapped, view->map.lay.slices ? -1 : view->fd);
	return true;
}

static void lay_out(struct view *view)
{
	const struct kind *kind = may_lay_out(view) ? kind_of(view->header.kind) : NULL;

	if (!kind)
		return;
	if (!kind->lay_out(view)) {
		if (view->refusal == MA_OK)
			view_add_finding(view, SEVERITY_DAMAGE, "header/numbers", offsetof(struct ma_header, param),
					 "no %s map has such numbers", kind->name);
		return;
	}
	if (!map_it(view))
		return;
	view->kind = kind;
	kind->attach(view);
}

static int open_quietly(const char *name)
{
	int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd = open(name, flags | O_NOATIME);

	return fd < 0 && errno == EPERM ? open(name, flags) : fd;
}

static enum status read_header(struct view *view)
{
	ssize_t got;

	if (fstat(view->fd, &view->st) < 0)
		return complain_last_error(view->tool, view->name, "cannot read its status");
	if (!S_ISREG(view->st.st_mode)) {
		complain(view->tool, view->name, "is not a regular file");
		return STATUS_FAILED;
	}
	/* The length after the header: a program that makes the file longer changes the header last. */
	got = pread(view->fd, &view->header, sizeof(view->header), 0);
	if (got < 0 || fstat(view->fd, &view->st) < 0)
		return complain_last_error(view->tool, view->name, "cannot read it");
	view->header_bytes = (uint64_t)got;
	view->refusal = ma_header_check(&view->header, (size_t)got, (uint64_t)view->st.st_size, UINT32_MAX, false);
	/* All kinds are asked about, so that an unknown one is told from what is wrong behind it. */
	if ((view->refusal == MA_OK || view->refusal > MA_REFUSE_KIND) && !kind_of(view->header.kind) &&
	    view->header_bytes == sizeof(view->header))
		view->refusal = MA_REFUSE_KIND;
	return STATUS_OK;
}

enum status view_open(struct tool *tool, const char *name, struct view *view)
{
	enum status status;
	bool is_map;

	memset(view, 0, sizeof(*view));
	view->name = name;
	view->tool = tool;
	last_error_clear();
	view->fd = open_quietly(name);
	if (view->fd < 0)
		return complain_last_error(tool, name, "cannot open it");
	status = read_header(view);
	if (status != STATUS_OK) {
		close(view->fd);
		view->fd = -1;
		return status;
	}
	is_map = view->header_bytes == sizeof(view->header) && view->refusal != MA_REFUSE_MAGIC &&
		 view->refusal != MA_REFUSE_HALF;
	processes_find(&view->processes, view->fd, name, &view->st,
		       is_map && !MA_KIND_FLOATS(view->header.kind) ? &view->header : NULL);
	view->place = place_of(view);
	find_in_header(view);
	find_behind(view);
	lay_out(view);
	checkpoints_read(view);
	return STATUS_OK;
}

bool view_open_again(const struct view *view, struct view *again)
{
	memset(again, 0, sizeof(*again));
	again->name = view->name;
	again->tool = view->tool;
	again->st = view->st;
	again->place = view->place;
	again->header_bytes = view->header_bytes;
	again->header = view->header;
	again->refusal = view->refusal;
	again->processes = view->processes;
	again->fd = fcntl(view->fd, F_DUPFD_CLOEXEC, 3);
	if (again->fd >= 0)
		lay_out(again);
	return again->kind != NULL;
}

void view_close_file(struct view *view)
{
	if (view->base) {
		zero_fill_drop(view->base);
		syscall(SYS_munmap, view->base, view->mapped); /* ASan's munmap() would go through its whole shadow. */
	}
	shmbuddy__view_free(view->region);
	if (view->fd >= 0)
		close(view->fd);
	view->base = NULL;
	view->region = NULL;
	view->kind = NULL;
	view->fd = -1;
}

void view_close(struct view *view)
{
	view_close_file(view);
	for (size_t i = 0; i < view->findings; i++)
		free(view->finding[i].text);
	free(view->finding);
	memset(view, 0, sizeof(*view));
	view->fd = -1;
}

/* ---- what the kinds share ---- */

uint64_t view_offset_of(const struct view *view, uint64_t stored)
{
	return MA_KIND_FLOATS(view->header.kind) ? stored : stored - view->header.base;
}

uint64_t view_file_offset(const struct view *view, const void *at)
{
	uint64_t offset = (uint64_t)((const char *)at - view->base), file;

	return view->map.lay.slices && ma_segment_run(&view->map.lay, offset, 1, &file) ? file : offset;
}

uint64_t view_range(const struct view *view)
{
	const struct ma_header *h = &view->header;

	return MA_KIND_FLOATS(h->kind) ? h->reserved : h->param[MA_PARAM_RANGE];
}

bool view_is_inside(const struct view *view, uint64_t offset)
{
	return offset >= view->user_off && offset - view->user_off < view->user_bytes;
}
