/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Takes blocks, then ends in the way that its argument names: exit, _exit, quick_exit, threads (by SIGTERM, while others allocate), or the
 * number of a signal. caught, ignored and blocked say what SIGTERM does to a program that wants it so; asks prints what the
 * calls that set signals answer.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 1000

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* sigset() and its like, which old programs use. */

static void *volatile blocks[COUNT];
static volatile sig_atomic_t caught;

static void take(void)
{
	for (int i = 0; i < COUNT; i++)
		blocks[i] = malloc((size_t)(20 + i));
}

static void *allocate_for_ever(void *arg)
{
	for (;;) {
		char *block = malloc(100);

		if (!block)
			_exit(3);
		memset(block, 1, 100);
		block = realloc(block, 200);
		free(block);
	}
	return arg;
}

static void with_threads(void)
{
	pthread_t thread;

	for (int i = 0; i < 3; i++)
		pthread_create(&thread, NULL, allocate_for_ever, NULL);
	usleep(20000);
	kill(getpid(), SIGTERM);
	pause();
}

static void on_signal(int number)
{
	caught = number;
}

static const char *name_of(void (*handler)(int))
{
	return handler == SIG_DFL     ? "default"
	       : handler == SIG_IGN   ? "ignored"
	       : handler == SIG_ERR   ? "error"
	       : handler == SIG_HOLD  ? "held"
	       : handler == on_signal ? "mine"
				      : "a stranger's";
}

static void ask(int number)
{
	struct sigaction was = { 0 }, want = { .sa_handler = SIG_DFL, .sa_flags = SA_RESTART | SA_NODEFER };

	printf("signal %d\n", number);
	printf("at first %s, %d\n", sigaction(number, NULL, &was) == 0 ? name_of(was.sa_handler) : "?", was.sa_flags);
	printf("mine, was %s\n", name_of(signal(number, on_signal)));
	raise(number);
	printf("caught %d\n", (int)caught);
	printf("default, was %s\n", name_of(signal(number, SIG_DFL)));
	printf("ignored, was %s\n", name_of(sigset(number, SIG_IGN)));
	raise(number);
	sigaction(number, &want, &was);
	printf("default again, was %s\n", name_of(was.sa_handler));
	sigaction(number, NULL, &was);
	printf("asked for: %s, %d\n", name_of(was.sa_handler), was.sa_flags & (SA_RESTART | SA_NODEFER));
	printf("interrupts: %d\n", siginterrupt(number, 1));
	sigaction(number, NULL, &was);
	printf("asked for: %s, %d\n", name_of(was.sa_handler), was.sa_flags & SA_RESTART);
	printf("ignored: %d\n", sigignore(number));
	sigaction(number, NULL, &was);
	printf("asked for: %s\n", name_of(was.sa_handler));
	printf("default, was %s\n", name_of(signal(number, SIG_DFL)));
	printf("wrong: %s %d\n", name_of(signal(1000, on_signal)), errno == EINVAL);
}

/* Like a shell: what a child that is killed looks like to its parent. */
static void ask_child(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		blocks[0] = malloc(100);
		kill(getpid(), SIGHUP);
		pause();
	}
	waitpid(pid, &status, 0);
	printf("child: by signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	pid = vfork();
	if (pid == 0) {
		kill(getpid(), SIGTERM);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	printf("child by vfork: by signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	blocks[1] = malloc(100); /* The heap is this process's still. */
}

static int stay(const char *how)
{
	sigset_t set;
	int number = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	if (strcmp(how, "caught") == 0)
		signal(SIGTERM, on_signal);
	else if (strcmp(how, "ignored") == 0)
		signal(SIGTERM, SIG_IGN);
	else
		sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGTERM);
	if (strcmp(how, "blocked") == 0)
		sigwait(&set, &number);
	take();
	printf("%s: %d %d\n", how, (int)caught, number);
	return 5;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "exit";

	take();
	if (strcmp(how, "_exit") == 0)
		_exit(7);
	if (strcmp(how, "quick_exit") == 0)
		quick_exit(7);
	if (strcmp(how, "threads") == 0)
		with_threads();
	if (strcmp(how, "caught") == 0 || strcmp(how, "ignored") == 0 || strcmp(how, "blocked") == 0)
		return stay(how);
	if (strcmp(how, "asks") == 0) {
		ask(SIGTERM);
		ask(SIGINT);
		ask(SIGHUP);
		ask(SIGUSR1);
		fflush(stdout);
		ask_child();
		return 0;
	}
	if (atoi(how)) {
		raise(atoi(how));
		return 1;
	}
	return 7;
}
