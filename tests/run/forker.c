/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An ordinary program that forks where it is hard to: the first argument says how. Status 0: each child found its own copy of each
 * block, and nothing that the child did reached the parent. tests/install/forks starts it under both runners.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define BLOCKS 6

/* 9: the test itself cannot. */
#define NEED(what)                    \
	do {                          \
		if (!(what)) {        \
			perror(#what); \
			_exit(9);     \
		}                     \
	} while (0)

static const size_t sizes[BLOCKS] = { 30, 5000, 40000, 300000, 1 << 20, 2000 };

struct blocks {
	unsigned char *at[BLOCKS];
};

static void fill(struct blocks *b, unsigned mark)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		NEED(b->at[i] = malloc(sizes[i]));
		memset(b->at[i], (int)(mark + i), sizes[i]);
	}
}

static int is_whole(const struct blocks *b, unsigned mark)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		for (size_t k = 0; k < sizes[i]; k++)
			if (b->at[i][k] != (unsigned char)(mark + i))
				return 0;
	return 1;
}

static void drop(struct blocks *b)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		free(b->at[i]);
}

/* Of _Fork() beside other threads: the C library's own locks may be theirs. */
static _Thread_local int only_looks;

/* 3: not what the parent had. */
static void be_child(struct blocks *b, unsigned mark)
{
	struct blocks mine;

	if (!is_whole(b, mark))
		_exit(3);
	if (only_looks)
		_exit(0);
	for (unsigned i = 0; i < BLOCKS; i++)
		memset(b->at[i], 200, sizes[i]);
	drop(b);
	fill(&mine, 100);
	_exit(is_whole(&mine, 100) ? 0 : 4);
}

typedef pid_t fork_fn(void);

static int fork_once(fork_fn *how, unsigned mark)
{
	struct blocks b;
	int status = -1;
	pid_t pid;

	fill(&b, mark);
	pid = how();
	if (pid == 0)
		be_child(&b, mark);
	if (pid < 0) {
		perror("fork");
		return 1;
	}
	waitpid(pid, &status, 0);
	if (status)
		fprintf(stderr, "the child ended with status %#x\n", (unsigned)status);
	if (!is_whole(&b, mark)) {
		fprintf(stderr, "the parent's blocks changed\n");
		return 1;
	}
	drop(&b);
	return status != 0;
}

static void *fork_often(void *arg)
{
	long bad = 0;

	for (unsigned i = 0; i < 15; i++) {
		only_looks = i % 3 == 0;
		bad += fork_once(only_looks ? _Fork : fork, (unsigned)(long)arg * 8);
	}
	return (void *)bad;
}

static int threads(void)
{
	pthread_t thread[4];
	void *bad;
	int sum = 0;

	for (long i = 0; i < 4; i++)
		NEED(pthread_create(&thread[i], NULL, fork_often, (void *)i) == 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &bad);
		sum += (int)(long)bad;
	}
	return sum;
}

/* ---- on a stack in a block ---- */

static ucontext_t here, there;
static int result;
static pid_t (*fork_how)(void) = fork;

static void on_stack(void)
{
	volatile unsigned char local[500];
	int status = -1;
	pid_t pid;

	for (unsigned i = 0; i < sizeof(local); i++)
		local[i] = (unsigned char)i;
	for (int round = 0; round < 20; round++) {
		pid = fork_how();
		for (unsigned i = 0; i < sizeof(local); i++)
			if (local[i] != (unsigned char)i)
				_exit(3);
		if (pid == 0) {
			memset((void *)(unsigned long)local, 5, sizeof(local));
			_exit(fork_once(fork, 7)); /* From the copy of the stack, a grandchild. */
		}
		waitpid(pid, &status, 0);
		result |= status;
	}
}

static int stack(void)
{
	size_t bytes = 300000;

	getcontext(&there);
	NEED(there.uc_stack.ss_sp = malloc(bytes));
	there.uc_stack.ss_size = bytes;
	there.uc_link = &here;
	makecontext(&there, on_stack, 0);
	swapcontext(&here, &there);
	if (result)
		fprintf(stderr, "status %#x\n", (unsigned)result);
	return result != 0;
}

/* With the stack, the thread's control block lies there, to which the C library writes in a child: no fork is possible, nor any harm. */
static void *on_thread_stack(void *arg)
{
	pthread_mutex_t mutex = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
	char *block;

	(void)arg;
	for (int round = 0; round < 20; round++) {
		errno = 0;
		if ((round & 1 ? fork : _Fork)() != -1 || errno != ENOTSUP)
			return "forked";
		if (pthread_mutex_lock(&mutex) || mutex.__data.__owner != (int)syscall(SYS_gettid) || raise(SIGURG))
			return "another thread's id";
		pthread_mutex_unlock(&mutex);
		NEED(block = malloc(5000));
		free(block);
	}
	return NULL;
}

