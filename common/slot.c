/* SPDX-License-Identifier: BSD-3-Clause */
/* See slot.h. */
#include "common/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/file.h"
#include "common/stamp.h"

#define PROBES_MOST   32
#define HELD_PATIENCE 5 /* The kernel is asked of all slots in at most a fifth of the time. */

#define SLOT_BYTE(slot) (MA_FILE_ATTACH_BYTE + 1 + (off_t)(slot))

struct ma_process *ma_slot_row(const struct ma_image *map, uint32_t slot)
{
	return (struct ma_process *)(void *)(map->base + map->lay.process_off) + slot;
}

/* No process holds its lock. On a fickle map that alone does not say that its process is gone. */
static bool is_here_unlocked(struct ma_image *map, uint32_t slot)
{
	uint32_t pid = map->fickle ? ma_load(&ma_slot_row(map, slot)->pid) : 0;

	return pid && pid != (uint32_t)getpid() && ma_fd_is_mapped_by(pid, map->base);
}

bool ma_slot_is_used_unlocked(struct ma_image *map)
{
	for (uint32_t slot = 0; map->fickle && slot < map->lay.processes; slot++)
		if (is_here_unlocked(map, slot))
			return true;
	return false;
}

bool ma_slot_lock(struct ma_image *map, int fd, uint32_t slot)
{
	if (ma_file_lock(fd, F_OFD_SETLK, F_WRLCK, SLOT_BYTE(slot), NULL) < 0)
		return false;
	if (!is_here_unlocked(map, slot))
		return true;
	ma_slot_unlock(fd, slot);
	return false;
}

void ma_slot_unlock(int fd, uint32_t slot)
{
	ma_file_lock(fd, F_OFD_SETLK, F_UNLCK, SLOT_BYTE(slot), NULL);
}

bool ma_slot_is_held(struct ma_image *map, int fd, uint32_t slot)
{
	struct flock found;

	if (ma_file_lock(fd, F_OFD_GETLK, F_WRLCK, SLOT_BYTE(slot), &found) < 0)
		return true;
	return found.l_type != F_UNLCK || is_here_unlocked(map, slot);
}

bool ma_slot_blame(struct ma_image *map, int fd, const char *what)
{
	return ma_file_blame(fd, SLOT_BYTE(0), map->name, what);
}

bool ma_slot_seems_dead(struct ma_image *map, uint32_t slot)
{
	int saved = errno;
	uint32_t pid = ma_load(&ma_slot_row(map, slot)->pid);
	bool gone = pid && pid <= INT32_MAX && kill((pid_t)pid, 0) < 0 && errno == ESRCH;

	errno = saved;
	return gone;
}

/* Among some that each call goes on from. */
static bool one_seems_dead(struct ma_image *map)
{
	for (uint32_t i = 0; i < ma_min(PROBES_MOST, map->lay.processes); i++)
		if (ma_slot_seems_dead(map, atomic_fetch_add_explicit(&map->probe_next, 1, memory_order_relaxed) %
						    map->lay.processes))
			return true;
	return false;
}

bool ma_slot_all_held(struct ma_image *map, const _Atomic uint64_t *until, uint64_t now)
{
	return now < ma_load(until) && !one_seems_dead(map);
}

void ma_slot_note_held(_Atomic uint64_t *until, uint64_t begin)
{
	ma_store(until, begin + HELD_PATIENCE * (ma_now_ns(CLOCK_MONOTONIC) - begin));
}

void ma_slot_enter(struct ma_image *map, uint32_t slot)
{
	struct ma_process *row = ma_slot_row(map, slot);

	ma_store(&row->pid, (uint32_t)getpid());
	map->slot_since = (uint64_t)time(NULL);
	ma_store(&row->since, map->slot_since);
	ma_store(&ma_body(map)->process_hint, (slot + 1) % map->lay.processes);
}

/* Is what we wrote there still there? A process that takes a slot, or reclaims it, writes something else. */
static bool is_still_ours(const struct ma_process *p, const struct ma_image *map)
{
	/* Pairs with common/body.c:reap_slot. */
	return ma_load_acquire(&p->pid) == (uint32_t)getpid() && ma_load(&p->since) == map->slot_since;
}

bool ma_slot_keep(struct ma_image *map, int fd)
{
	uint32_t slot = ma_load(&map->slot);

	if (slot == MA_NO_SLOT)
		return true;
	/* Another holder of the byte is our old description, which the mapping keeps, or another process. */
	if (ma_file_lock(fd, F_OFD_SETLK, F_WRLCK, SLOT_BYTE(slot), NULL) < 0 || is_still_ours(ma_slot_row(map, slot), map))
		return is_still_ours(ma_slot_row(map, slot), map);
	ma_slot_unlock(fd, slot);
	return false;
}

void ma_slot_leave(struct ma_image *map)
{
	uint32_t slot = ma_load(&map->slot);

	ma_store_kill(&ma_slot_row(map, slot)->pid, 0); /* Pairs with common/body.c:move_in. */
	ma_store(&ma_body(map)->process_hint, slot);
}

void ma_slot_forget_all(struct ma_image *map)
{
	for (uint32_t slot = 0; slot < map->lay.processes; slot++)
		if (ma_load(&ma_slot_row(map, slot)->pid))
			ma_store(&ma_slot_row(map, slot)->pid, 0);
}
