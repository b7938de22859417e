/* SPDX-License-Identifier: BSD-3-Clause */
/* The time, for debug lines. */
#ifndef MA_STAMP_H
#define MA_STAMP_H

#include "common/base.h"

#define MA_STAMP 26

/* The time as text, "2026-11-28T14:47:03.123Z", with no call that takes a lock. Returns its length, below MA_STAMP. */
size_t ma_stamp(char to[MA_STAMP]);

#endif /* MA_STAMP_H */
