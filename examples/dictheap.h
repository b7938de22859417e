/* SPDX-License-Identifier: BSD-3-Clause */
/* What is in the heap, and what the two files of dictheap share. */
#ifndef DICTHEAP_H
#define DICTHEAP_H

#include <mmalloc.h>
#include <stdbool.h>

/* [dict] */
struct dict {
	size_t count;
	char **words; /* in the order of strcmp(); plain pointers, right in every process that attaches the heap */
};
/* [dict] */

/* Exit status of the program. */
int build(const char *path, const char *word_list);

#endif /* DICTHEAP_H */
