/* SPDX-License-Identifier: BSD-3-Clause */
/* The time: of debug lines, and for measuring. */
#ifndef MA_STAMP_H
#define MA_STAMP_H

#include <time.h>

#include "common/base.h"

#define MA_STAMP 26

/* Nanoseconds by this clock. */
uint64_t ma_now_ns(clockid_t clock);

/* The time as text, "2026-11-28T14:47:03.123Z", with no call that takes a lock. Returns its length, below MA_STAMP. */
size_t ma_stamp(char to[MA_STAMP]);

#endif /* MA_STAMP_H */
