/* SPDX-License-Identifier: BSD-3-Clause */
/* Is this still the process that it was? A child that was made without fork's handlers (_Fork(), clone()) notices it here. */
#ifndef MA_PROCESS_H
#define MA_PROCESS_H

#include "common/base.h"

/* 0: this process is such a child, and nothing was done about it yet. */
extern _Atomic uint32_t *ma_process_mark;

/* From now on a child that finds its mark 0 calls this (ma_process_notice). Without memory for a mark, such a child is not noticed. */
void ma_process_watch(void (*child)(void));
void ma_process_notice(void);

#endif /* MA_PROCESS_H */
