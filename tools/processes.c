/* SPDX-License-Identifier: BSD-3-Clause */
/* See processes.h. */
#include "tools/processes.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/body.h"
#include "common/file.h"

#define SLOT_BYTE(slot) (MA_FILE_ATTACH_BYTE + 1 + (off_t)(slot))

bool processes_ask_proc = true;

/* F_UNLCK no process, F_RDLCK or F_WRLCK another one; -1: no such locks. */
static int who_locks(int fd, off_t byte)
{
	struct flock found;

	return ma_file_lock(fd, F_OFD_GETLK, F_WRLCK, byte, &found) < 0 ? -1 : found.l_type;
}

bool processes_slot_is_alive(int fd, uint32_t slot)
{
	return who_locks(fd, SLOT_BYTE(slot)) != F_UNLCK;
}

static bool read_small(uint32_t pid, const char *what, char *text, size_t size)
{
	char path[64];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/%s", pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	got = read(fd, text, size - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got > 0;
}

static void name_command(struct process *process)
{
	process->command[0] = '\0';
	if (processes_ask_proc && process->pid &&
	    read_small(process->pid, "comm", process->command, sizeof(process->command)))
		process->command[strcspn(process->command, "\n")] = '\0';
}

static struct process *process_add(struct processes *processes, uint32_t pid, int slot)
{
	struct process *process;

	if (processes->count == PROCESSES_MOST)
		return NULL;
	process = &processes->process[processes->count++];
	*process = (struct process){ .pid = pid, .slot = slot };
	return process;
}

/* The slot of a process that died shows what was there: its pid may be another one's by now. */
static void add_slot(struct processes *processes, int fd, const struct ma_process *p, uint32_t slot)
{
	bool is_alive = processes_slot_is_alive(fd, slot);
	struct process *process;

	if (!is_alive && !ma_load(&p->pid))
		return;
	process = process_add(processes, ma_load(&p->pid), (int)slot);
	if (!process)
		return;
	process->is_alive = is_alive;
	process->since = ma_load(&p->since);
	if (is_alive)
		name_command(process);
}

/* ---- mappings ---- */

struct wanted {
	unsigned long inode;
	unsigned major, minor;
	const char *path;
};

static bool line_is_of(const char *line, const struct wanted *wanted)
{
	unsigned major, minor;
	unsigned long inode;
	int path = 0;

	if (sscanf(line, "%*s %*s %*s %x:%x %lu %n", &major, &minor, &inode, &path) < 3 || inode != wanted->inode)
		return false;
	return (major == wanted->major && minor == wanted->minor) ||
	       (path && wanted->path[0] && strcmp(line + path, wanted->path) == 0);
}

/* 1: it maps the file; 0: it does not; -1: it may not be asked. */
static int maps_it(uint32_t pid, const struct wanted *wanted)
{
	char path[64], line[PATH_MAX + 128];
	int found = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%u/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		return errno == ENOENT || errno == ESRCH ? 0 : -1;
	while (!found && fgets(line, sizeof(line), maps)) {
		line[strcspn(line, "\n")] = '\0';
		found = line_is_of(line, wanted);
	}
	fclose(maps);
	return found;
}

/* When a process began, in seconds since 1970. */
static uint64_t began(uint32_t pid)
{
	char text[1024], *at;
	unsigned long long ticks = 0, boot = 0;
	FILE *stat = fopen("/proc/stat", "re");

	while (stat && fgets(text, sizeof(text), stat) && sscanf(text, "btime %llu", &boot) != 1)
		;
	if (stat)
		fclose(stat);
	if (!boot || !read_small(pid, "stat", text, sizeof(text)))
		return 0;
	at = strrchr(text, ')'); /* A command's name may have anything in it. */
	if (!at || sscanf(at + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
			  &ticks) != 1)
		return 0;
	return boot + ticks / (unsigned long long)sysconf(_SC_CLK_TCK);
}

static bool is_known(const struct processes *processes, uint32_t pid)
{
	for (unsigned i = 0; i < processes->count; i++)
		if (processes->process[i].is_alive && processes->process[i].pid == pid)
			return true;
	return false;
}

static void add_mapper(struct processes *processes, uint32_t pid, const struct wanted *wanted)
{
	int maps = maps_it(pid, wanted);
	struct process *process;

	processes->proc_unknown |= maps < 0;
	if (maps <= 0)
		return;
	processes->is_attached = true;
	process = is_known(processes, pid) ? NULL : process_add(processes, pid, -1);
	if (!process)
		return;
	process->is_alive = true;
	process->since = began(pid);
	name_command(process);
}

static void find_mappers(struct processes *processes, const char *name, const struct stat *st)
{
	char path[PATH_MAX] = "";
	struct wanted wanted = {
		.inode = st->st_ino,
		.major = major(st->st_dev),
		.minor = minor(st->st_dev),
		.path = path,
	};
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	if (!realpath(name, path))
		path[0] = '\0';
	if (!proc)
		processes->proc_unknown = true;
	while (proc && (entry = readdir(proc)) != NULL) {
		long pid = isdigit((unsigned char)entry->d_name[0]) ? strtol(entry->d_name, NULL, 10) : 0;

		if (pid > 0 && pid != getpid())
			add_mapper(processes, (uint32_t)pid, &wanted);
	}
	if (proc)
		closedir(proc);
}

/* The table lies behind the body's head. */
static void find_slots(struct processes *processes, int fd, const struct ma_header *header)
{
	struct ma_process some[MA_PAGE / sizeof(struct ma_process)];
	uint64_t count = ma_min(header->param[MA_PARAM_PROCESSES], MA_PROCESSES_MAX);

	for (uint64_t slot = 0; slot < count; slot++) {
		uint64_t at = slot % MA_COUNT(some);

		if (at == 0) {
			memset(some, 0, sizeof(some));
			if (pread(fd, some, sizeof(some), (off_t)(MA_PROCESS_OFF + slot * sizeof(*some))) <= 0)
				return;
		}
		/* The kernel is asked only about slots that a process has, or had. */
		if (ma_load(&some[at].pid))
			add_slot(processes, fd, &some[at], (uint32_t)slot);
	}
}

void processes_find(struct processes *processes, int fd, const char *name, const struct stat *st,
		    const struct ma_header *header)
{
	int attached = who_locks(fd, MA_FILE_ATTACH_BYTE);

	memset(processes, 0, sizeof(*processes));
	processes->locks_unknown = attached < 0;
	processes->is_attached = attached == F_RDLCK || attached == F_WRLCK;
	processes->is_opening = attached == F_WRLCK && who_locks(fd, MA_FILE_EXCLUSIVE_BYTE) != F_WRLCK;
	if (header && attached >= 0)
		find_slots(processes, fd, header);
	if (processes_ask_proc)
		find_mappers(processes, name, st);
	else
		processes->proc_unknown = true;
}

/* The kernel grants a write lease when no other open file description of the file exists; mappings keep theirs. */
int processes_exclusive(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
		fcntl(fd, F_SETLEASE, F_UNLCK);
		return 1;
	}
	return errno == EAGAIN ? 0 : -1;
}
