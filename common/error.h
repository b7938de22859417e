/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The debug channel: one line a failure on stderr when <LIB>_DEBUG is set and not "0".
 * MA_LIBRARY is the library's name, given by the build of each archive.
 */
#ifndef MA_ERROR_H
#define MA_ERROR_H

#include "common/base.h"

/* Explain a failure (when asked to), set errno to err, return -1. */
int ma_fail(int err, const char *format, ...) MA_PRINTF(2, 3);

/* The same, for functions that return a pointer. */
#define ma_fail_null(...) ((void)ma_fail(__VA_ARGS__), (void *)NULL)

/* Say something that is no failure. errno stays. */
void ma_debug(const char *format, ...) MA_PRINTF(1, 2);

/* Say it whether anybody asked or not: only where a call is made for that. errno stays. */
void ma_say(const char *format, ...) MA_PRINTF(1, 2);

/* Is <LIB>_what set in the environment, and not "0"? */
bool ma_env_on(const char *what);

/* Is anybody listening? Lets callers skip costly descriptions. */
bool ma_debug_on(void);

#endif /* MA_ERROR_H */
