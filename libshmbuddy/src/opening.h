/* SPDX-License-Identifier: BSD-3-Clause */
/* What the steps of opening a region in a file share. */
#ifndef SHMBUDDY_OPENING_H
#define SHMBUDDY_OPENING_H

#include "common/finding.h"
#include "common/regfile.h"
#include "handle.h"

struct opening {
	struct shmbuddy *h;
	struct shmbuddy_options options;
	const struct ma_reporter
		*salvage; /* What would be refused as damaged is salvaged, and this is told. NULL: it is refused. */
};

MA_INLINE bool wants(const struct opening *how, unsigned flag)
{
	return how->options.flags & flag;
}

/* create.c: make the file a region, with the attach byte. f->header is what it gets. 0, or -1 with errno. */
int shmbuddy__create(struct opening *how, struct ma_regfile *f);

#endif /* SHMBUDDY_OPENING_H */
