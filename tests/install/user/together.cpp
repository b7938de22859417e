/* SPDX-License-Identifier: BSD-3-Clause */
/* All libraries in one program, which is C++. */
#include <cstdio>
#include <cstdlib>

#include <mmalloc.h>
#include <qalloc.h>
#include <shmbuddy.h>
#define XMEMORY_NO_SHIMS
#include <xmemory.h>

int main(int argc, char **argv)
{
	void *map = argc == 2 ? qalloc_makedynmap(1 << 20, nullptr, argv[1], 2) : nullptr;
	void *heap = mmalloc_attach(-1, nullptr);
	shmbuddy_t *region = shmbuddy_open("together.region", nullptr);

	if (!map || !heap || !region) {
		std::perror("together");
		return 1;
	}
	void *block = qalloc_malloc(map, 100);
	void *other = mmalloc(heap, 100);
	shm_offt offset = shmbuddy_malloc(region, 100);
	void *third = xmemory_malloc(100, __FILE__, __LINE__);

	if (!block || !other || offset == SHM_NULL || !third)
		return 1;
	qalloc_free(block, map);
	mfree(heap, other);
	xmemory_free(third, __FILE__, __LINE__);
	if (shmbuddy_free(region, offset) != 0 || shmbuddy_close(region) != 0)
		return 1;
	return mmalloc_detach(heap) != nullptr || qalloc_close(map) != 0;
}
