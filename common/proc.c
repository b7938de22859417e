/* SPDX-License-Identifier: BSD-3-Clause */
/* Open-file-description locks as the register of the living. See proc.h. */
#include "common/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "common/body.h"
#include "common/error.h"
#include "common/file.h"
#include "common/image_fd.h"
#include "common/process.h"

#define LOOKS_MOST  4096 /* Of a call that looks for the dead: entries, */
#define PROBES_MOST 32   /* pids, */
#define ASKS_MOST   4    /* and questions to the kernel that take longer. */

#define SLOT_BYTE(slot) (MA_FILE_ATTACH_BYTE + 1 + (off_t)(slot))

static struct ma_process *process(const struct ma_image *map, uint32_t slot)
{
	return (struct ma_process *)(void *)(map->base + map->lay.process_off) + slot;
}

/* Nobody holds its lock. On a fickle map that alone does not say that its process is gone. */
static bool is_here_unlocked(struct ma_image *map, uint32_t slot)
{
	uint32_t pid = map->fickle ? ma_load(&process(map, slot)->pid) : 0;

	return pid && pid != (uint32_t)getpid() && ma_fd_is_mapped_by(pid, map->base);
}

bool ma_proc_is_used_unlocked(struct ma_image *map)
{
	for (uint32_t slot = 0; map->fickle && slot < map->lay.processes; slot++)
		if (is_here_unlocked(map, slot))
			return true;
	return false;
}

/* The byte of this slot, of which the holder is gone. */
static bool lock_slot(struct ma_image *map, int fd, uint32_t slot)
{
	if (ma_file_lock(fd, F_OFD_SETLK, F_WRLCK, SLOT_BYTE(slot), NULL) < 0)
		return false;
	if (!is_here_unlocked(map, slot))
		return true;
	ma_file_lock(fd, F_OFD_SETLK, F_UNLCK, SLOT_BYTE(slot), NULL);
	return false;
}

/* Before the slot is ours in public, inherit what its last holder left: see lock.h and owner.h. */
static void move_in(struct ma_image *map, uint32_t slot)
{
	struct ma_process *p = process(map, slot);

	ma_body_sweep(map, slot, ma_load(&p->pid) != 0);
	ma_store(&p->pid, (uint32_t)getpid());
	map->slot_since = (uint64_t)time(NULL);
	ma_store(&p->since, map->slot_since);
	ma_store_release(&map->slot, slot); /* Pairs with common/proc.c:ma_proc_slot. */
	ma_store(&ma_body(map)->process_hint, (slot + 1) % map->lay.processes);
}

/*
 * The first slot from the hint on that can be had, among those that were never used or given back; or among the others, whose
 * holders live or died. Only the kernel knows which, and it is asked of one after the other: the next process begins behind.
 */
static uint32_t take_among(struct ma_image *map, int fd, bool was_used)
{
	uint32_t count = map->lay.processes;
	uint32_t start = ma_load(&ma_body(map)->process_hint) % count;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t slot = (start + i) % count;

		if ((ma_load(&process(map, slot)->pid) != 0) == was_used && lock_slot(map, fd, slot))
			return slot;
	}
	return MA_NO_SLOT;
}

/* Who has a slot may have to mend anything for the dead. So what others have made must be within reach. */
static bool sees_all(struct ma_image *map)
{
	if (map->reach == map->lay.segments || ma_image_length(map) < map->lay.seg[map->reach].user_file)
		return true;
	ma_fail(ENOMEM, "%s: has grown beyond what this process had address space for: open it again", map->name);
	return false;
}

static uint32_t take_slot(struct ma_image *map)
{
	int fd = ma_image_fd(map);
	uint32_t slot;

	if (fd < 0 || !sees_all(map))
		return MA_NO_SLOT;
	slot = take_among(map, fd, false);

	if (slot == MA_NO_SLOT)
		slot = take_among(map, fd, true);
	if (slot == MA_NO_SLOT && ma_file_blame(fd, SLOT_BYTE(0), map->name, "cannot attach for allocating"))
		return MA_NO_SLOT;
	if (slot == MA_NO_SLOT)
		ma_fail(EUSERS,
			"%s: cannot attach for allocating: all %u process slots are in use; end a process that uses "
			"it, "
			"or create the map with more",
			map->name, map->lay.processes);
	else
		move_in(map, slot);
	return slot;
}

/* Is what we wrote there still there? Whoever takes a slot, or reclaims it, writes something else. */
static bool is_still_ours(const struct ma_process *p, const struct ma_image *map)
{
	return ma_load_acquire(&p->pid) == (uint32_t)getpid() && ma_load(&p->since) == map->slot_since;
}

bool ma_proc_keep_slot(struct ma_image *map, int fd)
{
	uint32_t slot = ma_load(&map->slot);

	if (slot == MA_NO_SLOT)
		return true;
	/* Another holder of the byte is our old description, which the mapping keeps, or another process. */
	if (ma_file_lock(fd, F_OFD_SETLK, F_WRLCK, SLOT_BYTE(slot), NULL) < 0 || is_still_ours(process(map, slot), map))
		return is_still_ours(process(map, slot), map);
	ma_file_lock(fd, F_OFD_SETLK, F_UNLCK, SLOT_BYTE(slot), NULL);
	return false;
}

void ma_proc_leave(struct ma_image *map)
{
	uint32_t slot = ma_load(&map->slot);

	ma_store_kill(&process(map, slot)->pid, 0);
	ma_store(&ma_body(map)->process_hint, slot);
}

