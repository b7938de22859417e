/* SPDX-License-Identifier: BSD-3-Clause */
/* See view.h: opening, mapping, findings. What a kind looks like inside is in kind_*.c. */
#include "tools/view.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/guard.h"

#define FINDINGS_MOST 1024

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

const char *severity_name(enum severity severity)
{
	static const char *const names[] = {
		[SEVERITY_NOTE] = "note",
		[SEVERITY_REPAIRABLE] = "repairable",
		[SEVERITY_DAMAGE] = "damaged",
		[SEVERITY_FOREIGN] = "foreign",
	};

	return names[severity];
}

const char *status_name(enum status status)
{
	switch (status) {
	case STATUS_OK:
		return "sound";
	case STATUS_REPAIRABLE:
		return "repairable";
	case STATUS_DAMAGED:
		return "damaged";
	case STATUS_FOREIGN:
		return "not ours";
	default:
		return "failed";
	}
}

/* ---- findings ---- */

static bool have_room(struct view *view)
{
	size_t room = view->room ? view->room * 2 : 16;
	struct finding *more;

	if (view->findings < view->room)
		return true;
	more = view->findings < FINDINGS_MOST ? realloc(view->finding, room * sizeof(*more)) : NULL;
	if (!more)
		return false;
	view->finding = more;
	view->room = room;
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

void view_find(struct view *view, enum severity severity, const char *rule, uint64_t at, const char *format, ...)
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
	return MA_KIND_FLOATS(view->header.kind) && view->people.proc_unknown;
}

enum status view_status(const struct view *view)
{
	enum severity worst = SEVERITY_NOTE;

	for (size_t i = 0; i < view->findings; i++)
		if (view->finding[i].severity > worst)
			worst = view->finding[i].severity;
	return (enum status)worst;
}

static enum color severity_color(enum severity severity)
{
	return severity == SEVERITY_NOTE ? COLOR_DIM : severity == SEVERITY_REPAIRABLE ? COLOR_WARNING : COLOR_BAD;
}

void view_print_findings(struct view *view, FILE *to, enum severity least)
{
	struct tool *tool = view->tool;

	for (size_t i = 0; i < view->findings; i++) {
		const struct finding *f = &view->finding[i];

		if (f->severity < least)
			continue;
		print_safe(to, view->name, strlen(view->name));
		fprintf(to, ": %s%s%s: %s", tint(tool, severity_color(f->severity)), severity_name(f->severity),
			tint(tool, COLOR_NONE), f->rule);
		if (f->at != NOWHERE)
			fprintf(to, " at %#" PRIx64, f->at);
		fputs(": ", to);
		print_safe(to, f->text, strlen(f->text));
		fputc('\n', to);
	}
	if (view->unlisted)
		fprintf(to, "%s: and %" PRIu64 " more like these\n", view->name, view->unlisted);
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
	enum ma_refusal why = view->why;

	if (why == MA_OK)
		return;
	if (why == MA_REFUSE_SHORT && view->got < sizeof(view->header))
		view_find(view, SEVERITY_DAMAGE, rules[why], view->got,
			  "ends within its header, after %" PRIu64 " bytes", view->got);
	else if (why == MA_REFUSE_SHORT)
		view_find(view, SEVERITY_DAMAGE, rules[why], field_of(why), "%s: %" PRIu64 " bytes of %" PRIu64,
			  text_of(why), (uint64_t)view->st.st_size, (uint64_t)ma_load(&view->header.length));
	else if (view->got == 0)
		view_find(view, SEVERITY_FOREIGN, rules[why], NOWHERE, "is empty");
	else
		view_find(view, severity_of(why), rules[why], field_of(why), "%s", text_of(why));
}

/* Later refusals too: ma_header_check() names the first one alone, and a wrong checksum hides what made it wrong. */
static void find_behind(struct view *view)
{
	struct ma_header h = view->header;
	enum ma_refusal why;

	if (view->why != MA_REFUSE_CRC)
		return;
	h.crc = ma_header_crc(&h);
	why = ma_header_check(&h, sizeof(h), (uint64_t)view->st.st_size, UINT32_MAX, false);
	if (why == MA_OK)
		return;
	view->why = why;
	find_in_header(view);
	view->why = MA_REFUSE_CRC;
}

/* Numbers that a layout may be tried with, whether they are right or not. */
static bool may_lay_out(const struct view *view)
{
	const struct ma_header *h = &view->header;

	if (view->got < sizeof(*h) || memcmp(h->magic, MA_MAGIC, sizeof(h->magic)) != 0)
		return false;
	return h->format == MA_FORMAT && h->order == MA_ORDER && h->word_bytes == sizeof(void *) &&
	       h->page_shift == MA_PAGE_SHIFT && h->base >> 47 == 0 && h->base % MA_PAGE == 0 &&
	       h->reserved >> 47 == 0 && ma_load(&h->length) >> 47 == 0;
}

