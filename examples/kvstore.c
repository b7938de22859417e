/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A key-value store that several processes change at once, each of which may be killed at any instruction: lock, build what is new
 * where nobody looks, commit with one store, unlock. What a killed process had not committed never happened; so there is
 * nothing to repair when the next one gets the lock with EOWNERDEAD.
 */
#include <errno.h>
#include <qalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 64

/* [store] */
struct entry {
	struct entry *next;
	size_t key_bytes; /* with the closing zero; the value follows */
	char key[];
};

struct store {
	struct qalloc_lock lock;
	struct entry *_Atomic buckets[BUCKETS];
};
/* [store] */

/* Where the link to this key's entry is, or will be. */
static struct entry *_Atomic *find(struct store *store, const char *key)
{
	unsigned hash = 5381;
	struct entry *_Atomic *link;

	for (const char *c = key; *c != '\0'; c++)
		hash = hash * 33 + (unsigned char)*c;
	link = &store->buckets[hash % BUCKETS];
	while (*link != NULL && strcmp((*link)->key, key) != 0)
		link = (struct entry * _Atomic *)(void *)&(*link)->next;
	return link;
}

/* [lock] */
static int lock(void *map, struct store *store)
{
	int error = qalloc_lock(map, &store->lock);

	return error == EOWNERDEAD ? 0 : error; /* its holder is dead, and the store is as its last commit left it */
}
/* [lock] */

/* [set] */
static int set(void *map, struct store *store, const char *key, const char *value)
{
	struct entry *_Atomic *link = find(store, key);
	struct entry *old = *link;
	size_t key_bytes = strlen(key) + 1;
	struct entry *new = qalloc_malloc(map, sizeof(*new) + key_bytes + strlen(value) + 1);

	if (new == NULL)
		return -1;
	new->next = old == NULL ? NULL : old->next;
	new->key_bytes = key_bytes;
	memcpy(new->key, key, key_bytes);
	strcpy(new->key + key_bytes, value);
	*link = new; /* the commit */
	qalloc_free(old, map);
	return 0;
}
/* [set] */

static const char *get(struct store *store, const char *key)
{
	struct entry *entry = *find(store, key);

	return entry == NULL ? NULL : entry->key + entry->key_bytes;
}

/* Add 1 to a number, and tell of it when it is done: what was told is never lost. */
static int add(void *map, struct store *store, const char *key)
{
	const char *value;
	char text[24];
	int result;

	if ((errno = lock(map, store)) != 0)
		return -1;
	value = get(store, key);
	snprintf(text, sizeof(text), "%ld", (value == NULL ? 0 : atol(value)) + 1);
	result = set(map, store, key, text);
	qalloc_unlock(map, &store->lock);
	return result == 0 && puts(text) >= 0 && fflush(stdout) == 0 ? 0 : -1;
}

static int set_or_get(void *map, struct store *store, const char *key, const char *value)
{
	int result;

	if ((errno = lock(map, store)) != 0)
		return -1;
	if (value != NULL)
		result = set(map, store, key, value);
	else
		result = (value = get(store, key)) == NULL ? 1 : puts(value) < 0;
	qalloc_unlock(map, &store->lock);
	return result;
}

int main(int argc, char **argv)
{
	void *map = argc < 4 ? NULL : qalloc_makedynmap(4 << 20, NULL, argv[1], 4);
	struct store *store = map ? qalloc_find_or_create(map, "store", sizeof(*store), NULL, NULL, NULL) : NULL;
	int result = 0;

	if (argc < 4)
		return fputs("usage: kvstore MAP set KEY VALUE | get KEY | count KEY TIMES\n", stderr), 2;
	if (store == NULL)
		return perror(argv[1]), 2;
	if (strcmp(argv[2], "count") != 0)
		result = set_or_get(map, store, argv[3], argv[4]);
	for (long i = 0; strcmp(argv[2], "count") == 0 && argv[4] != NULL && i < atol(argv[4]) && result == 0; i++)
		result = add(map, store, argv[3]);
	if (result < 0)
		perror(argv[1]);
	return qalloc_close(map) != 0 || result != 0;
}
