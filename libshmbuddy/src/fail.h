/* SPDX-License-Identifier: BSD-3-Clause */
/* How calls that a signal handler may make fail. All others use common/error.h. */
#ifndef SHMBUDDY_FAIL_H
#define SHMBUDDY_FAIL_H

#include <inttypes.h>
#include <stdarg.h>

#include "common/error.h"
#include "region.h"

/* SHMBUDDY_DEBUG as it was when the library was loaded, or when the last region was opened: for calls that have no region. */
extern _Atomic bool shmbuddy__debug;

/* The sentence of this thread's last failure here. False: there was none. Cut off to size bytes. */
bool shmbuddy__failure(char *text, size_t size);
/* The same as data, which lies in text. */
bool shmbuddy__failure_parts(char *text, size_t size, struct ma_error *error);
void shmbuddy__failure_clear(void);

#endif /* SHMBUDDY_FAIL_H */
