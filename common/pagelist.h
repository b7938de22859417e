/* SPDX-License-Identifier: BSD-3-Clause */
/* A list of pages of a file, as runs. */
#ifndef MA_PAGELIST_H
#define MA_PAGELIST_H

#include "common/base.h"

/* Pages [from, end). */
struct ma_pages {
	uint64_t from, end;
};

struct ma_pagelist {
	struct ma_pages *run; /* To be freed. */
	size_t count, room;
};

/* The pages of bytes [from, end). False: no memory. */
bool ma_pagelist_add(struct ma_pagelist *list, uint64_t from, uint64_t end);
/* In the file's order, and no page twice. */
void ma_pagelist_merge(struct ma_pagelist *list);
/* Instead of what it has: the parts of the first `length` bytes of a file that are no holes. 0, or -1 with errno: ENOMEM, or of lseek(2). */
int ma_pagelist_data(struct ma_pagelist *list, int fd, uint64_t length);

#endif /* MA_PAGELIST_H */
