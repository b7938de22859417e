/* SPDX-License-Identifier: BSD-3-Clause */
/* Lines on stderr, without malloc and without stdio's buffers. */
#ifndef XMEMORY_SAY_H
#define XMEMORY_SAY_H

#include "common/base.h"

/* One line, errno kept. */
void xmemory__say(const char *format, ...) MA_PRINTF(1, 2);

#endif /* XMEMORY_SAY_H */
