/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies of files: by reflink where the file system shares blocks, else extent by extent, so that holes stay holes. */
#ifndef TOOLS_COPY_H
#define TOOLS_COPY_H

#include <stdbool.h>
#include <stdint.h>

/* All of from into to, which is empty. -1 with errno. *is_reflink says whether they share their blocks. */
int copy_contents(int from, int to, uint64_t bytes, bool *is_reflink);

/* A new file of this name, which must not be there yet, with that one's contents and mode, on disk. -1 with errno; nothing is left. */
int copy_to_name(int from, const char *name);

#endif /* TOOLS_COPY_H */
