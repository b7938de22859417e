/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recovering, joining and reading a map file. Recovery is marked by phase 0, so a process that finds it after a death begins it again.
 */
#include "common/map_recover.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/ckpt_map.h"
#include "common/error.h"
#include "common/image_fd.h"
#include "common/inuse.h"
#include "common/page.h"
#include "common/plan.h"
#include "common/recover.h"
#include "common/slot.h"

unsigned ma_map_kinds(const struct ma_open *how)
{
	unsigned kinds = 0;

	for (const struct ma_engine *const *e = how->engines; *e; e++)
		kinds |= 1u << (*e)->kind;
	return kinds;
}

static const struct ma_engine *engine_of(const struct ma_open *how, uint32_t kind)
{
	const struct ma_engine *const *e = how->engines;

	while ((*e)->kind != kind)
		e++;
	return *e;
}

static enum ma_visit failed(int result)
{
	return result < 0 ? MA_VISIT_FAILED : MA_VISIT_DONE;
}

int ma_map_accept(const struct ma_image *map, const struct ma_open *how)
{
	if (!(ma_map_kinds(how) & (1u << map->engine->kind)))
		return ma_refuse(MA_REFUSE_KIND, map->name, &map->sealed);
	return how->accept ? how->accept(map, how) : 0;
}

/* ---- looking at an existing file ---- */

static enum ma_visit refuse_body(const struct ma_image *map)
{
	return failed(ma_refuse(MA_REFUSE_BODY, map->name, &map->sealed));
}

/* A file that grows does so before what is in use does: the length is read last. */
static bool is_inside(struct ma_image *map)
{
	uint64_t end = map->engine->end ? map->engine->end(map) : 0;

	return end <= ma_image_length(map);
}

/* The range of a map that is there: of what its file does not have yet, no user area when it does not fit. */
static bool reserve_part(struct ma_image *map, int prot, int flags)
{
	const struct ma_layout *lay = &map->lay;
	uint32_t reach = ma_segments_at(lay, ma_load(&map->sealed.length));
	const struct ma_segment *last = &lay->seg[reach - 1];
	uint64_t at = ma_up(lay->user_off + last->user_at + last->user_bytes, ma_page()),
		 end = ma_up(lay->user_off + lay->user_bytes, ma_page());
	char *base = (char *)(uintptr_t)map->sealed.base;

	if (reach == lay->segments || !ma_plan_map_at(map->sealed.base, at, prot, flags, -1, map->name))
		return false;
	if (!ma_plan_map_at(map->sealed.base + end, map->mapped - end, prot, flags, -1, map->name)) {
		munmap(base, at);
		return false;
	}
	map->base = base;
	map->reach = reach;
	map->hole_at = at;
	map->hole_end = end;
	return true;
}

/* Without access: RLIMIT_DATA and overcommit_memory=2 count what can be written. */
static bool reserve_range(struct ma_image *map)
{
	int prot = PROT_NONE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	map->base = ma_plan_map_at(map->sealed.base, map->mapped, prot, flags, -1, map->name);
	return map->base || (errno == ENOMEM && reserve_part(map, prot, flags));
}

/* Map a file whose header passed; lay its body out. */
static enum ma_visit map_existing(struct ma_image *map, const struct ma_open *how, const struct ma_header *h)
{
	int prot = map->mode & MA_MAP_RDONLY ? PROT_READ : PROT_READ | PROT_WRITE;
	int flags = (map->mode & MA_MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED) | MAP_NORESERVE;
	uint32_t reach;

	/* From here on only the sealed copy is used: any process that may write to the file can change it meanwhile. */
	map->sealed = *h;
	map->engine = engine_of(how, h->kind);
	map->mapped = h->reserved;
	if (!ma_image_plan(map))
		return refuse_body(map);
	if (!reserve_range(map))
		return MA_VISIT_FAILED;
	reach = map->reach;
	if (ma_segment_map(&map->lay, map->base, reach, prot, flags, map->fd, UINT64_MAX) < 0) {
		ma_fail(errno, "%s: cannot open it: mmap(2) failed; %s", map->name, ma_plan_advice(errno));
		return MA_VISIT_FAILED;
	}
	map->header = (struct ma_header *)(void *)map->base;
	if (!ma_image_lay_out(map))
		return refuse_body(map);
	map->reach = reach;
	if (!is_inside(map))
		return refuse_body(map);
	return failed(ma_map_accept(map, how));
}

/* What an existing map's header says, before anything is changed. */
static void note_opening(struct ma_image *map, const struct ma_header *h, struct ma_opening *found, bool first)
{
	struct ma_certainty c = ma_header_certainty(h, &map->place);

	map->generation = ma_load(&h->generation);
	*found = (struct ma_opening){
		.first = first,
		.copied = !c.same_file,
		.machine_died = !ma_is_same_run(c) && !c.synced,
		.state = (enum ma_state)ma_min(ma_load(&h->state), MA_STATE_SYNCED),
	};
}

