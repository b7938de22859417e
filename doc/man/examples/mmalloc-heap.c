/* SPDX-License-Identifier: BSD-3-Clause */
/* mmalloc_attach mmalloc mrealloc mfree mmalloc_getkey mmalloc_setkey mmalloc_detach: An array in a heap that grows. Each run makes it longer by one number. */
#include <fcntl.h>
#include <mmalloc.h>
#include <stdio.h>
#include <unistd.h>

struct array {
	size_t count;
	int number[];
};

int main(void)
{
	int fd = open("array.heap", O_RDWR | O_CREAT, 0600);
	void *md = mmalloc_attach(fd, NULL);
	struct array *array;
	char *scratch;
	size_t count;

	if (md == NULL) {
		fprintf(stderr, "%s\n", mmalloc_errmsg());
		return 1;
	}
	close(fd); /* the heap has a descriptor of its own */
	array = mmalloc_getkey(md, 0);
	count = array ? array->count : 0;
	array = mrealloc(md, array, sizeof(*array) + (count + 1) * sizeof(int));
	scratch = mmalloc(md, 100);
	if (array == NULL || scratch == NULL)
		return 1;
	array->number[count] = (int)count;
	array->count = count + 1;
	mmalloc_setkey(md, 0, array);
	snprintf(scratch, 100, "%zu numbers", array->count);
	puts(scratch);
	mfree(md, scratch);
	return mmalloc_detach(md) == NULL ? 0 : 1;
}
