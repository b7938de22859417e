/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapped files. A file is mapped whole, private and writable, and all callers of falloc() share the mapping, as long as the
 * file keeps its length. One that has grown or shrunk is mapped again for the next callers: what was written into the
 * last page of the old mapping would hide what the file has there now.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "budget.h"
#include "falloc.h"
#include "freed.h"
#include "lock.h"
#include "pages.h"
#include "site.h"

#include "common/cancel.h"
#include "common/error.h"
#include "common/fd.h"

#define HEADS 4096

struct mapping {
	char *base;
	uint64_t length;
	dev_t device;
	ino_t inode;
	uint64_t refs;
	struct mapping *next;
};

/* What one call gave. The same pointer may be given several times. */
struct view {
	char *ptr;
	size_t size;
	uint32_t site;
	struct mapping *mapping;
	struct view *next;
};

static struct {
	struct mapping *mappings[HEADS];
	struct view *views[HEADS];
	uint64_t files, count;
	struct xmemory__pool mapping_pool, view_pool;
} mapped = { .mapping_pool.bytes = sizeof(struct mapping), .view_pool.bytes = sizeof(struct view) };

static struct view **views_of(const void *ptr)
{
	return &mapped.views[ma_mix((uint64_t)(uintptr_t)ptr) % HEADS];
}

static struct mapping **mappings_of(const struct stat *st)
{
	return &mapped.mappings[ma_mix((uint64_t)st->st_ino ^ (uint64_t)st->st_dev << 32) % HEADS];
}

static struct mapping *find_mapping(const struct stat *st)
{
	struct mapping *m = *mappings_of(st);

	while (m && (m->device != st->st_dev || m->inode != st->st_ino || m->length != (uint64_t)st->st_size))
		m = m->next;
	return m;
}

/* What is kept of freed blocks counts in the kernel's limits. */
static void *map_file(int fd, size_t bytes)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);

	return base == MAP_FAILED && xmemory__freed_drop() ? map_file(fd, bytes) : base;
}

static struct mapping *new_mapping(int fd, const struct stat *st)
{
	struct mapping *m = xmemory__pool_take(&mapped.mapping_pool);
	void *base;

	if (!m)
		return NULL;
	base = map_file(fd, (size_t)st->st_size);
	if (base == MAP_FAILED) {
		xmemory__pool_give(&mapped.mapping_pool, m);
		return ma_fail_null(errno,
				    "falloc: cannot map %lld bytes of the file: no address space for them (RLIMIT_DATA "
				    "and RLIMIT_AS count mapped files); raise the limit, or free blocks",
				    (long long)st->st_size);
	}
	*m = (struct mapping){
		.base = base, .length = (uint64_t)st->st_size, .device = st->st_dev, .inode = st->st_ino
	};
	m->next = *mappings_of(st);
	*mappings_of(st) = m;
	mapped.files++;
	return m;
}

static void drop_mapping(struct mapping *m)
{
	struct stat st = { .st_dev = m->device, .st_ino = m->inode };
	struct mapping **link = mappings_of(&st);

	if (m->refs > 0)
		return;
	while (*link != m)
		link = &(*link)->next;
	*link = m->next;
	munmap(m->base, m->length);
	xmemory__pool_give(&mapped.mapping_pool, m);
	mapped.files--;
}

static struct view *new_view(struct mapping *m, size_t offs, uint32_t site)
{
	struct view *view = xmemory__pool_take(&mapped.view_pool);
	struct view **head = views_of(m->base + offs);

	if (!view)
		return NULL;
	*view = (struct view){
		.ptr = m->base + offs, .size = m->length - offs, .site = site, .mapping = m, .next = *head
	};
	*head = view;
	m->refs++;
	mapped.count++;
	return view;
}

static int refuse_file(const char *name, size_t offs, const struct stat *st, int error)
{
	if (error == ENODATA)
		return ma_fail(error, "falloc: %s: the file is empty; there is nothing to map", name);
	if (error == EINVAL && S_ISREG(st->st_mode))
		return ma_fail(error,
			       "falloc: %s: byte %zu is not in the file, which has %lld bytes; take a smaller offset",
			       name, offs, (long long)st->st_size);
	if (error == EISDIR || error == EINVAL)
		return ma_fail(error, "falloc: %s: this is %s; name a regular file", name,
			       error == EISDIR ? "a directory" : "not a regular file");
	return ma_fail(error, "falloc: %s: cannot look at it: %s; use a smaller file, or another one", name,
		       strerrordesc_np(error));
}

