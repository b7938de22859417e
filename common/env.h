/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The environment, as it was when the library was loaded. Any thread may change the environment later, and getenv(3) in another thread
 * then reads freed memory: so no code of ours calls getenv(3), and a variable that the program sets later has no effect.
 */
#ifndef MA_ENV_H
#define MA_ENV_H

#include "common/base.h"

/*
 * The value of a variable of one of our libraries (env.c lists their names). NULL: it was not set, or the program has more privileges
 * than its user. The text stays.
 */
const char *ma_env(const char *name);

#endif /* MA_ENV_H */
