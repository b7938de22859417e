/* SPDX-License-Identifier: BSD-3-Clause */
/* The side file of small blocks in VM files. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "directory.h"
#include "limits.h"
#include "side.h"
#include "site.h"

#include "common/annotate.h"
#include "common/error.h"
#include "common/page.h"
#include "common/plan.h"

struct xmemory__small xmemory__small = { .side_fd = -1, .copy = -1, .side_copy = -1 };

/* ---- the file ---- */

uint64_t xmemory__side_file_bytes(const struct ma_image *map)
{
	return small->table_bytes + map->lay.units * SIDE_BYTES;
}

/* Over what is mapped there, or where the kernel likes. */
bool xmemory__side_map(const struct ma_image *map, void *at)
{
	const uint64_t bytes = xmemory__side_file_bytes(map);
	const int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_NORESERVE;
	char *got;

	if (at) { /* At vm.max_map_count, mapping over what is there fails. */
		munmap(at, bytes);
		got = mmap(at, bytes, prot, flags | MAP_FIXED, small->side_fd, 0);
	} else {
		got = ma_plan_map_anywhere(bytes, prot, flags, small->side_fd);
	}
	if (got == MAP_FAILED)
		return false;
	small->chunks = (uint16_t *)(void *)got;
	small->side = (uint8_t *)got + small->table_bytes;
	return true;
}

bool xmemory__side_open(struct ma_image *map)
{
	uint32_t id;
	int error;

	small->side_fd = xmemory__vm_file(&id);
	if (small->side_fd < 0)
		return false;
	if (!ma_fd_identify(small->side_fd, &small->side_id))
		small->side_id = (struct ma_fd_id){ 0 };
	small->table_bytes = ma_up(map->lay.units * sizeof(*small->chunks), ma_page());
	small->table_backed = 0;
	if (xmemory__side_map(map, NULL))
		return true;
	error = errno;
	ma_fd_close(small->side_fd, small->side_id);
	ma_fail(error, "the shared VM file: no address space for it (%s); free blocks, or raise the limit",
		xmemory__limit_of_error(error));
	return false;
}

/* Of chunks that never had a block: Valgrind's leak check would read all of it. */
void xmemory__side_hide(uint64_t chunk)
{
	ma_annotate_unused((char *)small->chunks + small->table_backed, small->table_bytes - small->table_backed);
	ma_annotate_unused(small->side + chunk * SIDE_BYTES, (small->map->lay.units - chunk) * SIDE_BYTES);
}

/*
 * The side's descriptor, opened again when the program closed it: that needs privileges, for the file has no name. -1 with EBADF: blocks
 * that are there go on, and new ones get a VM file each.
 */
int xmemory__side_file(void)
{
	int fd = small->side_fd;

	if (MA_LIKELY(ma_fd_is(fd, small->side_id)))
		return fd;
	fd = small->side_lost ? -1 : ma_fd_again(small->chunks, NULL, small->side_id, O_RDWR | O_CLOEXEC);
	small->side_lost = fd < 0;
	if (fd < 0)
		return ma_fail(EBADF,
			       "the shared VM file: the program closed descriptor %d, which this library had opened; "
			       "do not close "
			       "descriptors that the library opened",
			       small->side_fd);
	small->side_id.mark = ma_fd_mark(fd);
	small->side_fd = fd;
	return fd;
}

/* ---- disk space ---- */

static bool take_side(uint64_t from, uint64_t to)
{
	int fd = xmemory__side_file();

	return fd >= 0 && xmemory__vm_space(fd, from, to) == 0;
}

/* Disk space of the table up to this chunk's word. */
bool xmemory__side_back_table(uint64_t chunk)
{
	uint64_t end = ma_up((chunk + 1) * sizeof(*small->chunks), ma_page());

	if (MA_LIKELY(end <= small->table_backed))
		return true;
	if (!take_side(small->table_backed, end))
		return false;
	ma_annotate_open((char *)small->chunks + small->table_backed, end - small->table_backed);
	small->table_backed = end;
	return true;
}

bool xmemory__side_back(uint64_t chunk)
{
	uint64_t at = small->table_bytes + chunk * SIDE_BYTES;

	return take_side(at, at + SIDE_BYTES);
}

bool xmemory__side_begin(uint64_t chunk)
{
	if (!xmemory__side_back_table(chunk))
		return false;
	if (small->chunks[chunk] & BACKED)
		return true;
	if (!xmemory__side_back(chunk))
		return false;
	small->chunks[chunk] |= BACKED;
	small->top = ma_max(small->top, chunk + 1);
	return true;
}

/* Of these chunks. Locked memory cannot be punched through the mapping; and a kernel with larger pages must not punch more than that. */
static void punch_side(uint64_t from, uint64_t to)
{
	uint64_t bytes = (to - from) * SIDE_BYTES;
	int fd;

	if (bytes % (uint64_t)sysconf(_SC_PAGESIZE) == 0 &&
	    madvise(small->side + from * SIDE_BYTES, bytes, MADV_REMOVE) == 0)
		return;
	fd = xmemory__side_file();
	if (fd >= 0)
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)(small->table_bytes + from * SIDE_BYTES), (off_t)bytes);
}

void xmemory__side_trim(void)
{
	uint64_t from = 0;

	for (uint64_t chunk = 0; chunk <= small->top; chunk++) {
		if (chunk < small->top && small->chunks[chunk] == BACKED) {
			small->chunks[chunk] = 0;
			continue;
		}
		if (chunk > from)
			punch_side(from, chunk);
		from = chunk + 1;
	}
}

/* ---- what is known of a block ---- */

static uint8_t *side_of(const void *ptr)
{
	return small->side + (uint64_t)((const char *)ptr - small->map->user) / 16 * 3;
}

void xmemory__side_write(const void *ptr, size_t room, size_t size, uint32_t site)
{
	uint64_t word = site | (uint64_t)(room - size) << XMEMORY__SITE_BITS;

	ma_annotate_open(side_of(ptr), room > 16 ? 6 : 3);
	memcpy(side_of(ptr), &word, room > 16 ? 6 : 3);
}

bool xmemory__side_read(const void *ptr, size_t room, struct xmemory__block *block)
{
	uint64_t word = 0;

	if (room == 0)
		return false;
	memcpy(&word, side_of(ptr), room > 16 ? 6 : 3);
	*block = (struct xmemory__block){ .ptr = (void *)(uintptr_t)ptr,
					  .size = room - (word >> XMEMORY__SITE_BITS),
					  .site = (uint32_t)word & (XMEMORY__SITES - 1),
					  .kind = XMEMORY_VMFILE,
					  .vmfile = small->id };
	return true;
}
