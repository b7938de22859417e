/* SPDX-License-Identifier: BSD-3-Clause */
/* shmbuddy_open shmbuddy_malloc shmbuddy_address shmbuddy_casroot shmbuddy_close: A list of messages, newest first. Links are offsets, as each process may have the region at another address. */
#include <shmbuddy.h>
#include <stdio.h>
#include <string.h>

struct message {
	shm_offt next;
	char text[40];
};

int main(void)
{
	shmbuddy_t *region = shmbuddy_open("messages", NULL);
	shm_offt offset = region ? shmbuddy_malloc(region, sizeof(struct message)) : SHM_NULL;
	struct message *message = region ? shmbuddy_address(region, offset) : NULL;
	shm_offt first;
	int done;

	if (message == NULL) {
		fprintf(stderr, "%s\n", shmbuddy_errmsg());
		return 1;
	}
	strcpy(message->text, "hello");
	first = shmbuddy_getroot(region, "newest");
	do
		message->next = first;
	while ((done = shmbuddy_casroot(region, "newest", &first, offset)) == 0);
	for (; message != NULL; message = shmbuddy_address(region, message->next))
		puts(message->text);
	return done == 1 && shmbuddy_close(region) == 0 ? 0 : 1;
}
