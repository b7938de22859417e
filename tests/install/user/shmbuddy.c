/* SPDX-License-Identifier: BSD-3-Clause */
#include <shmbuddy.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	shmbuddy_t *region = argc == 2 ? shmbuddy_open(argv[1], NULL) : NULL;
	shm_offt block;

	if (!region) {
		perror("shmbuddy_open");
		return 1;
	}
	block = shmbuddy_malloc(region, 100);
	if (block == SHM_NULL) {
		perror("shmbuddy_malloc");
		return 1;
	}
	strcpy((char *)shmbuddy_address(region, block), "text");
	return shmbuddy_free(region, block) != 0 || shmbuddy_close(region) != 0;
}
