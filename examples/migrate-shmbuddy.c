/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What programs for Boost's managed_shared_memory and for shm_alloc do, with libshmbuddy: the fragments of the guides in doc/.
 *
 * usage: migrate-shmbuddy REGION
 */
#include <shm_alloc.h>
#include <shmbuddy.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* [message] */
struct message {
	shm_offt next; /* where Boost has an offset_ptr */
	char text[56];
};

struct box {
	_Atomic shm_offt newest;
};
/* [message] */

/* [open] */
static struct box *open_box(const char *path, shmbuddy_t **region)
{
	shm_offt box;

	*region = shmbuddy_open(path, NULL);
	if (*region == NULL)
		return NULL; /* errno says why */
	box = shmbuddy_find_or_create(*region, "box", sizeof(struct box), NULL, NULL, NULL);
	return shmbuddy_address(*region, box);
}
/* [open] */

/* [post] */
static int post(shmbuddy_t *region, struct box *box, const char *text)
{
	shm_offt offset = shmbuddy_malloc(region, sizeof(struct message));
	struct message *message = shmbuddy_address(region, offset);

	if (message == NULL)
		return -1;
	strncpy(message->text, text, sizeof(message->text) - 1);
	message->text[sizeof(message->text) - 1] = '\0';
	message->next = atomic_load(&box->newest);
	while (!atomic_compare_exchange_weak(&box->newest, &message->next, offset))
		;
	return 0;
}
/* [post] */

/* [legacy] */
static bool legacy(const char *path)
{
	int *number;

	if (!shm_init(NULL, path)) /* the same region, by the original's calls */
		return false;
	number = ptr_calloc(1, sizeof(*number));
	if (number == NULL)
		return false;
	*number = 1;
	shm_free(SHM_ADDR_TO_OFFT(number));
	shm_deinit();
	return true;
}
/* [legacy] */

int main(int argc, char **argv)
{
	shmbuddy_t *region;
	struct box *box;
	size_t count = 0;

	if (argc != 2)
		return fputs("usage: migrate-shmbuddy REGION\n", stderr), 2;
	box = open_box(argv[1], &region);
	if (box == NULL || post(region, box, "hello") != 0)
		return perror(argv[1]), 1;
	for (shm_offt at = atomic_load(&box->newest); at != SHM_NULL; count++) {
		const struct message *message = shmbuddy_address(region, at);

		if (strcmp(message->text, "hello") != 0)
			return 1;
		at = message->next;
	}
	printf("%zu messages\n", count);
	return shmbuddy_check(region, NULL, NULL) != 0 || shmbuddy_close(region) != 0 || !legacy(argv[1]);
}
