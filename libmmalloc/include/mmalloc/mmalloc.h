/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * @brief <mmalloc.h>, where programs look for it that have GNU mmalloc's source beside their own.
 */
#include <mmalloc.h>
