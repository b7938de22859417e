/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a program for malloc does when its data outgrows the RAM: the fragments of the guides in doc/.
 *
 * usage: migrate-xmemory [MIB]
 */
/* [include] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xmemory.h> /* the last one; nothing below is changed */
/* [include] */

/* [sum] */
static long long sum_of(size_t count)
{
	int *numbers = malloc(count * sizeof(*numbers));
	long long sum = 0;

	if (numbers == NULL)
		return -1; /* neither RAM nor disk */
	for (size_t i = 0; i < count; i++)
		numbers[i] = (int)(i % 1000);
	for (size_t i = 0; i < count; i++)
		sum += numbers[i];
	free(numbers);
	return sum;
}
/* [sum] */

/* [libc] */
static size_t words_of(FILE *in)
{
	char *line = NULL;
	size_t room = 0, words = 0;

	while (getline(&line, &room, in) > 0)
		words += line[0] != '\n';
	(free)(line); /* the C library allocated it: so the C library's free(), which the parentheses name */
	return words;
}
/* [libc] */

int main(int argc, char **argv)
{
	size_t mib = argc == 2 ? strtoul(argv[1], NULL, 10) : 4, count = (mib << 20) / sizeof(int);
	FILE *in = tmpfile();

	xmemory_setlimit((size_t)1 << 20);
	if (in == NULL || fputs("a\n\nb\n", in) < 0 || fseek(in, 0, SEEK_SET) != 0 || words_of(in) != 2)
		return 1;
	fclose(in);
	if (count % 1000 == 0 && sum_of(count) != (long long)(count / 1000) * 499500)
		return 1;
	return sum_of(1000000) == 499500000 ? 0 : 1;
}
