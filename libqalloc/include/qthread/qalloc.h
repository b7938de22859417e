/* SPDX-License-Identifier: BSD-3-Clause */
/* Where qthreads' programs look for it. */
#include <qalloc.h>
