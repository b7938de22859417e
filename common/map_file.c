/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Creating, recovering and joining a map file. Creation stores the magic number last; before it, a half magic marks
 * the file as ours to redo. Recovery is marked by phase 0, so whoever finds it after a death begins it again.
 */
#include "common/map_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/annotate.h"
#include "common/error.h"
#include "common/file.h"
#include "common/plan.h"
#include "common/proc.h"
#include "common/space.h"

static unsigned kinds_of(const struct ma_open *how)
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

static enum ma_attach failed(int result)
{
	return result < 0 ? MA_ATTACH_FAILED : MA_ATTACH_DONE;
}

bool ma_map_is_annotated(const struct ma_map *map)
{
	if (!MA_ASAN && !ma_under_valgrind())
		return false;
	return (map->flags & (MA_MAP_PRIVATE | MA_MAP_ANON)) || map->fork_copy || ma_env_on("ANNOTATE");
}

int ma_map_reopen(int fd, unsigned flags)
{
	int how = (flags & (MA_MAP_RDONLY | MA_MAP_PRIVATE) ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int had = fcntl(fd, F_GETFL);
	char path[64];

	if (had < 0)
		return -1;
	/* What the caller may not do with it he does not get by way of us. */
	if ((how & O_ACCMODE) == O_RDWR && (had & O_ACCMODE) != O_RDWR) {
		errno = EACCES;
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return ma_file_above_standard(open(path, how));
}

/* New files are made exclusively, which follows no symbolic link. */
static int open_name(const char *name, unsigned flags, bool *created)
{
	int how = (flags & (MA_MAP_RDONLY | MA_MAP_PRIVATE) ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd;

	*created = false;
	do {
		fd = open(name, how);
		if (fd >= 0 || errno != ENOENT || !(flags & MA_MAP_CREATE))
			return fd;
		fd = open(name, how | O_CREAT | O_EXCL, 0600);
	} while (fd < 0 && errno == EEXIST && access(name, F_OK) == 0);
	*created = fd >= 0;
	return fd;
}

int ma_map_open_file(struct ma_map *map, const struct ma_open *how, struct stat *st)
{
	map->flags = how->flags;
	map->punch_bytes = how->punch_bytes;
	if (how->filename) {
		snprintf(map->name, sizeof(map->name), "%s", how->filename);
		map->fd = ma_file_above_standard(open_name(how->filename, how->flags, &map->created));
	} else {
		snprintf(map->name, sizeof(map->name), "descriptor %d", how->fd);
		map->fd = ma_map_reopen(how->fd, how->flags);
	}
	if (map->fd < 0)
		return ma_fail(errno, "%s: cannot open it", map->name);
	if (fstat(map->fd, st) < 0)
		return ma_fail(errno, "%s: cannot look at it", map->name);
	if (!S_ISREG(st->st_mode))
		return ma_fail(S_ISDIR(st->st_mode) ? EISDIR : EINVAL, "%s: is not a regular file", map->name);
	return 0;
}

int ma_map_accept(const struct ma_map *map, const struct ma_open *how)
{
	if (!(kinds_of(how) & (1u << map->engine->kind)))
		return ma_fail(EPROTOTYPE, "%s: %s", map->name, ma_refusal_text(MA_REFUSE_KIND));
	return how->accept ? how->accept(map, how) : 0;
}

/* The kernel's name for this run of the machine. All zero when there is no /proc: then it equals nobody's. */
static bool boot_id(uint8_t id[16])
{
	char text[40] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	unsigned byte;

	memset(id, 0, 16);
	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) < 36)
		text[0] = '\0';
	close(fd);
	for (char *at = text; *at && n < 16; at += 2) {
		if (*at == '-')
			at++;
		if (sscanf(at, "%2x", &byte) != 1)
			return false;
		id[n++] = (uint8_t)byte;
	}
	return n == 16;
}

static bool same_boot(const struct ma_header *h)
{
	uint8_t id[16];

	return boot_id(id) && memcmp(id, h->boot_id, sizeof(id)) == 0;
}

static bool same_file(const struct ma_map *map, const struct ma_header *h)
{
	return h->device == map->device && h->inode == map->inode;
}

bool ma_map_lay_out(struct ma_map *map)
{
	if (!map->engine->layout(map))
		return false;
	map->user = map->base + map->lay.user_off;
	map->truth = (_Atomic uint8_t *)(map->base + map->lay.truth_off);
	map->spot = (_Atomic uint64_t *)(void *)(map->base + map->lay.spot_off);
	/* Metadata is read here and there, much of it holes: reading ahead would only fill memory, and slowly. */
	madvise(map->base, map->lay.user_off, MADV_RANDOM);
	map->item_bytes = map->lay.item_bytes;
	if (map->item_bytes)
		map->item_magic = UINT64_MAX / map->item_bytes + 1;
	else
		ma_store_either(&map->first_chunk, (uint64_t)(uintptr_t)map->user / MA_CHUNK);
	return true;
}

/* ---- looking at an existing file ---- */

/* A disk that fails: errno says how. */
static enum ma_refusal read_header(struct ma_map *map, const struct ma_open *how, struct ma_header *h)
{
	bool writing = !(map->flags & (MA_MAP_RDONLY | MA_MAP_PRIVATE));
	struct stat st;
	ssize_t got = pread(map->fd, h, sizeof(*h), 0);

	if (got < 0 || fstat(map->fd, &st) < 0)
		return MA_REFUSE_READ;
	return ma_header_check(h, (size_t)got, (uint64_t)st.st_size, kinds_of(how), writing);
}

static enum ma_attach refuse(struct ma_map *map, enum ma_refusal why)
{
	ma_fail(why == MA_REFUSE_READ ? errno : ma_refusal_errno(why), "%s: %s", map->name, ma_refusal_text(why));
	return MA_ATTACH_FAILED;
}

/* A file that grows does so before what is in use does: the length is read last. */
static bool is_inside(struct ma_map *map)
{
	uint64_t end = map->engine->end ? map->engine->end(map) : 0;

	return end <= ma_load_acquire(&map->header->length);
}

/* Map a file whose header passed; lay its body out. */
static enum ma_attach map_existing(struct ma_map *map, const struct ma_open *how, const struct ma_header *h)
{
	int prot = map->flags & MA_MAP_RDONLY ? PROT_READ : PROT_READ | PROT_WRITE;
	int flags = (map->flags & MA_MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED) | MAP_NORESERVE;

	map->mapped = h->reserved;
	map->base = ma_plan_map_at(h->base, map->mapped, prot, flags, map->fd, map->name);
	if (!map->base)
		return MA_ATTACH_FAILED;
	map->header = (struct ma_header *)(void *)map->base;
	/* From here on only the sealed copy is used: the file may be changed under us by whoever may write to it. */
	map->sealed = *h;
	map->engine = engine_of(how, h->kind);
	if (!ma_map_lay_out(map) || !is_inside(map))
		return refuse(map, MA_REFUSE_BODY);
	return failed(ma_map_accept(map, how));
}

static void report_damage(const char *text, void *arg)
{
	struct ma_map *map = arg;

	ma_debug("%s: %s", map->name, text);
}

enum ma_attach ma_map_check_whole(struct ma_map *map)
{
	uint64_t violations = map->engine->check(map, report_damage, map);

	if (violations == 0)
		return MA_ATTACH_DONE;
	ma_fail(EUCLEAN, "%s: %" PRIu64 " violations: it did not come whole out of a crash or a copy", map->name,
		violations);
	return MA_ATTACH_FAILED;
}

/* Did only processes die since the last attachers, on this machine, with this file? Else nothing is certain. */
static bool is_certain(const struct ma_map *map, const struct ma_header *h)
{
	if (!same_file(map, h))
		return false;
	return ma_load(&h->state) == MA_STATE_SYNCED || same_boot(h);
}

void ma_map_mark_ready(struct ma_map *map)
{
	struct ma_header *h = map->header;

	boot_id(h->boot_id);
	h->device = map->device;
	h->inode = map->inode;
	atomic_fetch_add_explicit(&h->generation, 1, memory_order_relaxed);
	ma_store_kill(&h->state, MA_STATE_IN_USE);
	ma_store_kill(&h->phase, 1);
}

static enum ma_attach recover(struct ma_map *map, const struct ma_header *h)
{
	bool certain = is_certain(map, h);

	ma_store_kill(&map->header->phase, 0);
	if (!same_file(map, h) && map->engine->back(map) < 0)
		return MA_ATTACH_FAILED;
	if (!certain && map->engine->renew(map) < 0)
		return MA_ATTACH_FAILED;
	map->slot = 0; /* Nobody else is here: any slot will do until we are done. */
	ma_body_recover(map);
	if (!certain && ma_map_check_whole(map) != MA_ATTACH_DONE)
		return MA_ATTACH_FAILED;
	map->slot = MA_NO_SLOT;
	ma_map_mark_ready(map);
	return MA_ATTACH_DONE;
}

/* ---- creation ---- */

static void fill_header(struct ma_map *map, const struct ma_open *how)
{
	struct ma_header *h = &map->sealed;

	*h = (struct ma_header){
		.kind = how->engines[0]->kind,
		.format = MA_FORMAT,
		.order = MA_ORDER,
		.word_bytes = sizeof(void *),
		.page_shift = MA_PAGE_SHIFT,
		.base = how->base,
		.reserved = how->reserved,
	};
	memcpy(h->param, how->param, sizeof(h->param));
	memcpy(h->uuid, map->uuid, sizeof(h->uuid));
	ma_store(&h->length, how->length ? how->length : how->reserved);
}

static void make_uuid(uint8_t uuid[16])
{
	if (getrandom(uuid, 16, GRND_NONBLOCK) != 16) {
		uint64_t near = ma_mix((uint64_t)getpid() ^ (uint64_t)(uintptr_t)uuid);

		memcpy(uuid, &near, sizeof(near));
	}
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

static bool map_new(struct ma_map *map, const struct ma_open *how)
{
	int prot = PROT_READ | PROT_WRITE;
	int flags = (how->flags & MA_MAP_ANON ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | MAP_NORESERVE;
	uint64_t seed;

	memcpy(&seed, map->uuid, sizeof(seed));
	map->mapped = how->reserved;
	if (how->base)
		map->base = ma_plan_map_at(how->base, how->reserved, prot, flags, map->fd, map->name);
	else
		map->base = ma_plan_map(seed, how->reserved, prot, flags, map->fd, map->name);
	map->header = (struct ma_header *)(void *)map->base;
	return map->base != NULL;
}

/* Size the file: empty, then marked as half made, then long. Killed in between: the next creator begins again. */
static int size_file(struct ma_map *map)
{
	uint64_t length = ma_load(&map->sealed.length);

	if (!ma_file_allowed(length) || ma_file_set_length(map->fd, 0) < 0 ||
	    pwrite(map->fd, MA_MAGIC_HALF, 8, 0) != 8 || ma_file_set_length(map->fd, length) < 0)
		return ma_fail(errno, "%s: cannot make it %" PRIu64 " bytes long", map->name, length);
	return 0;
}

/* The numbers of a new map, but for its base. */
static bool plan_new(struct ma_map *map, const struct ma_open *how)
{
	uint64_t bytes = how->length ? how->length : how->reserved;

	make_uuid(map->uuid);
	fill_header(map, how);
	map->engine = how->engines[0];
	if (map->engine->layout(map))
		return true;
	if (bytes < map->smallest)
		ma_fail(EINVAL, "%s: %" PRIu64 " bytes cannot hold such a map; the smallest has %" PRIu64, map->name,
			bytes, map->smallest);
	else
		ma_fail(EINVAL, "%s: %" PRIu64 " bytes are more than such a map can have", map->name, bytes);
	return false;
}

/* The header, all but its first word: that says later that the map is whole. */
static void write_header(struct ma_map *map)
{
	map->sealed.base = (uint64_t)(uintptr_t)map->base;
	ma_map_lay_out(map); /* Again: where units begin depends on the base. */
	map->sealed.crc = ma_header_crc(&map->sealed);
	memcpy((char *)map->header + 8, (char *)&map->sealed + 8, sizeof(struct ma_header) - 8);
}

static enum ma_attach create(struct ma_map *map, const struct ma_open *how)
{
	uint64_t magic;

	if (!plan_new(map, how))
		return MA_ATTACH_FAILED;
	if (how->length == 0) /* The base may move the units by up to a chunk. */
		ma_store(&map->sealed.length, ma_min(how->reserved, map->lay.user_off + MA_CHUNK));
	if (size_file(map) < 0 || !map_new(map, how))
		return MA_ATTACH_FAILED;
	write_header(map);
	if (ma_space_take(map, 0, map->lay.fixed_end) < 0)
		return MA_ATTACH_FAILED;
	ma_map_mark_ready(map);
	memcpy(&magic, MA_MAGIC, sizeof(magic));
	ma_store_kill((_Atomic uint64_t *)(void *)map->header->magic, magic);
	return MA_ATTACH_DONE;
}

/* No file, and nobody else: all of the range is there from the start. */
enum ma_attach ma_map_anonymous(struct ma_map *map, const struct ma_open *how)
{
	snprintf(map->name, sizeof(map->name), "anonymous map");
	map->flags = how->flags;
	map->punch_bytes = how->punch_bytes;
	if (!plan_new(map, how))
		return MA_ATTACH_FAILED;
	ma_store(&map->sealed.length, how->reserved);
	if (!map_new(map, how))
		return MA_ATTACH_FAILED;
	write_header(map);
	memcpy(map->header->magic, MA_MAGIC, 8);
	ma_map_mark_ready(map);
	map->slot = 0;
	return MA_ATTACH_DONE;
}

/* Leave no trace of a creation that failed: an empty file, or none when it was us who made it. */
static void undo_create(struct ma_map *map, const struct ma_open *how)
{
	int saved = errno;
	struct stat st;

	if (ma_file_set_length(map->fd, 0) < 0)
		ma_debug("%s: cannot empty it after a failed creation", map->name);
	if (map->created && how->filename && stat(how->filename, &st) == 0 && st.st_ino == map->inode &&
	    st.st_dev == map->device)
		unlink(how->filename);
	errno = saved;
}

static bool is_new(const struct ma_open *how, const struct stat *st, enum ma_refusal why)
{
	return (how->flags & MA_MAP_CREATE) && (st->st_size == 0 || why == MA_REFUSE_HALF);
}

/* ---- the three ways in ---- */

/* Its name was taken away while we waited, and leads elsewhere now, or nowhere. (/proc/self/fd/N still leads here.) */
static bool lost_its_name(const struct ma_map *map, const struct ma_open *how, const struct stat *st)
{
	struct stat now;

	if (st->st_nlink > 0 || !how->filename)
		return false;
	return stat(how->filename, &now) < 0 || now.st_ino != map->inode || now.st_dev != map->device;
}

enum ma_attach ma_map_first(struct ma_map *map, const struct ma_open *how)
{
	struct ma_header h;
	enum ma_attach result;
	enum ma_refusal why;
	struct stat st;

	if (fstat(map->fd, &st) < 0)
		return MA_ATTACH_FAILED;
	if (lost_its_name(map, how, &st))
		return MA_ATTACH_REOPEN;
	why = read_header(map, how, &h);
	if (is_new(how, &st, why)) {
		result = create(map, how);
		if (result != MA_ATTACH_DONE)
			undo_create(map, how);
	} else if (why != MA_OK) {
		result = refuse(map, why);
	} else {
		result = map_existing(map, how, &h);
		if (result == MA_ATTACH_DONE)
			result = recover(map, &h);
	}
	if (result == MA_ATTACH_DONE && ma_file_attach_shared(map->fd) < 0)
		result = MA_ATTACH_FAILED;
	return result;
}

enum ma_attach ma_map_join(struct ma_map *map, const struct ma_open *how)
{
	struct ma_header h;

	enum ma_refusal why = read_header(map, how, &h);

	if (why == MA_REFUSE_READ)
		return refuse(map, why);
	if (why != MA_OK)
		return MA_ATTACH_AGAIN;
	if (ma_load_acquire(&h.phase) != 1 || ma_load(&h.state) != MA_STATE_IN_USE || !same_file(map, &h) ||
	    !same_boot(&h))
		return MA_ATTACH_AGAIN;
	return map_existing(map, how, &h);
}

/* A private view of a file that may grow: what lies beyond its end is memory, and so the view grows by itself. */
static int end_of_file(struct ma_map *map)
{
	int prot = PROT_READ | PROT_WRITE;
	struct stat st;
	uint64_t end;

	if (fstat(map->fd, &st) < 0)
		return ma_fail(errno, "%s: cannot look at it", map->name);
	end = ma_up((uint64_t)st.st_size, MA_PAGE);
	if (end < map->mapped && mmap(map->base + end, map->mapped - end, prot,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return ma_fail(errno, "%s: no memory for a view that can grow", map->name);
	ma_store(&map->header->length, map->mapped);
	return 0;
}

enum ma_attach ma_map_look(struct ma_map *map, const struct ma_open *how)
{
	struct ma_header h;
	enum ma_refusal why = read_header(map, how, &h);
	enum ma_attach result;

	if (why != MA_OK)
		return refuse(map, why);
	result = map_existing(map, how, &h);
	if (result != MA_ATTACH_DONE || !(map->flags & MA_MAP_PRIVATE))
		return result;
	map->slot = 0;
	map->engine->own_metadata(map);
	if (end_of_file(map) < 0)
		return MA_ATTACH_FAILED;
	close(map->fd);
	map->fd = -1;
	ma_body_recover(map);
	return is_certain(map, &h) ? MA_ATTACH_DONE : ma_map_check_whole(map);
}
