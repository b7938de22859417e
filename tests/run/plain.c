/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An ordinary program for tests/install/runners, which builds it in many ways: with other allocators, with sanitizers, statically, with
 * another C library. Each argument is something that it does; all calls must keep what the C library promises.
 */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what, size_t bytes)
{
	printf("%s of %zu bytes\n", what, bytes);
	exit(1);
}

static void use_one(size_t bytes)
{
	size_t most = 8 * bytes + 64;
	char *text = strdup("a text"), *zeroed = calloc(bytes, 1), *block = malloc(bytes);
	void *aligned = NULL, *other = memalign(64, bytes);

	if (!text || !zeroed || !block || !other || posix_memalign(&aligned, 4096, bytes))
		fail("no block", bytes);
	if (malloc_usable_size(block) < bytes || malloc_usable_size(block) > most ||
	    malloc_usable_size(aligned) < bytes)
		fail("malloc_usable_size()", bytes);
	if ((uintptr_t)other % 64 || (uintptr_t)aligned % 4096 || zeroed[bytes - 1] || strcmp(text, "a text") != 0)
		fail("a wrong block", bytes);
	memset(block, 7, bytes);
	memset(aligned, 8, bytes);
	block = realloc(block, 3 * bytes);
	if (!block || block[0] != 7 || block[bytes - 1] != 7)
		fail("realloc()", bytes);
	free(text), free(zeroed), free(block), free(aligned), free(other);
}

static void *use(void *arg)
{
	for (size_t bytes = 1; bytes < 2000000; bytes = bytes * 3 + 1)
		use_one(bytes);
	return arg;
}

static int use_all(void)
{
	pthread_t thread;
	pid_t child;
	int status;

	if (pthread_create(&thread, NULL, use, NULL) != 0)
		return 2;
	use(NULL);
	pthread_join(thread, NULL);
	child = fork();
	if (child == 0) {
		use(NULL);
		exit(0);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		return 3;
	puts("fine");
	return 0;
}

/* The smallest stack that POSIX allows. */
static int on_small_stack(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	if (pthread_attr_setstacksize(&attr, (size_t)sysconf(_SC_THREAD_STACK_MIN)) != 0 ||
	    pthread_create(&thread, &attr, use, NULL) != 0 || pthread_join(thread, NULL) != 0)
		return 2;
	puts("fine");
	return 0;
}

static void leave(int number)
{
	(void)number;
	_exit(0);
}

/* _exit() in a handler that interrupted malloc() or free(). */
static int leave_in_handler(void)
{
	struct itimerval soon = { { 0, 0 }, { 0, 1 + (getpid() * 7919) % 5000 } };

	signal(SIGVTALRM, leave);
	setitimer(ITIMER_VIRTUAL, &soon, NULL);
	for (size_t i = 1;; i = i % 64 + 1)
		free(malloc(3000 * i));
}

/* A daemon, until somebody removes this file. */
static int become_daemon(const char *until)
{
	if (daemon(1, 0) < 0)
		return 2;
	while (access(until, F_OK) == 0)
		usleep(10000);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "stack") == 0)
		return on_small_stack();
	if (strcmp(what, "handler") == 0)
		return leave_in_handler();
	if (strcmp(what, "daemon") == 0 && argc > 2)
		return become_daemon(argv[2]);
	return use_all();
}
