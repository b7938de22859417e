/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapalloc snapshot: a copy of a map that others may be using. Of kinds with locks common/snapshot.h makes it. A region is copied here:
 * its words from the top level down, each of them whole, and the mixture is settled: what is open below a leaf that is not split came later
 * and goes; what is split above a word that is not open was merged meanwhile, and mending finishes that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/snapshot.h"
#include "common/target.h"
#include "libshmbuddy/src/handle.h"
#include "tools/commands.h"
#include "tools/copy.h"

/* ---- a region ---- */

/* Each word of a level that has its space, in the copy as it is now in the region. */
static void copy_level(const struct shmbuddy *from, struct shmbuddy *to, const struct level *l)
{
	for (uint64_t i = 0; i < l->words; i++) {
		if (l->local && !region_is_backed(to, i >> l->fan_shift))
			i |= ((uint64_t)1 << l->fan_shift) - 1;
		else
			ma_store(region_word(to, l, i), ma_load_acquire(region_word(from, l, i)));
	}
}

static bool is_split(struct shmbuddy *h, unsigned k, uint64_t i)
{
	const struct level *upper = region_level(h, k + 1);
	uint64_t at = i / WORD_UPPER;

	if (upper->local && !region_is_backed(h, at >> upper->fan_shift))
		return false;
	at = region_view(upper, ma_load(region_word(h, upper, at)));
	return word_is_open(at, WORD_UPPER) && word_is_split(at, WORD_UPPER, (unsigned)(i % WORD_UPPER));
}

static void settle_level(struct shmbuddy *h, unsigned k)
{
	const struct level *l = region_level(h, k);

	for (uint64_t i = 0; i < l->words; i++) {
		if (l->local && !region_is_backed(h, i >> l->fan_shift))
			i |= ((uint64_t)1 << l->fan_shift) - 1;
		else if (word_is_open(ma_load(region_word(h, l, i)), l->leaves) && !is_split(h, k, i))
			ma_store(region_word(h, l, i), 0);
	}
}

/* What is said of parts that had no space when the copy was begun. */
static void blank_parts(struct shmbuddy *h)
{
	for (uint64_t part = 0; part < h->lay.parts; part++)
		if (!region_is_backed(h, part) &&
		    fallocate(h->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)(h->lay.meta_at + part * h->lay.meta_bytes), (off_t)h->lay.meta_bytes) < 0)
			memset(region_meta(h, part), 0, h->lay.meta_bytes);
}

static void copy_words(const struct shmbuddy *from, struct shmbuddy *to)
{
	for (unsigned i = 0; i < LAYOUT_PARTS / 64; i++)
		ma_store(&to->control->backed[i], ma_load_acquire(&from->control->backed[i]));
	for (unsigned k = from->lay.top + 1u; k-- > 0;)
		copy_level(from, to, region_level(from, k));
	for (unsigned k = from->lay.top; k-- > 0;)
		settle_level(to, k);
	blank_parts(to);
}

static int map_copy(struct view *view, struct shmbuddy *to, int fd)
{
	void *at = mmap(NULL, view->mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (at == MAP_FAILED)
		return -1;
	to->lay = view->region->lay;
	to->base = at;
	to->fd = fd;
	shmbuddy__handle_point(to);
	return 0;
}

/* As mapalloc check sees it: what is wrong in the copy was so in the region. */
static int verify(struct tool *tool, const char *name)
{
	struct view view;
	int result = view_open(tool, name, &view) == STATUS_OK ? 0 : -1;

	if (result < 0)
		return -1;
	view_check(&view);
	for (size_t i = 0; i < view.findings && result == 0; i++)
		if (view.finding[i].severity != SEVERITY_NOTE)
			result = ma_fail(EUCLEAN, "%s: %s", view.finding[i].rule, view.finding[i].text);
	view_close(&view);
	return result;
}

/* Opened as any other copy: which checks all of it; and mended. */
static int open_once(struct tool *tool, const char *name)
{
	const struct shmbuddy_options how = { .flags = SHMBUDDY_EXISTING };
	shmbuddy_t *region = shmbuddy_open(name, &how);
	int result;

	if (!region)
		return -1;
	result = shmbuddy_mend(region) < 0 ? -1 : shmbuddy_sync(region);
	shmbuddy_close(region);
	return result < 0 ? -1 : verify(tool, name);
}

static int fill_region(struct view *view, const struct ma_target *target)
{
	struct shmbuddy *to = calloc(1, sizeof(*to));
	char *path = ma_target_path(target);
	bool is_reflink;
	int result = to && path ? copy_contents(view->fd, target->fd, (uint64_t)view->st.st_size, &is_reflink) : -1;

	if (result == 0)
		result = map_copy(view, to, target->fd);
	if (result == 0) {
		copy_words(view->region, to);
		munmap(to->base, view->mapped);
		result = open_once(view->tool, path);
	}
	free(path);
	free(to);
	return result;
}

static int snapshot_region(struct view *view, const char *copy)
{
	struct ma_target target;
	int result = ma_target_find(&target, copy);

	if (result == 0)
		result = ma_target_open(&target, "snapshot", 0600);
	if (result == 0)
		result = fill_region(view, &target);
	if (result == 0)
		result = ma_target_commit(&target, true);
	ma_target_close(&target);
	return result;
}

/* ---- the command ---- */

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

/* Of what nobody uses; in use, what changes cannot be told from damage, but in a region: there the copy is checked. */
static void look(struct view *view)
{
	if (!view->people.is_attached && !view->people.locks_unknown && !view_users_unknown(view))
		view_check(view);
	else if (MA_KIND_FLOATS(view->header.kind) && view->kind)
		view->kind->check(view);
}

static enum status copy_to(struct tool *tool, struct view *view, const char *copy)
{
	int result, error;

	reason_clear();
	result = MA_KIND_FLOATS(view->header.kind) ? snapshot_region(view, copy) : ma_map_snapshot(&view->map, copy);
	error = errno;
	if (result < 0)
		complain_reason(tool, view->name, "no snapshot");
	return result == 0 ? STATUS_OK : error == EUCLEAN ? STATUS_DAMAGED : STATUS_FAILED;
}

static enum status take(struct tool *tool, struct view *view, const char *copy)
{
	enum status status;

	look(view);
	status = view_status(view);
	if (status >= STATUS_DAMAGED || !view->kind) {
		view_print_findings(view, tool->err, SEVERITY_DAMAGE);
		complain(tool, view->name, "no snapshot: %s", status_name(status));
		return status >= STATUS_DAMAGED ? status : STATUS_FAILED;
	}
	if (view->header.rocompat) {
		complain(tool, view->name, "no snapshot: it has features that this program can only read");
		return STATUS_REFUSED;
	}
	return may_be_made(tool, view, copy) ? copy_to(tool, view, copy) : STATUS_REFUSED;
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	struct view view;
	enum status status = view_open(tool, arguments[0], &view);

	(void)count;
	if (status != STATUS_OK)
		return status;
	status = take(tool, &view, arguments[1]);
	view_close(&view);
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
		"or after.\n",
	.examples = "  mapalloc snapshot /dev/shm/cache.map /backup/cache.map\n",
	.least = 2,
	.most = 2,
	.run = run,
};
