/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The signals that usually end a program: SIGTERM, SIGINT, SIGHUP. Where the program leaves one at its default, which is to end, a handler
 * of ours is in its place: it closes the back end, and then the signal ends the process as it would have. A process that waits for it sees
 * the same status.
 *
 * The program never sees that handler: what it asks for says SIG_DFL, and what it sets counts. Signals that it catches, ignores or blocks
 * do what they always do. A disposition that is set by a system call of the program's own is not seen here.
 */
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What glibc exports beside sigaction(), which is the name that is defined here. */
int __sigaction(int number, const struct sigaction *wanted, struct sigaction *was);

typedef void (*handler_fn)(int number);
typedef handler_fn set_fn(int number, handler_fn handler);

static const int watched[] = { SIGTERM, SIGINT, SIGHUP };
/* As the program set it, while it is SIG_DFL. */
static struct sigaction given[MA_COUNT(watched)];
static _Atomic bool active;

/* ---- the end ---- */

/* raise() believes what the C library remembers of this thread, which a child by vfork() shares with its parent. */
static void end_by(int number)
{
	const struct sigaction usual = { .sa_handler = SIG_DFL };
	sigset_t set;

	__sigaction(number, &usual, NULL);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	syscall(SYS_tgkill, syscall(SYS_getpid), syscall(SYS_gettid), number);
}

static void on_end(int number)
{
	int saved = errno;

	if (shim_is_this_process())
		shim_end();
	end_by(number);
	errno = saved;
}

/* ---- which no process sees ---- */

/* -1: not watched. */
static int index_of(int number)
{
	for (size_t i = 0; i < MA_COUNT(watched); i++)
		if (watched[i] == number)
			/* Pairs with run/signals.c:shim_watch_signals. */
			return ma_load_acquire(&active) ? (int)i : -1;
	return -1;
}

static void install(int number)
{
	struct sigaction ours = { .sa_handler = on_end, .sa_flags = SA_ONSTACK };

	sigfillset(&ours.sa_mask);
	__sigaction(number, &ours, NULL);
}

/* Before the C library looks at the disposition, and after. */
static void hide(int i)
{
	struct sigaction now;

	if (i >= 0 && __sigaction(watched[i], NULL, &now) == 0 && now.sa_handler == on_end)
		__sigaction(watched[i], &given[i], NULL);
}

static void show(int i)
{
	struct sigaction now;

	if (i < 0 || __sigaction(watched[i], NULL, &now) < 0 || now.sa_handler != SIG_DFL)
		return;
	given[i] = now;
	install(watched[i]);
}

/* As the program would without us: another preloaded library may look at it. */
static int set_action(int number, const struct sigaction *wanted, struct sigaction *was)
{
	return shim_next.sigaction ? shim_next.sigaction(number, wanted, was) : __sigaction(number, wanted, was);
}

/* In one step, so that no moment is without a handler. */
SHIM_EXPORT int sigaction(int number, const struct sigaction *wanted, struct sigaction *was)
{
	int i = index_of(number), result;
	struct sigaction ours = { .sa_handler = on_end, .sa_flags = SA_ONSTACK }, before, wish;

	if (i < 0)
		return set_action(number, wanted, was);
	sigfillset(&ours.sa_mask);
	if (wanted)
		wish = *wanted;
	result = set_action(number, wanted && wish.sa_handler == SIG_DFL ? &ours : wanted, &before);
	if (result < 0)
		return result;
	if (was)
		*was = before.sa_handler == on_end ? given[i] : before;
	if (wanted && wish.sa_handler == SIG_DFL)
		given[i] = wish;
	return result;
}

/* ---- older calls ---- */

static set_fn *real_signal, *real_bsd_signal, *real_ssignal, *real_sysv_signal, *real__sysv_signal, *real_sigset;
static int (*real_sigignore)(int number);
static int (*real_siginterrupt)(int number, int flag);

/* dlsym() gives an object's address, which C does not turn into a function's. */
static void find(void *function, const char *name)
{
	void *at = dlsym(RTLD_NEXT, name);

	memcpy(function, &at, sizeof(at));
}

static handler_fn set(set_fn **real, const char *name, int number, handler_fn handler)
{
	int i = index_of(number);
	handler_fn was;

	if (!*real)
		find(real, name);
	hide(i);
	was = (*real)(number, handler);
	show(i);
	return was;
}

#define SET_CALL(name)                                              \
	handler_fn name(int number, handler_fn handler);            \
	SHIM_EXPORT handler_fn name(int number, handler_fn handler) \
	{                                                           \
		return set(&real_##name, #name, number, handler);   \
	}

#define real___sysv_signal real__sysv_signal

SET_CALL(signal)
SET_CALL(bsd_signal)
SET_CALL(ssignal)
SET_CALL(sysv_signal)
SET_CALL(__sysv_signal)
SET_CALL(sigset)

int sigignore(int number);
SHIM_EXPORT int sigignore(int number)
{
	int i = index_of(number), result;

	if (!real_sigignore)
		find(&real_sigignore, "sigignore");
	hide(i);
	result = real_sigignore(number);
	show(i);
	return result;
}

int siginterrupt(int number, int flag);
SHIM_EXPORT int siginterrupt(int number, int flag)
{
	int i = index_of(number), result;

	if (!real_siginterrupt)
		find(&real_siginterrupt, "siginterrupt");
	hide(i);
	result = real_siginterrupt(number, flag);
	show(i);
	return result;
}

/* ---- beginning ---- */

/* Looked up now: signal() may be called in a signal handler, dlsym() may not. */
static void find_all(void)
{
	find(&real_signal, "signal");
	find(&real_bsd_signal, "bsd_signal");
	find(&real_ssignal, "ssignal");
	find(&real_sysv_signal, "sysv_signal");
	find(&real__sysv_signal, "__sysv_signal");
	find(&real_sigset, "sigset");
	find(&real_sigignore, "sigignore");
	find(&real_siginterrupt, "siginterrupt");
}

/* The first process of a container is ended by no signal that it leaves at its default: there nothing is to be done. */
void shim_watch_signals(void)
{
	if (getpid() == 1)
		return;
	find_all();
	ma_store_release(&active, true); /* Pairs with run/signals.c:index_of. */
	for (size_t i = 0; i < MA_COUNT(watched); i++)
		show((int)i);
}
