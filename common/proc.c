/* SPDX-License-Identifier: BSD-3-Clause */
/* See proc.h. */
#include "common/proc.h"

#include "common/image_fd.h"
#include "common/slot.h"

bool ma_proc_alive(struct ma_image *map, uint32_t slot)
{
	int fd;

	if (slot >= map->lay.processes)
		return false;
	if (slot == ma_load(&map->slot))
		return true;
	if (map->fd < 0)
		return false;
	fd = ma_image_fd(map);
	return fd < 0 || ma_slot_is_held(map, fd, slot);
}

uint32_t ma_proc_count(struct ma_image *map)
{
	uint32_t alive = 0;

	for (uint32_t slot = 0; slot < map->lay.processes; slot++) {
		if (ma_load(&ma_slot_row(map, slot)->pid)) /* Most were never used: spare the kernel. */
			alive += ma_proc_alive(map, slot);
	}
	return alive;
}
