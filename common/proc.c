/* SPDX-License-Identifier: BSD-3-Clause */
/* Open-file-description locks as the register of the living. See proc.h. */
#include "common/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "common/body.h"
#include "common/error.h"
#include "common/file.h"
#include "common/map.h"

#define SLOT_BYTE(slot) (MA_FILE_ATTACH_BYTE + 1 + (off_t)(slot))

/* Before the slot is ours in public, inherit what its last holder left: see lock.h and owner.h. */
static void move_in(struct ma_map *map, uint32_t slot)
{
	struct ma_process *p = &map->header->process[slot];

	ma_body_sweep(map, slot);
	ma_store(&p->pid, (uint32_t)getpid());
	ma_store(&p->since, (uint64_t)time(NULL));
	ma_store_release(&map->slot, slot);
}

static uint32_t take_slot(struct ma_map *map)
{
	for (uint32_t slot = 0; slot < MA_PROCESSES; slot++) {
		if (ma_file_lock(map->fd, F_OFD_SETLK, F_WRLCK, SLOT_BYTE(slot), NULL) == 0) {
			move_in(map, slot);
			return slot;
		}
	}
	ma_fail(EUSERS, "%s: all %d process slots are taken by live processes", map->name, MA_PROCESSES);
	return MA_NO_SLOT;
}

uint32_t ma_proc_slot(struct ma_map *map)
{
	uint32_t slot = ma_load_acquire(&map->slot);

	if (MA_LIKELY(slot != MA_NO_SLOT))
		return slot;
	pthread_mutex_lock(&map->mutex);
	slot = ma_load_acquire(&map->slot);
	if (slot == MA_NO_SLOT)
		slot = take_slot(map);
	pthread_mutex_unlock(&map->mutex);
	return slot;
}

bool ma_proc_alive(struct ma_map *map, uint32_t slot)
{
	struct flock found;

	if (slot >= MA_PROCESSES)
		return false;
	if (slot == ma_load(&map->slot))
		return true;
	if (map->fd < 0)
		return false;
	if (ma_file_lock(map->fd, F_OFD_GETLK, F_WRLCK, SLOT_BYTE(slot), &found) < 0)
		return true;
	return found.l_type != F_UNLCK;
}

uint32_t ma_proc_count(struct ma_map *map)
{
	uint32_t alive = 0;

	for (uint32_t slot = 0; slot < MA_PROCESSES; slot++) {
		if (ma_load(&map->header->process[slot].pid)) /* Most were never used: spare the kernel. */
			alive += ma_proc_alive(map, slot);
	}
	return alive;
}
