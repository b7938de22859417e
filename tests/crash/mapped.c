/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/mapped.h"

#include <inttypes.h>
#include <stdio.h>

void mapped_read(GArray *parts, pid_t pid)
{
	char path[32], line[512], shared;
	struct mapped_part part;
	FILE *maps;

	g_snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	g_assert_nonnull(maps);
	g_array_set_size(parts, 0);
	/* The rest of a line that is longer is no range: it has no such numbers. */
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*3c%c %zx %*s %lu", &part.begin, &part.end, &shared,
			   &part.offset, &part.ino) == 5 &&
		    shared == 's')
			g_array_append_val(parts, part);
	}
	fclose(maps);
}

const struct mapped_part *mapped_find(const GArray *parts, uintptr_t at, size_t bytes)
{
	for (guint i = 0; i < parts->len; i++) {
		const struct mapped_part *part = &g_array_index(parts, struct mapped_part, i);

		if (at < part->end && at + bytes > part->begin)
			return part;
	}
	return NULL;
}
