/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See env.h. What concerns us is copied: programs overwrite the place where the kernel put the environment (setproctitle). The copy is
 * in pages of its own, as this may run before there is a heap: the runners' malloc() is among the callers.
 */
#include "common/env.h"

#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const ours[] = { "QALLOC_",   "MMALLOC_",      "SHMBUDDY_", "XMEMORY_",
				    "MAPALLOC_", "MALLOC_TRACE=", "SHM_FILE=" };

/* "NAME=value" one after the other, each with its final zero; an empty one is the last. */
static const char *copy = "";
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool is_ours(const char *entry)
{
	for (size_t i = 0; i < MA_COUNT(ours); i++)
		if (strncmp(entry, ours[i], strlen(ours[i])) == 0)
			return true;
	return false;
}

static size_t bytes_of_ours(void)
{
	size_t bytes = 0;

	for (char **entry = environ; *entry; entry++)
		if (is_ours(*entry))
			bytes += strlen(*entry) + 1;
	return bytes;
}

static void read_all(void)
{
	size_t bytes = getauxval(AT_SECURE) ? 0 : bytes_of_ours();
	char *to =
		bytes ? mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;

	if (to == MAP_FAILED)
		return;
	copy = to;
	for (char **entry = environ; *entry; entry++)
		if (is_ours(*entry))
			to = stpcpy(to, *entry) + 1;
}

/* Before every constructor without a priority, also those of a program that is linked with the static library. */
__attribute__((constructor(101))) static void at_load(void)
{
	if (environ)
		pthread_once(&once, read_all);
}

const char *ma_env(const char *name)
{
	size_t length = strlen(name);

	at_load();
	for (const char *entry = copy; *entry; entry += strlen(entry) + 1)
		if (strncmp(entry, name, length) == 0 && entry[length] == '=')
			return entry + length + 1;
	return NULL;
}
