/* SPDX-License-Identifier: BSD-3-Clause */
/* An old client of the original, as C. */
#include "tests/support/support_shm_client.h"
