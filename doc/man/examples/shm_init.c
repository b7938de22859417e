/* SPDX-License-Identifier: BSD-3-Clause */
/* shm_init shm_malloc shm_free shm_deinit: A block of shared memory for two processes. Its offset means the same in both. */
#include <shm_alloc.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	shm_offt offset;
	int *number, status;

	if (!shm_init(NULL, "region"))
		return 1;
	offset = shm_malloc(sizeof(*number));
	if (offset == SHM_NULL)
		return 1;
	number = SHM_OFFT_TO_ADDR(offset);
	*number = 1;
	if (fork() == 0) {
		++*(int *)SHM_OFFT_TO_ADDR(offset); /* a child shares the region */
		_exit(0);
	}
	wait(&status);
	printf("%d\n", *number);
	status = *number != 2;
	shm_free(offset);
	shm_deinit();
	return status;
}
