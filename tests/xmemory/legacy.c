/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program as it was written for the original xmemory: the header and nothing else, malloc and its kin by their own names, no
 * error codes. Nothing in it was changed for this library; it is a program, not a GLib test, and prints its own TAP.
 */
#pragma GCC diagnostic ignored "-Wsign-conversion" /* As its time had it. */
#include <xmemory.h>

#define NPTRS 20000

static int tests, failures;

static void ok(int good, char *what)
{
	tests++;
	if (!good)
		failures++;
	printf("%sok %d - /xmemory/legacy/%s\n", good ? "" : "not ", tests, what);
	fflush(stdout);
}

static void median(float *image, float *out, int nx, int ny)
{
	int i, j;

	for (j = 1; j < ny - 1; j++)
		for (i = 1; i < nx - 1; i++)
			out[i + j * nx] = image[i + j * nx];
}

static void images(void)
{
	int nx = 600, ny = 600, i;
	float *image = malloc(nx * ny * sizeof(float));
	float *out = calloc(nx * ny, sizeof(float));
	double sum = 0;

	for (i = 0; i < nx * ny; i++)
		image[i] = (float)(i % 10);
	median(image, out, nx, ny);
	for (i = 0; i < nx * ny; i++)
		sum += out[i];
	ok(sum > 0, "images");
	image = realloc(image, 2 * nx * ny * sizeof(float));
	ok(image != NULL && image[17] == 7, "realloc");
	free(image);
	free(out);
}

static void pointers(void)
{
	static char *ptrs[NPTRS];
	int i, good = 1;

	for (i = 0; i < NPTRS; i++) {
		ptrs[i] = (char *)malloc(10);
		sprintf(ptrs[i], "%d", i);
	}
	for (i = 0; i < NPTRS; i++) {
		if (atoi(ptrs[i]) != i)
			good = 0;
		free(ptrs[i]);
	}
	ok(good, "more than 8192 pointers");
}

static void file_as_memory(void)
{
	FILE *f = fopen("xmemory-legacy.txt", "w");
	size_t s1, s2;
	char *a, *b;

	fprintf(f, "SIMPLE  =                    T");
	fclose(f);
	a = falloc("xmemory-legacy.txt", 0, &s1);
	b = falloc("xmemory-legacy.txt", 10, &s2);
	ok(a && b && !strncmp(a, "SIMPLE", 6), "falloc");
	ok(s1 == 30 && s2 == 20, "falloc's size");
	free(a);
	fdealloc(b, 10, s2);
	remove("xmemory-legacy.txt");
}

int main(void)
{
	char *s = strdup("hello");

	xmemory_on();
	xmemory_settmpdir(".");
	ok(!strcmp(xmemory_gettmpdir(), "."), "tmpdir");
	ok(s && !strcmp(s, "hello"), "strdup");
	free(s);
	ok(malloc(0) == NULL, "malloc(0)");
	images();
	pointers();
	file_as_memory();
	xmemory_status();
	xmemory_diagnostics();
	xmemory_off();
	s = malloc(10);
	free(s);
	xmemory_on();
	printf("1..%d\n", tests);
	return failures != 0;
}