/* The same pages at the same addresses once more: MAP_SHARED or MAP_PRIVATE. */
static bool map_again(const struct ma_image *map, int how)
{
	return ma_segment_map(&map->lay, map->base, map->reach, PROT_READ | PROT_WRITE, how | MAP_NORESERVE, map->fd,
			      UINT64_MAX) == 0;
}

/* No file: only the words change. */
static enum ma_visit attempt(struct ma_image *map, bool salvages)
{
	struct ma_findings quiet = { .fn = NULL };

	if (salvages)
		ma_image_salvage(map, &quiet);
	return failed(ma_image_recover(map, MA_RECOVER_RENEW | MA_RECOVER_CHECK));
}

/*
 * Recovery and check of a file about which nothing is certain, in pages that are never written back: a file that is refused
 * keeps every byte. MA_VISIT_AGAIN: there is no memory for such a view, so nothing is known.
 */
static enum ma_visit rehearse(struct ma_image *map, bool salvages)
{
	enum ma_visit result;
	unsigned mode = map->mode;
	int fd = map->fd;

	if (!map_again(map, MAP_PRIVATE))
		return map_again(map, MAP_SHARED) ? MA_VISIT_AGAIN : MA_VISIT_FAILED;
	map->mode |= MA_MAP_PRIVATE;
	map->fd = -1; /* No system call reaches the file. */
	result = attempt(map, salvages);
	map->fd = fd;
	map->mode = mode;
	if (result == MA_VISIT_DONE && !map_again(map, MAP_SHARED))
		return failed(ma_fail(errno, "%s: cannot open it: mmap(2) failed; %s", map->name, ma_plan_advice(errno)));
	return result;
}

/* It was rehearsed: it will pass the check, when there is disk space for what turned out to be in use. */
static int salvage(struct ma_image *map, struct ma_findings *to)
{
	ma_image_salvage(map, to);
	return map->engine->reserve_space(map);
}

/* Changes no byte of the file, except that it gets disk space: to read a hole may take some. *salvages: only a salvage makes it sound. */
static enum ma_visit try(struct ma_image *map, bool may_salvage, bool *salvages)
{
	enum ma_visit seen = rehearse(map, false);

	*salvages = may_salvage && seen == MA_VISIT_FAILED && errno == EUCLEAN;
	if (*salvages)
		seen = rehearse(map, true);
	if (!may_salvage || seen != MA_VISIT_AGAIN)
		return seen;
	ma_fail(ENOMEM, "%s: cannot salvage it: no memory to try it first; free memory", map->name);
	return MA_VISIT_FAILED;
}

/* A map that the caller wants salvaged is checked, however certain it is. */
static enum ma_visit recover(struct ma_image *map, const struct ma_header *h, struct ma_opening *found,
			     struct ma_findings *to)
{
	bool salvages = false;
	unsigned how = MA_RECOVER_MARK;
	enum ma_visit seen = MA_VISIT_DONE;

	if (ma_image_take_space(map) < 0)
		return MA_VISIT_FAILED;
	if (to || !ma_is_certain(ma_image_certainty(map))) {
		found->verified = true;
		how |= MA_RECOVER_RENEW | MA_RECOVER_TAGS;
		seen = try(map, to, &salvages);
	}
	if (seen == MA_VISIT_AGAIN)
		how |= MA_RECOVER_CHECK;
	/* From here on the file changes. */
	if (seen == MA_VISIT_FAILED || ma_inuse_begin(map->fd, map->name, h, &map->place) < 0)
		return MA_VISIT_FAILED;
	if ((salvages && salvage(map, to) < 0) || ma_image_recover(map, how) < 0)
		return MA_VISIT_FAILED;
	found->recovered = ma_load(&h->state) == MA_STATE_IN_USE || ma_load(&h->phase) != 1;
	ma_image_mark_ready(map);
	return MA_VISIT_DONE;
}

/* ---- the three ways in ---- */

/* Do processes use it that came in by this file, on this run of the machine, and is recovery finished? They may have come by any mount. */
static bool is_in_use(const struct ma_image *map, const struct ma_header *h)
{
	bool ready = ma_load_acquire(&h->phase) == 1; /* Pairs with common/recover.c:ma_image_mark_ready. */
	struct ma_certainty c = ma_header_certainty(h, &map->place);

	return ready && ma_load(&h->state) == MA_STATE_IN_USE && c.same_file && c.same_boot;
}

/* No process has a lock. But one may have lost its own, and not know it. */
static bool is_first(struct ma_image *map, const struct ma_header *h)
{
	return !is_in_use(map, h) || !ma_slot_is_used_unlocked(map);
}

static enum ma_visit refuse_salvage(const struct ma_image *map)
{
	ma_fail(EBUSY, "%s: cannot salvage it: another process has it open; close it there first", map->name);
	return MA_VISIT_FAILED;
}

