/* SPDX-License-Identifier: BSD-3-Clause */
/* qalloc_makestatmap qalloc_statmalloc qalloc_loadmap qalloc_free qalloc_setroot: Items of one size: the newest one stays, the one before it is freed. */
#include <qalloc.h>
#include <stdio.h>
#include <time.h>

struct sample {
	time_t when;
	double value;
};

int main(void)
{
	size_t size = sizeof(struct sample);
	mapinfo_t *map = qalloc_makestatmap(1 << 20, NULL, "samples.map", size, 1);
	struct sample *old, *sample;

	/* Another process would load the map; in this one that returns the same handle. */
	if (map == NULL || qalloc_loadmap("samples.map") != map)
		return 1;
	old = qalloc_getroot(map, "newest");
	sample = qalloc_statmalloc(map);
	if (sample == NULL)
		return 1;
	*sample = (struct sample){ .when = time(NULL), .value = old ? old->value + 1 : 0 };
	if (qalloc_setroot(map, "newest", sample) < 0)
		return 1;
	qalloc_free(old, map); /* as free(), it takes NULL */
	printf("%g\n", sample->value);
	qalloc_close(map);
	return qalloc_close(map); /* opened twice, closed twice */
}
