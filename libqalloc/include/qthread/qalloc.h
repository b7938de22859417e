/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * @brief <qalloc.h>, where qthreads' programs look for it.
 */
#include <qalloc.h>