void ma_proc_forget_all(struct ma_image *map)
{
	for (uint32_t slot = 0; slot < map->lay.processes; slot++)
		if (ma_load(&process(map, slot)->pid))
			ma_store(&process(map, slot)->pid, 0);
}

uint32_t ma_proc_slot(struct ma_image *map)
{
	uint32_t slot = ma_load_acquire(&map->slot); /* Pairs with common/proc.c:move_in. */

	if (MA_LIKELY(slot != MA_NO_SLOT) && MA_LIKELY(ma_load(ma_process_mark)) && MA_LIKELY(!map->fickle))
		return slot;
	if (!ma_load(ma_process_mark)) {
		ma_process_notice();
		if (ma_load(&map->id) == MA_MAP_CLOSED) {
			ma_fail(EBADF, "%s: the map is closed in this fork child: open it again", map->name);
			return MA_NO_SLOT;
		}
		slot = ma_load_acquire(&map->slot);
	}
	if (slot != MA_NO_SLOT && map->fd >= 0 && ma_image_fd(map) < 0)
		return MA_NO_SLOT;
	pthread_mutex_lock(&map->mutex);
	slot = ma_load_acquire(&map->slot);
	if (slot == MA_NO_SLOT)
		slot = take_slot(map);
	pthread_mutex_unlock(&map->mutex);
	return slot;
}

bool ma_proc_alive(struct ma_image *map, uint32_t slot)
{
	struct flock found;
	int fd;

	if (slot >= map->lay.processes)
		return false;
	if (slot == ma_load(&map->slot))
		return true;
	if (map->fd < 0)
		return false;
	fd = ma_image_fd(map);
	if (fd < 0 || ma_file_lock(fd, F_OFD_GETLK, F_WRLCK, SLOT_BYTE(slot), &found) < 0)
		return true;
	return found.l_type != F_UNLCK || is_here_unlocked(map, slot);
}

/*
 * The slot's byte is ours while we mend, so that no process moves in meanwhile. Killed there: it is dead again. The mutex,
 * because threads of one process would all get the byte.
 */
static bool reap_slot(struct ma_image *map, int fd, uint32_t slot)
{
	if (slot == ma_load(&map->slot) || !ma_load(&process(map, slot)->pid) || !lock_slot(map, fd, slot))
		return false;
	ma_body_sweep(map, slot, true);
	ma_store_kill(&process(map, slot)->pid, 0);
	ma_file_lock(fd, F_OFD_SETLK, F_UNLCK, SLOT_BYTE(slot), NULL);
	return true;
}

/*
 * The kernel takes a microsecond or two for each process that it is asked about, and there may be thousands that live. So a call asks
 * of some, the next call of others; first of those whose pid is nobody's. (That alone says little: it may be of another pid
 * namespace.) A call that finds some goes on as if it had just begun.
 */
static bool seems_dead(struct ma_image *map, uint32_t slot)
{
	int saved = errno;
	uint32_t pid = ma_load(&process(map, slot)->pid);
	bool gone = pid && pid <= INT32_MAX && kill((pid_t)pid, 0) < 0 && errno == ESRCH;

	errno = saved;
	return gone;
}

static bool reap_some(struct ma_image *map, int fd, bool probe)
{
	uint32_t processes = map->lay.processes, most = (uint32_t)ma_min(processes, LOOKS_MOST);
	bool any = false;

	for (uint32_t i = 0, probes = 0; probe && i < most && probes < PROBES_MOST; i++) {
		uint32_t slot = map->probe_next++ % processes;

		probes += ma_load(&process(map, slot)->pid) != 0;
		if (seems_dead(map, slot) && reap_slot(map, fd, slot))
			any = true, probes = 0;
	}
	for (uint32_t i = 0, asks = 0; i < most && asks < ASKS_MOST && map->reap_left > 0; i++) {
		uint32_t slot = map->reap_next++ % processes;

		asks += ma_load(&process(map, slot)->pid) != 0;
		if (reap_slot(map, fd, slot))
			any = true, asks = 0;
		ma_store(&map->reap_left, map->reap_left - 1);
	}
	return any;
}

bool ma_proc_reap(struct ma_image *map, bool begin)
{
	bool any;
	int fd;

	if (map->fd < 0 || ma_proc_slot(map) == MA_NO_SLOT || (!begin && ma_load(&map->reap_left) == 0))
		return false;
	fd = ma_image_fd(map);
	if (fd < 0)
		return false;
	pthread_mutex_lock(&map->mutex);
	if (begin)
		ma_store(&map->reap_left, map->lay.processes);
	any = reap_some(map, fd, begin);
	pthread_mutex_unlock(&map->mutex);
	return any;
}

void ma_proc_reap_all(struct ma_image *map)
{
	int fd;

	if (map->fd < 0 || ma_proc_slot(map) == MA_NO_SLOT)
		return;
	fd = ma_image_fd(map);
	if (fd < 0)
		return;
	pthread_mutex_lock(&map->mutex);
	for (uint32_t slot = 0; slot < map->lay.processes; slot++)
		reap_slot(map, fd, slot);
	pthread_mutex_unlock(&map->mutex);
}

uint32_t ma_proc_count(struct ma_image *map)
{
	uint32_t alive = 0;

	for (uint32_t slot = 0; slot < map->lay.processes; slot++) {
		if (ma_load(&process(map, slot)->pid)) /* Most were never used: spare the kernel. */
			alive += ma_proc_alive(map, slot);
	}
	return alive;
}
