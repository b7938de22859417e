/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disks are mounts in a namespace of the child's own; system calls are caught by a seccomp filter. A hook runs in the handler
 * of the SIGSYS that the filter sends; the mark in the sixth argument lets its own call pass.
 */
#include "tests/support/support_fault.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#define MARK 0x6d61726b

void support_run_or_skip(support_child_fn *fn, const char *what)
{
	int status = support_wait(support_fork(fn, NULL));

	if (WIFSIGNALED(status))
		g_error("the child died of signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) == SUPPORT_CANNOT)
		g_test_skip(what);
	else
		g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

bool support_can(support_child_fn *fn, const char *what)
{
	int status = support_wait(support_fork(fn, NULL));

	if (WIFEXITED(status) && WEXITSTATUS(status) == SUPPORT_CANNOT) {
		g_test_skip(what);
		return false;
	}
	g_assert_cmphex((unsigned)status, ==, 0);
	return true;
}

/* ---- kills in the kernel ---- */

enum { BEFORE, TRACED, BEHIND };
static _Atomic int *phase; /* Of the child; in memory that it shares. */

void support_kernel_from(void)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	atomic_store(phase, TRACED);
}

void support_kernel_to(void)
{
	atomic_store(phase, BEHIND);
}

bool support_kill_in_kernel(support_child_fn *fn, void *arg, size_t k)
{
	pid_t pid;

	if (!phase)
		phase = support_shared(sizeof(*phase));
	atomic_store(phase, BEFORE);
	pid = support_fork(fn, arg);
	g_assert_cmpint(waitpid(pid, NULL, WUNTRACED), ==, pid);
	for (size_t stops = 0; stops < k && atomic_load(phase) < BEHIND; stops += atomic_load(phase) == TRACED) {
		g_assert_cmpint(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), ==, 0);
		g_assert_cmpint(waitpid(pid, NULL, __WALL), ==, pid);
	}
	kill(pid, SIGKILL);
	support_wait(pid);
	return atomic_load(phase) < BEHIND;
}

/* ---- mounts ---- */

static bool own_namespace(void)
{
	int flags = geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS;

	return unshare(flags) == 0 && mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0;
}

bool support_small_disk(const char *options)
{
	return own_namespace() && mount("small", support_dir(), "tmpfs", 0, options) == 0;
}

bool support_disk_readonly(void)
{
	return mount("small", support_dir(), "tmpfs", MS_REMOUNT | MS_RDONLY, NULL) == 0;
}

bool support_no_proc(void)
{
	return own_namespace() && mount("none", "/proc", "tmpfs", 0, "size=4k") == 0;
}

/* ---- space ---- */

uint64_t support_dig(const char *path)
{
	static const char zeros[4096];
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char page[sizeof(zeros)];
	struct stat had, has;

	g_assert_cmpint(fstat(fd, &had), ==, 0);
	for (off_t at = 0; at + (off_t)sizeof(page) <= had.st_size; at += (off_t)sizeof(page)) {
		g_assert_cmpint(pread(fd, page, sizeof(page), at), ==, sizeof(page));
		if (memcmp(page, zeros, sizeof(page)) == 0)
			g_assert_cmpint(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, sizeof(page)), ==,
					0);
	}
	g_assert_cmpint(fstat(fd, &has), ==, 0);
	close(fd);
	return had.st_blocks > has.st_blocks ? (uint64_t)(had.st_blocks - has.st_blocks) * 512 : 0;
}

void support_fill_disk(const char *path)
{
	static const char junk[65536];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	g_assert_cmpint(fd, >=, 0);
	for (size_t bytes = sizeof(junk); bytes >= 4096; bytes /= 2)
		while (write(fd, junk, bytes) > 0)
			;
	close(fd);
}

/* ---- system calls ---- */

static bool install(struct sock_filter *code, size_t count)
{
	struct sock_fprog program = { .len = (unsigned short)count, .filter = code };

	if (support_valgrind())
		return false;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

bool support_make_fail(long nr, int arg1, int error)
{
	const uint32_t any = arg1 < 0;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | (any ? BPF_JGE : BPF_JEQ) | BPF_K, any ? 0 : (uint32_t)arg1, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	return install(code, G_N_ELEMENTS(code));
}

#ifdef __x86_64__
static support_hook_fn *hook;
static long hooked;

static void on_sigsys(int signal, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	long args[6] = { regs[REG_RDI], regs[REG_RSI], regs[REG_RDX], regs[REG_R10], regs[REG_R8], 0 };
	int saved = errno;

	(void)signal, (void)info;
	regs[REG_RAX] = hook(args);
	errno = saved;
}

bool support_hook(long nr, support_hook_fn *fn)
{
	struct sigaction action = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MARK, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	hook = fn;
	hooked = nr;
	return sigaction(SIGSYS, &action, NULL) == 0 && install(code, G_N_ELEMENTS(code));
}

long support_real(const long args[6])
{
	long result = syscall(hooked, args[0], args[1], args[2], args[3], args[4], (long)MARK);

	return result < 0 ? -errno : result;
}
#else
bool support_hook(long nr, support_hook_fn *fn)
{
	(void)nr, (void)fn;
	return false;
}

long support_real(const long args[6])
{
	(void)args;
	return -ENOSYS;
}
#endif
