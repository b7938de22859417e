/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two descriptors of the heap file's folder, for forks. One is used where the folder's name may lead nowhere, after chroot(2) for
 * example. The other one is a spare: it is closed when a fork's copy of the heap finds no free descriptor.
 *
 * Programs close and reuse numbers that they did not open. So both are checked before each use, and before they are closed.
 */
#ifndef FOLDER_H
#define FOLDER_H

#include "common/base.h"

/* Keep the folder of the file with this name. */
void shim_folder_keep(char *name);
/* The folder's descriptor. -1: there is none, or its number is the program's by now. */
int shim_folder(void);
/* Open the spare if there is none. */
void shim_folder_keep_spare(void);
/* Close the spare. False: there was none, and no descriptor is free now. */
bool shim_folder_give_spare(void);
/* For shim_kept() and shim_kept_is_ours(): 0 is the folder, 1 the spare. */
int *shim_folder_kept(unsigned i);
bool shim_folder_is_ours(unsigned i);

#endif /* FOLDER_H */
