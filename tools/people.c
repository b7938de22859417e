/* SPDX-License-Identifier: BSD-3-Clause */
/* See people.h. */
#include "tools/people.h"

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

bool people_ask_proc = true;

/* F_UNLCK nobody, F_RDLCK or F_WRLCK somebody; -1: no such locks. */
static int who_locks(int fd, off_t byte)
{
	struct flock found;

	return ma_file_lock(fd, F_OFD_GETLK, F_WRLCK, byte, &found) < 0 ? -1 : found.l_type;
}

bool people_slot_is_alive(int fd, uint32_t slot)
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

static void name_command(struct person *person)
{
	person->command[0] = '\0';
	if (people_ask_proc && person->pid && read_small(person->pid, "comm", person->command, sizeof(person->command)))
		person->command[strcspn(person->command, "\n")] = '\0';
}

static struct person *person_add(struct people *people, uint32_t pid, int slot)
{
	struct person *person;

	if (people->count == PEOPLE_MOST)
		return NULL;
	person = &people->person[people->count++];
	*person = (struct person){ .pid = pid, .slot = slot };
	return person;
}

/* The slot of a process that died shows what was there: its pid may be somebody else's by now. */
static void add_slot(struct people *people, int fd, const struct ma_process *p, uint32_t slot)
{
	bool is_alive = people_slot_is_alive(fd, slot);
	struct person *person;

	if (!is_alive && !ma_load(&p->pid))
		return;
	person = person_add(people, ma_load(&p->pid), (int)slot);
	if (!person)
		return;
	person->is_alive = is_alive;
	person->since = ma_load(&p->since);
	if (is_alive)
		name_command(person);
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

static bool is_known(const struct people *people, uint32_t pid)
{
	for (unsigned i = 0; i < people->count; i++)
		if (people->person[i].is_alive && people->person[i].pid == pid)
			return true;
	return false;
}

static void add_mapper(struct people *people, uint32_t pid, const struct wanted *wanted)
{
	int maps = maps_it(pid, wanted);
	struct person *person;

	people->proc_unknown |= maps < 0;
	if (maps <= 0)
		return;
	people->is_attached = true;
	person = is_known(people, pid) ? NULL : person_add(people, pid, -1);
	if (!person)
		return;
	person->is_alive = true;
	person->since = began(pid);
	name_command(person);
}

static void find_mappers(struct people *people, const char *name, const struct stat *st)
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
		people->proc_unknown = true;
	while (proc && (entry = readdir(proc)) != NULL) {
		long pid = isdigit((unsigned char)entry->d_name[0]) ? strtol(entry->d_name, NULL, 10) : 0;

		if (pid > 0 && pid != getpid())
			add_mapper(people, (uint32_t)pid, &wanted);
	}
	if (proc)
		closedir(proc);
}

/* The table lies behind the body's head. */
static void find_slots(struct people *people, int fd, const struct ma_header *header)
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
		/* The kernel is asked only about those that have, or had, somebody. */
		if (ma_load(&some[at].pid))
			add_slot(people, fd, &some[at], (uint32_t)slot);
	}
}

void people_find(struct people *people, int fd, const char *name, const struct stat *st, const struct ma_header *header)
{
	int attached = who_locks(fd, MA_FILE_ATTACH_BYTE);

	memset(people, 0, sizeof(*people));
	people->locks_unknown = attached < 0;
	people->is_attached = attached == F_RDLCK || attached == F_WRLCK;
	people->is_opening = attached == F_WRLCK && who_locks(fd, MA_FILE_ALONE_BYTE) != F_WRLCK;
	if (header && attached >= 0)
		find_slots(people, fd, header);
	if (people_ask_proc)
		find_mappers(people, name, st);
	else
		people->proc_unknown = true;
}

/* A write lease is had when no other open file description of the file exists; mappings keep theirs. */
int people_alone(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
		fcntl(fd, F_SETLEASE, F_UNLCK);
		return 1;
	}
	return errno == EAGAIN ? 0 : -1;
}
