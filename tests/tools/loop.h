/* SPDX-License-Identifier: BSD-3-Clause */
/* A file system of its own on a loop device, over the folder of the tests, that is shut down as if the power failed. Needs root. */
#ifndef MA_TESTS_TOOLS_LOOP_H
#define MA_TESTS_TOOLS_LOOP_H

#include "tests/support/support.h"

/* In a child: a disk of this file system and size ("ext4", "40M"), not attached yet. False: it cannot be made and mounted here. */
bool loop_make(const char *fs, const char *size);
bool loop_attach(void);
/* Under another number (st_dev) than loop_make() found. False: cannot. */
bool loop_attach_as_another(void);
void loop_detach(void);
void loop_remove(void);
/* Data that were not written are lost. A process that uses the file system can die of SIGBUS. False: this file system cannot. */
bool loop_shut_down(void);
/* Run this test in a child of its own, in make check-long alone; its status SUPPORT_CANNOT skips. */
void loop_test(support_child_fn *fn, const void *arg);

#endif /* MA_TESTS_TOOLS_LOOP_H */
