/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program from before there was stdlib.h, which declares malloc() and its like itself. tests/install/shims compiles it, with the
 * shims of the header that it names.
 */
extern char *malloc(), *realloc();
extern char *calloc();
extern char *strdup();
extern void free();

struct node {
	struct node *next;
	int key;
};

static struct node *push(list, key) struct node *list;
int key;
{
	struct node *n = (struct node *)malloc(sizeof(struct node));

	n->next = list;
	n->key = key;
	return n;
}

int main()
{
	struct node *list = 0, *next;
	char *p, *q;
	int i, sum = 0;

	for (i = 0; i < 10; i++)
		list = push(list, i);
	p = (char *)calloc(3, (sizeof(int)));
	p = (char *)realloc(realloc(p, 20), 100);
	q = strdup("old");
	if (!IS_OURS(p) || !IS_OURS(q) || !IS_OURS(list) || p[5] != 0 || q[2] != 'd')
		return 1;
	free(p);
	free(q);
	while (list) {
		next = list->next;
		sum += list->key;
		free(list);
		list = next;
	}
	return sum == 45 ? 0 : 2;
}
