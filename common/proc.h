/* SPDX-License-Identifier: BSD-3-Clause */
/* Who is alive? Only the kernel knows, by the locks on the bytes of the process slots (slot.h). */
#ifndef MA_PROC_H
#define MA_PROC_H

#include "common/image.h"

/* May the holder of this slot still act? Errs on the side of yes. */
bool ma_proc_alive(struct ma_image *map, uint32_t slot);
/* How many slots are alive. */
uint32_t ma_proc_count(struct ma_image *map);

#endif /* MA_PROC_H */