/* Which file, if it is one that can be mapped from there. -1 with errno. */
static int open_file(const char *name, size_t offs, struct stat *st)
{
	int fd = ma_fd_open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int error = 0;

	if (fd < 0)
		return ma_fail(errno, "falloc: %s: cannot open it: %s; check the name and its permissions", name,
			       strerrordesc_np(errno));
	if (fstat(fd, st) < 0)
		error = errno;
	else if (!S_ISREG(st->st_mode))
		error = S_ISDIR(st->st_mode) ? EISDIR : EINVAL;
	else if (offs >= (uint64_t)st->st_size)
		error = st->st_size == 0 ? ENODATA : EINVAL;
	else if ((uint64_t)st->st_size > SIZE_MAX)
		error = EFBIG;
	if (error == 0)
		return fd;
	ma_fd_shut(fd);
	return refuse_file(name, offs, st, error);
}

/* The lock is held. */
static struct view *map_view(int fd, const struct stat *st, size_t offs, uint32_t site)
{
	struct mapping *m = find_mapping(st);
	struct view *view;

	if (!m)
		m = new_mapping(fd, st);
	if (!m)
		return NULL;
	view = new_view(m, offs, site);
	if (!view)
		drop_mapping(m);
	return view;
}

char *xmemory__mapped_new(const char *name, size_t offs, size_t *size, const char *file, int line)
{
	MA_UNCANCELLED;
	struct view *view;
	struct stat st;
	char *ptr = NULL;
	int fd;

	fd = open_file(name, offs, &st);
	if (fd < 0)
		return NULL;
	xmemory__lock();
	view = map_view(fd, &st, offs, xmemory__site(file, line));
	if (view) {
		ptr = view->ptr;
		if (size)
			*size = view->size;
	}
	xmemory__unlock();
	ma_fd_shut(fd);
	if (ptr)
		xmemory__count((int64_t)((uint64_t)st.st_size - offs), 1);
	return ptr;
}

static struct view **find_view(const void *ptr)
{
	struct view **link = views_of(ptr);

	while (*link && (*link)->ptr != ptr)
		link = &(*link)->next;
	return link;
}

static void drop_view(struct view **link)
{
	struct view *view = *link;
	size_t size = view->size;

	*link = view->next;
	view->mapping->refs--;
	drop_mapping(view->mapping);
	xmemory__pool_give(&mapped.view_pool, view);
	mapped.count--;
	xmemory__count(-(int64_t)size, -1);
}

bool xmemory__mapped_free(void *ptr)
{
	struct view **link = find_view(ptr);

	if (!*link)
		return false;
	drop_view(link);
	return true;
}

static struct mapping *mapping_at(const char *ptr)
{
	for (size_t i = 0; i < HEADS; i++)
		for (struct mapping *m = mapped.mappings[i]; m; m = m->next)
			if (ptr >= m->base && ptr < m->base + m->length)
				return m;
	return NULL;
}

/* Is the second one better than the first, or NULL? One that begins at or below ptr is, and then the nearest. */
static bool is_nearer(const struct view *a, const struct view *b, const char *ptr)
{
	if (!a || (a->ptr <= ptr) != (b->ptr <= ptr))
		return !a || b->ptr <= ptr;
	return b->ptr > a->ptr;
}

static struct view *nearest_view(const struct mapping *m, const char *ptr)
{
	struct view *best = NULL;

	for (size_t i = 0; i < HEADS; i++)
		for (struct view *view = mapped.views[i]; view; view = view->next)
			if (view->mapping == m && is_nearer(best, view, ptr))
				best = view;
	return best;
}

/* The original took any address in the mapping for one of its blocks: the one from this offset, or the nearest one. */
bool xmemory__mapped_free_at(void *ptr, size_t offs)
{
	struct mapping *m = mapping_at(ptr);

	if (!m)
		return false;
	if (offs < m->length && xmemory__mapped_free(m->base + offs))
		return true;
	drop_view(find_view(nearest_view(m, ptr)->ptr));
	return true;
}

static struct xmemory__block block_of(const struct view *view)
{
	return (struct xmemory__block){
		.ptr = view->ptr, .size = view->size, .site = view->site, .kind = XMEMORY_MAPPED
	};
}

bool xmemory__mapped_look(const void *ptr, struct xmemory__block *block)
{
	struct view *view = *find_view(ptr);

	if (view)
		*block = block_of(view);
	return view != NULL;
}

void xmemory__mapped_walk(xmemory__block_fn *fn, void *arg)
{
	for (size_t i = 0; i < HEADS; i++)
		for (struct view *view = mapped.views[i]; view; view = view->next) {
			struct xmemory__block block = block_of(view);

			fn(&block, arg);
		}
}

void xmemory__mapped_figures(uint64_t *files, uint64_t *mappings)
{
	*files = mapped.files;
	*mappings = mapped.count;
}
