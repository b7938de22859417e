/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * System calls that fail, are interrupted, or come while another process makes the region: the errno that shmbuddy.h documents, nothing left
 * behind, and a region that goes on. tests/README.md has the table.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_fault.h"

static const struct shmbuddy_options look = { .flags = SHMBUDDY_RDONLY };
static int fault_error;

/* --- system calls that fail --- */

struct fault {
	long call;
	int errors[3];
};

static const struct fault *fault;

static int make_with_fault(void *arg)
{
	const char *path = support_path("fault");

	(void)arg;
	if (!support_make_fail(fault->call, -1, fault_error))
		return SUPPORT_CANNOT;
	buddy_is_not_made(path, fault_error);
	/* What the caller made stays his, and empty. */
	close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	buddy_fails(fault_error, !shmbuddy_open(path, NULL));
	g_assert_cmpint(support_file_size(path), ==, 0);
	return 0;
}

static void making_fails(void)
{
	static const struct fault faults[] = {
		{ SYS_fallocate, { EIO, ENOSPC, EDQUOT } }, { SYS_ftruncate, { EIO, ENOSPC, EPERM } },
		{ SYS_pwrite64, { EIO, ENOSPC, EDQUOT } },  { SYS_pread64, { EIO } },
		{ SYS_mmap, { ENOMEM, ENODEV } },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
		for (size_t k = 0; k < 3 && faults[i].errors[k]; k++) {
			if (faults[i].call == SYS_mmap && (support_asan() || support_tsan()))
				continue; /* They map for themselves. */
			fault = &faults[i];
			fault_error = faults[i].errors[k];
			support_run_or_skip(make_with_fault, "no seccomp filter here");
		}
	}
}

/* Parts that had no space yet; copies, whose space may be lost; the header's, of who opens a copy; msync. */
static int use_with_fault(void *arg)
{
	const char *path = support_path("use"), *copy = support_path("copy");
	shmbuddy_t *region = buddy_open(path, 64 * MIB, 32, 4 * MIB);
	shm_offt block = shmbuddy_malloc(region, 1000);

	(void)arg;
	support_file_copy(path, copy);
	support_dig(copy);
	if (!support_make_fail(SYS_fallocate, -1, fault_error) || !support_make_fail(SYS_msync, -1, EIO))
		return SUPPORT_CANNOT;
	buddy_fails(fault_error, !shmbuddy_malloc(region, 4 * MIB));
	buddy_fails(fault_error, !shmbuddy_calloc(region, 4, MIB));
	buddy_fails(fault_error, !shmbuddy_realloc(region, block, 4 * MIB));
	g_assert_cmpuint(shmbuddy_usable_size(region, block), ==, 1024);
	buddy_fails(EIO, shmbuddy_sync(region) == -1);
	buddy_fails(fault_error, !shmbuddy_open(copy, NULL));
	buddy_goes_on(buddy_open(path, 0, 0, 0)); /* Beside another one: only the first opener looks for lost space. */
	buddy_close(region);
	if (!support_make_fail(SYS_pread64, -1, EIO))
		return SUPPORT_CANNOT;
	buddy_fails(EIO, !shmbuddy_open(path, NULL));
	buddy_fails(EIO, !shmbuddy_open(path, &look));
	buddy_fails(EIO, shmbuddy_unlink(path) == -1);
	return 0;
}

static void using_fails(void)
{
	static const int errors[] = { EIO, ENOSPC, EDQUOT };

	for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
		fault_error = errors[i];
		support_run_or_skip(use_with_fault, "no seccomp filter here");
	}
}

static int calls;
static long interrupted;

static long interrupted_twice(const long args[6])
{
	return calls++ % 3 < 2 ? -EINTR : support_real(args);
}

static int make_interrupted(void *arg)
{
	shmbuddy_t *region;

	(void)arg;
	calls = 0;
	if (!support_hook(interrupted, interrupted_twice))
		return SUPPORT_CANNOT;
	region = buddy_open(support_path("eintr"), 16 * MIB, 32, 4 * MIB);
	g_assert_cmpuint(shmbuddy_malloc(region, 4 * MIB), !=, SHM_NULL);
	g_assert_cmpint(calls, >, 2);
	buddy_close(region);
	return 0;
}

static void interruptions(void)
{
	static const long numbers[] = { SYS_fallocate, SYS_ftruncate, SYS_fcntl };

	for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
		interrupted = numbers[i];
		support_run_or_skip(make_interrupted, "no seccomp filter here, or not an x86-64");
	}
}

static const char *meanwhile;
static char *sound;
static size_t sound_bytes;

/* Read as empty; and before anything else is asked, it is somebody's region. */
static long made_after_reading(const long args[6])
{
	long result = support_real(args);
	int fd;

	if (calls++ == 0) {
		fd = open(meanwhile, O_WRONLY | O_CLOEXEC);
		if (result != 0 || write(fd, sound, sound_bytes) != (ssize_t)sound_bytes)
			return -EIO;
		close(fd);
	}
	return result;
}

static int open_while_made(void *arg)
{
	const char *path = support_path("sound");
	shmbuddy_t *region = buddy_open(path, 64 * KIB, 32, 1024);

	(void)arg;
	g_assert_cmpint(shmbuddy_setroot(region, "made meanwhile", shmbuddy_malloc(region, 1)), ==, 0);
	buddy_close(region);
	sound = support_file_read(path, &sound_bytes);
	meanwhile = support_path("meanwhile");
	support_file_write(meanwhile, "", 0);
	calls = 0;
	if (!support_hook(SYS_pread64, made_after_reading))
		return SUPPORT_CANNOT;
	region = buddy_open(meanwhile, 0, 0, 0);
	g_assert_cmpuint(shmbuddy_getroot(region, "made meanwhile"), !=, SHM_NULL);
	buddy_close(region);
	return 0;
}

static void made_meanwhile(void)
{
	support_run_or_skip(open_while_made, "no seccomp filter here, or not an x86-64");
}

static void half_made_for_long(void)
{
	const char *path = support_path("half");
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int holder;

	support_watchdog(2 * SUPPORT_HUNG_SECONDS);
	support_file_write(path, "", 0);
	holder = open(path, O_RDWR | O_CLOEXEC);
	g_assert_cmpint(fcntl(holder, F_OFD_SETLK, &all), ==, 0);
	buddy_fails(EAGAIN, !shmbuddy_open(path, NULL));
	close(holder);
	buddy_goes_on(buddy_open(path, 64 * KIB, 32, 1024));
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/faults/making", making_fails);
	support_add("/shmbuddy/faults/using", using_fails);
	support_add("/shmbuddy/faults/interrupted", interruptions);
	support_add("/shmbuddy/faults/made-meanwhile", made_meanwhile);
	support_add("/shmbuddy/faults/half-made", half_made_for_long);
	return support_run();
}