static enum ma_visit stay_second(struct ma_image *map, const struct ma_open *how, struct ma_opening *found)
{
	found->first = false;
	if (how->salvage)
		return refuse_salvage(map);
	if (!(map->mode & MA_MAP_EXCLUSIVE))
		return MA_VISIT_DONE;
	ma_fail(EBUSY,
		"%s: cannot open it exclusively: another process, which closed the library's descriptor, has it open; wait for it to "
		"close it",
		map->name);
	return MA_VISIT_FAILED;
}

static int do_without_checkpoint(const struct ma_image *map, struct ma_header *h, struct ma_findings *to)
{
	ma_found(to, "salvage/lost", MA_NO_PLACE,
		 "its last checkpoint is missing or damaged: the map has what the machine's death left, and is not "
		 "durable any more");
	ma_store(&h->durable, 0);
	if (ma_checkpoint_remove(map->fd) == 0)
		return 0;
	return ma_fail(errno, "%s: cannot salvage it: unlink(2) of its checkpoint file failed; check permissions",
		       map->name);
}

enum ma_visit ma_map_recover(struct ma_image *map, const struct ma_open *how, struct ma_header *h,
			     struct ma_opening *found)
{
	enum ma_visit result;
	int back;

	note_opening(map, h, found, true);
	back = ma_checkpoint_roll_back(map->fd, map->name, h, &map->place, ma_map_kinds(how));
	if (back < 0 && errno == EUCLEAN && how->salvage)
		back = do_without_checkpoint(map, h, how->salvage);
	found->restored = back > 0;
	result = back < 0 ? MA_VISIT_FAILED : map_existing(map, how, h);
	if (result != MA_VISIT_DONE)
		return result;
	if (!is_first(map, h))
		return stay_second(map, how, found);
	ma_store(&map->header->durable, ma_load(&h->durable));
	return recover(map, h, found, how->salvage);
}

enum ma_visit ma_map_join(struct ma_image *map, const struct ma_open *how, const struct ma_header *h,
			  struct ma_opening *found)
{
	/* Where it came by another mount, and no process is attached: the attach byte may be a reader's, and the file's last users cut off. */
	if (!is_in_use(map, h) || !ma_is_certain(ma_header_certainty(h, &map->place)))
		return MA_VISIT_AGAIN;
	if (how->salvage)
		return refuse_salvage(map);
	note_opening(map, h, found, false);
	return map_existing(map, how, h);
}

static uint64_t file_end(const struct ma_image *map)
{
	const struct ma_segment *last = &map->lay.seg[map->reach - 1];

	return last->user_file + last->user_bytes;
}

/* A private view of a file that may grow: what lies beyond its end is memory, and so the view grows by itself. */
static int end_of_file(struct ma_image *map)
{
	int prot = PROT_READ | PROT_WRITE;
	struct stat st;
	uint64_t end;

	if (fstat(map->fd, &st) < 0)
		return ma_fail(errno, "%s: cannot open it: fstat(2) failed; check the file system", map->name);
	end = ma_up((uint64_t)st.st_size, ma_page());
	for (uint32_t i = 0; i < map->lay.seg[map->reach - 1].slices; i++) {
		const struct ma_slice *slice = &map->lay.slice[i];
		uint64_t had = end > slice->file ? ma_min(slice->bytes, end - slice->file) : 0;

		if (had < slice->bytes &&
		    ma_plan_map_over(map->base + slice->at + had, slice->bytes - had, prot,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
			return ma_fail(errno,
				       "%s: cannot open a private view: no memory for %" PRIu64
				       " bytes that it can grow by; free memory",
				       map->name, slice->bytes - had);
	}
	if (map->lay.grows) {
		ma_image_is_long(map, file_end(map));
		ma_store(&map->header->length, file_end(map));
	}
	return 0;
}

enum ma_visit ma_map_look(struct ma_image *map, const struct ma_open *how, const struct ma_header *h,
			  struct ma_opening *found, bool first)
{
	enum ma_visit result;
	bool certain;

	note_opening(map, h, found, first);
	/* A reader would see a mixture of a durable map that its next writer makes what its last checkpoint was. */
	if (first && ma_checkpoint_refuse_stale(map->fd, map->name, h, &map->place) < 0)
		return MA_VISIT_FAILED;
	result = map_existing(map, how, h);
	if (result != MA_VISIT_DONE || !(map->mode & MA_MAP_PRIVATE))
		return result;
	certain = ma_is_certain(ma_image_certainty(map));
	found->verified = !certain;
	ma_store(&map->slot, 0);
	map->engine->privatize_metadata(map);
	if (end_of_file(map) < 0)
		return MA_VISIT_FAILED;
	ma_image_close_fd(map);
	return failed(ma_image_recover(map, MA_RECOVER_TAGS | (certain ? 0 : MA_RECOVER_CHECK)));
}
