// SPDX-License-Identifier: BSD-3-Clause
//
// The same client as C++.
#include "tests/support/support_shm_client.h"
