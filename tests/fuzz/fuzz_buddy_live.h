/* SPDX-License-Identifier: BSD-3-Clause */
/* Live regions, for fuzz_shmbuddy.c. */
#ifndef MA_TESTS_FUZZ_BUDDY_LIVE_H
#define MA_TESTS_FUZZ_BUDDY_LIVE_H

#include "tests/fuzz/fuzz.h"

/* The next live region, with some blocks and roots. */
void fuzz_buddy_live(uint64_t capacity, uint64_t range, uint64_t smallest, uint64_t largest);
/* An input for one. False: it is not. */
bool fuzz_buddy_live_input(struct fuzz_in *in);

#endif /* MA_TESTS_FUZZ_BUDDY_LIVE_H */
