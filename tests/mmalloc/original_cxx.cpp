// SPDX-License-Identifier: BSD-3-Clause
// The original's client once more, as C++: the header's declarations, the same types, the same behaviour.
#define MAPPING_NAME "original-cxx"
#include "tests/mmalloc/original.c"
