/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who is alive? Only the kernel knows: pids lie across containers and after reuse, so every attached process holds
 * open-file-description locks on the map file, through an open file description of its own.
 *
 *   the attach byte   shared: "I am attached". Exclusive: "nobody else is": whoever gets that may create or recover.
 *   one byte a slot   exclusive: "this process slot is mine".
 *
 * The bytes lie far beyond the end of any file. The kernel drops the locks when the last copy of the descriptor is
 * closed, that is, at any kind of death. A fork child gets a copy; ma_map_forked() closes it.
 *
 * A map without a file behind it (private or anonymous) has one attacher, this process, always in slot 0.
 */
#ifndef MA_PROC_H
#define MA_PROC_H

#include "common/base.h"
#include "common/header.h"

struct ma_map;

#define MA_NO_SLOT UINT32_MAX

/* This process's slot in the map, taken at the first call. MA_NO_SLOT with errno EUSERS when all are taken. */
uint32_t ma_proc_slot(struct ma_map *map);

/* May the holder of this slot still act? Errs on the side of yes. */
bool ma_proc_alive(struct ma_map *map, uint32_t slot);

/* How many slots are alive. */
uint32_t ma_proc_count(struct ma_map *map);

#endif /* MA_PROC_H */