/*
 * Copy-on-write. What a file at rest does not have is zeros from the start; one in use is mapped beyond its end too, for it may grow.
 * guard.h is about what it never has, or loses meanwhile.
 */
static bool map_it(struct view *view)
{
	int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_NORESERVE;
	uint64_t bytes = ma_min(view->mapped, ma_up((uint64_t)view->st.st_size, MA_PAGE));
	void *at = mmap(NULL, view->mapped, prot, flags | MAP_ANONYMOUS, -1, 0);

	if (view->people.is_attached)
		bytes = view->mapped;
	if (at != MAP_FAILED && mmap(at, bytes, prot, flags | MAP_FIXED, view->fd, 0) == MAP_FAILED) {
		syscall(SYS_munmap, at, view->mapped);
		at = MAP_FAILED;
	}
	if (at == MAP_FAILED) {
		view_find(view, SEVERITY_NOTE, "system/memory", NOWHERE, "no address space for %" PRIu64 " bytes: %s",
			  view->mapped, strerror(errno));
		return false;
	}
	view->base = at;
	madvise(at, view->mapped, MADV_RANDOM);
	guard_add(at, view->mapped, view->fd);
	return true;
}

static void lay_out(struct view *view)
{
	const struct kind *kind = may_lay_out(view) ? kind_of(view->header.kind) : NULL;

	if (!kind)
		return;
	if (!kind->lay_out(view)) {
		if (view->why == MA_OK)
			view_find(view, SEVERITY_DAMAGE, "header/numbers", offsetof(struct ma_header, param),
				  "no %s map has such numbers", kind->name);
		return;
	}
	if (!map_it(view))
		return;
	view->kind = kind;
	kind->furnish(view);
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
		return complain_reason(view->tool, view->name, "cannot look at it");
	if (!S_ISREG(view->st.st_mode)) {
		complain(view->tool, view->name, "is not a regular file");
		return STATUS_FAILED;
	}
	got = pread(view->fd, &view->header, sizeof(view->header), 0);
	if (got < 0)
		return complain_reason(view->tool, view->name, "cannot read it");
	view->got = (uint64_t)got;
	view->why = ma_header_check(&view->header, (size_t)got, (uint64_t)view->st.st_size, UINT32_MAX, false);
	/* All kinds are asked about, so that an unknown one is told from what is wrong behind it. */
	if ((view->why == MA_OK || view->why > MA_REFUSE_KIND) && !kind_of(view->header.kind) &&
	    view->got == sizeof(view->header))
		view->why = MA_REFUSE_KIND;
	return STATUS_OK;
}

enum status view_open(struct tool *tool, const char *name, struct view *view)
{
	enum status status;
	bool is_map;

	memset(view, 0, sizeof(*view));
	view->name = name;
	view->tool = tool;
	reason_clear();
	view->fd = open_quietly(name);
	if (view->fd < 0)
		return complain_reason(tool, name, "cannot open it");
	status = read_header(view);
	if (status != STATUS_OK) {
		close(view->fd);
		view->fd = -1;
		return status;
	}
	find_in_header(view);
	find_behind(view);
	is_map = view->got == sizeof(view->header) && view->why != MA_REFUSE_MAGIC && view->why != MA_REFUSE_HALF;
	people_find(&view->people, view->fd, name, &view->st,
		    is_map && !MA_KIND_FLOATS(view->header.kind) ? &view->header : NULL);
	lay_out(view);
	return STATUS_OK;
}

bool view_again(const struct view *view, struct view *again)
{
	memset(again, 0, sizeof(*again));
	again->name = view->name;
	again->tool = view->tool;
	again->st = view->st;
	again->got = view->got;
	again->header = view->header;
	again->why = view->why;
	again->people = view->people;
	again->fd = fcntl(view->fd, F_DUPFD_CLOEXEC, 3);
	if (again->fd >= 0)
		lay_out(again);
	return again->kind != NULL;
}

void view_leave(struct view *view)
{
	if (view->base) {
		guard_drop(view->base);
		syscall(SYS_munmap, view->base, view->mapped); /* ASan's munmap() would go through its whole shadow. */
	}
	free(view->region);
	if (view->fd >= 0)
		close(view->fd);
	view->base = NULL;
	view->region = NULL;
	view->kind = NULL;
	view->fd = -1;
}

void view_close(struct view *view)
{
	view_leave(view);
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

bool view_is_inside(const struct view *view, uint64_t offset)
{
	return offset >= view->user_off && offset - view->user_off < view->user_bytes;
}