static int thread_stack(void)
{
	size_t bytes = 300000;
	pthread_attr_t attributes;
	pthread_t thread;
	void *stack = aligned_alloc(64, bytes / 64 * 64), *bad;

	NEED(stack && pthread_attr_init(&attributes) == 0 &&
	     pthread_attr_setstack(&attributes, stack, bytes / 64 * 64) == 0);
	NEED(pthread_create(&thread, &attributes, on_thread_stack, NULL) == 0 && pthread_join(thread, &bad) == 0);
	if (bad)
		fprintf(stderr, "%s\n", (char *)bad);
	return bad != NULL;
}

/* ---- out of a signal handler ---- */

static volatile sig_atomic_t forks, died;

static void handler(int signal)
{
	int status = -1;
	pid_t pid;

	(void)signal;
	pid = fork();
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, &status, 0);
	died += status != 0;
	forks++;
}

static int in_handler(void)
{
	struct itimerval once = { { 0, 0 }, { 0, 0 } };
	struct blocks b;
	int good = 1;

	signal(SIGALRM, handler);
	for (unsigned round = 0; forks < 100 && good; round++) {
		once.it_value.tv_usec = 1 + round * 37 % 1000; /* Anywhere in the round; one signal for each, however long a fork takes. */
		setitimer(ITIMER_REAL, &once, NULL);
		fill(&b, 1);
		good = is_whole(&b, 1);
		drop(&b);
	}
	once.it_value.tv_usec = 0;
	setitimer(ITIMER_REAL, &once, NULL);
	fprintf(stderr, "%d forks in a handler, %d children died\n", (int)forks, (int)died);
	return !good || died;
}

/* ---- without ---- */

static void limit(__rlimit_resource_t what, rlim_t value)
{
	const struct rlimit most = { value, value };

	NEED(setrlimit(what, &most) == 0);
}

static void no_descriptor(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	while (fd >= 0);
}

/* ---- descriptors ---- */

#define NUMBERS 1100

/* Open file descriptions are told apart by a number that the kernel keeps for each. */
static int mark_of(int fd)
{
	return 1 + fd % 61;
}

/* Directories of this program get all numbers that the library had: the root, and the heap's own directory. */
static void take_numbers(const char *directory, unsigned char *taken)
{
	for (int fd = 3; fd < NUMBERS; fd++)
		taken[fd] = fcntl(fd, F_GETFD) >= 0;
	NEED(syscall(SYS_close_range, 3u, ~0u, 0u) == 0);
	for (int fd = 3; fd < NUMBERS; fd++) {
		int mine;

		if (!taken[fd])
			continue;
		NEED((mine = open(fd % 2 ? directory : "/", O_RDONLY | O_DIRECTORY)) >= 0);
		if (mine != fd)
			NEED(syscall(SYS_dup3, mine, fd, 0) == fd && syscall(SYS_close, mine) == 0);
		NEED(fcntl(fd, F_SETSIG, mark_of(fd)) == 0);
	}
}

/* A fork copies the heap, first with descriptors to spare and then with none. None of this program's is closed for it, or becomes another. */
static int taken(const char *directory)
{
	unsigned char taken[NUMBERS];
	int bad, status = -1;

	take_numbers(directory, taken);
	bad = fork_once(fork, 1) + fork_once(_Fork, 9);
	limit(RLIMIT_NOFILE, 40);
	no_descriptor();
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0); /* It may have no copy of the heap. */
		waitpid(pid, &status, 0);
		bad += status != 0;
	}
	for (int fd = 3; fd < NUMBERS; fd++) {
		if (taken[fd] && (fcntl(fd, F_GETSIG) != mark_of(fd) || close(fd) < 0)) {
			fprintf(stderr, "the program's descriptor %d is lost\n", fd);
			bad++;
		}
	}
	return bad;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	struct blocks before;
	int bad;

	fill(&before, 50);
	if (!strcmp(how, "threads"))
		return threads() != 0;
	if (!strcmp(how, "stack"))
		return stack();
	if (!strcmp(how, "bare-stack")) {
		fork_how = _Fork;
		return stack();
	}
	if (!strcmp(how, "thread-stack"))
		return thread_stack() || fork_once(fork, 1) || fork_once(_Fork, 9) || !is_whole(&before, 50);
	if (!strcmp(how, "handler"))
		return in_handler();
	if (!strcmp(how, "taken"))
		return taken(argv[2]) != 0;
	if (!strcmp(how, "setuid"))
		NEED(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
	else if (!strcmp(how, "chroot"))
		NEED(mkdir("empty", 0755) == 0 && chroot("empty") == 0 && chdir("/") == 0);
	else if (!strcmp(how, "gone"))
		NEED(rename(argv[2], "elsewhere") == 0);
	else if (!strcmp(how, "nofile"))
		limit(RLIMIT_NOFILE, 40), no_descriptor();
	else if (strcmp(how, "plain"))
		return 9;
	bad = fork_once(fork, 1) + fork_once(_Fork, 9);
	return bad || !is_whole(&before, 50);
}
