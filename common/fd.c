/* SPDX-License-Identifier: BSD-3-Clause */
/* See fd.h. */
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLOOR   768 /* A table of so many descriptors is small, and few programs have as many of their own. */
#define SIGNALS 64
#define PARKED  16

static const char map_files[] = "/proc/self/map_files/";

int ma_fd_mark(int fd)
{
	static _Atomic unsigned last;
	/* Each library has its own count, and begins it elsewhere. */
	unsigned begin = (unsigned)ma_mix((uint64_t)(uintptr_t)&last);
	int mark = 1 + (int)((begin + atomic_fetch_add_explicit(&last, 1, memory_order_relaxed)) % SIGNALS);
	int saved = errno;

	if (fcntl(fd, F_SETSIG, mark) < 0)
		mark = 0;
	errno = saved;
	return mark;
}

bool ma_fd_identify(int fd, struct ma_fd_id *id)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	*id = (struct ma_fd_id){ .device = st.st_dev, .inode = st.st_ino, .mark = ma_fd_mark(fd) };
	return true;
}

static bool is_same_file(const struct stat *st, struct ma_fd_id id)
{
	return (uint64_t)st->st_dev == id.device && (uint64_t)st->st_ino == id.inode;
}

bool ma_fd_is(int fd, struct ma_fd_id id)
{
	int saved = errno;
	struct stat st;
	bool is = fd >= 0 && fstat(fd, &st) == 0 && is_same_file(&st, id) &&
		  (id.mark == 0 || fcntl(fd, F_GETSIG) == id.mark);

	errno = saved;
	return is;
}

/* ---- locks of the program ---- */

/* On any byte below those of ours. */
static pid_t program_lock(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = MA_FD_LOCKS };

	return fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

bool ma_fd_has_program_locks(int fd)
{
	int saved = errno;
	bool has = program_lock(fd) != 0;

	errno = saved;
	return has;
}

static void unlock_all(int fd)
{
	struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	fcntl(fd, F_OFD_SETLK, &all);
}

/* Mark and number + 1; 0: free. When all are taken, the descriptor stays open for good. */
static _Atomic uint64_t parked[PARKED];
static _Atomic pid_t parker; /* A fork child has its parent's open file descriptions there: it must not use them. */

static void park(int fd, int mark)
{
	uint64_t word = (uint64_t)mark << 32 | (uint32_t)(fd + 1);

	if (ma_load(&parker) != getpid()) {
		for (unsigned i = 0; i < PARKED; i++)
			ma_store(&parked[i], 0);
		ma_store(&parker, getpid());
	}
	unlock_all(fd);
	for (unsigned i = 0; i < PARKED; i++) {
		uint64_t none = 0;

		if (ma_cas(&parked[i], &none, word)) /* Pairs with common/fd.c:ma_fd_unpark. */
			return;
	}
}

int ma_fd_unpark(uint64_t device, uint64_t inode, int access_mode)
{
	int saved = errno, found = -1;

	if (ma_load(&parker) != getpid())
		return -1;
	for (unsigned i = 0; i < PARKED && found < 0; i++) {
		uint64_t word = ma_load(&parked[i]);
		int fd = (int)(uint32_t)word - 1;

		/* Pairs with common/fd.c:park. */
		if (word && ma_fd_is(fd, (struct ma_fd_id){ device, inode, (int)(word >> 32) }) &&
		    (fcntl(fd, F_GETFL) & O_ACCMODE) == access_mode && ma_cas(&parked[i], &word, 0))
			found = fd;
	}
	errno = saved;
	return found;
}

void ma_fd_close(int fd, struct ma_fd_id id)
{
	int saved = errno;

	if (fd >= 0 && (id.inode == 0 || ma_fd_is(fd, id))) {
		if (id.mark && program_lock(fd) == getpid())
			park(fd, id.mark);
		else
			close(fd);
	}
	errno = saved;
}

int ma_fd_open(const char *name, int flags)
{
	struct stat st;
	int fd = stat(name, &st) == 0 ? ma_fd_unpark(st.st_dev, st.st_ino, flags & O_ACCMODE) : -1;

	return fd >= 0 ? fd : open(name, flags);
}

void ma_fd_shut(int fd)
{
	struct ma_fd_id id = { 0 };

	ma_fd_identify(fd, &id);
	ma_fd_close(fd, id);
}

/* ---- high numbers ---- */

int ma_fd_floor(void)
{
	int saved = errno, floor = FLOOR;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 * 3 < (rlim_t)floor)
		floor = (int)(limit.rlim_cur / 4 * 3);
	errno = saved;
	return floor > STDERR_FILENO ? floor : STDERR_FILENO + 1;
}

int ma_fd_aside(int fd)
{
	int floor, high, saved = errno;

	if (fd < 0)
		return fd;
	floor = ma_fd_floor();
	if (fd >= floor || (fd > STDERR_FILENO && ma_fd_has_program_locks(fd)))
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, floor);
	if (high < 0 && fd <= STDERR_FILENO) /* That high is no room: somewhat higher will do. */
		high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (high < 0 && fd > STDERR_FILENO) {
		errno = saved;
		return fd;
	}
	if (high >= 0)
		errno = saved;
	else
		saved = errno;
	close(fd);
	errno = saved;
	return high;
}

/* ---- opening again ---- */

/* A line of /proc/self/maps, as much of it as there is room for. */
struct line {
	char text[600];
	size_t length;
	bool whole;
};

/* Hexadecimal digits up to the first other character. */
static const char *number(const char *at, uintptr_t *value)
{
	for (*value = 0;; at++) {
		if (*at >= '0' && *at <= '9')
			*value = *value << 4 | (uintptr_t)(*at - '0');
		else if (*at >= 'a' && *at <= 'f')
			*value = *value << 4 | (uintptr_t)(*at - 'a' + 10);
		else
			return at;
	}
}

/* Is the address in this line's range "from-to"? */
static bool is_in(const struct line *line, uintptr_t at)
{
	uintptr_t from, to;
	const char *end = number(line->text, &from);

	if (*end != '-')
		return false;
	number(end + 1, &to);
	return from <= at && at < to;
}

/* Open it when it is this file. A device or a FIFO by that name is not even opened. */
static int open_same(const char *path, struct ma_fd_id id, int flags)
{
	struct stat st;
	int fd;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || !is_same_file(&st, id))
		return -1;
	fd = open(path, flags);
	if (fd < 0 || (fstat(fd, &st) == 0 && is_same_file(&st, id)))
		return ma_fd_aside(fd);
	close(fd);
	return -1;
}

static size_t append_number(char *to, size_t length, const char *digits, char end)
{
	while (*digits == '0')
		digits++;
	while (*digits && *digits != '-' && *digits != ' ')
		to[length++] = *digits++;
	to[length++] = end;
	return length;
}

/* The kernel's own link to what is mapped there. */
static int open_link(const struct line *line, struct ma_fd_id id, int flags)
{
	const char *dash = strchr(line->text, '-');
	char path[sizeof(map_files) + 40];
	size_t length = sizeof(map_files) - 1;

	if (!dash || dash - line->text > 16)
		return -1;
	memcpy(path, map_files, length);
	length = append_number(path, length, line->text, '-');
	append_number(path, length, dash + 1, '\0');
	return open_same(path, id, flags);
}

/* Its name follows five fields and spaces. */
static int open_named(const struct line *line, struct ma_fd_id id, int flags)
{
	const char *slash = strchr(line->text, '/');

	return slash && line->whole ? open_same(slash, id, flags) : -1;
}

/* One more byte of the file. True: the line has ended. */
static bool put(struct line *line, char c)
{
	if (c == '\n') {
		line->text[line->length] = '\0';
		return true;
	}
	if (line->length < sizeof(line->text) - 1)
		line->text[line->length++] = c;
	else
		line->whole = false;
	return false;
}

/* The line of this address, in one process's maps. False: there is none, or no /proc. */
static bool find_line(const char *path, const void *mapped, struct line *line)
{
	int maps = open(path, O_RDONLY | O_CLOEXEC);
	bool found = false;
	char bytes[400];
	ssize_t got;

	if (maps < 0)
		return false;
	*line = (struct line){ .whole = true };
	while (!found && (got = read(maps, bytes, sizeof(bytes))) > 0) {
		for (ssize_t i = 0; i < got && !found; i++) {
			if (!put(line, bytes[i]))
				continue;
			found = is_in(line, (uintptr_t)mapped);
			if (!found)
				*line = (struct line){ .whole = true };
		}
	}
	close(maps);
	return found;
}

int ma_fd_again(const void *mapped, const char *name, struct ma_fd_id id, int flags)
{
	struct line line;
	int fd = -1;

	if (find_line("/proc/self/maps", mapped, &line)) {
		fd = open_link(&line, id, flags);
		if (fd < 0)
			fd = open_named(&line, id, flags);
	}
	if (fd < 0 && name)
		fd = open_same(name, id, flags);
	if (fd < 0)
		errno = EBADF;
	return fd;
}

/* ---- who else has it mapped ---- */

static void name_maps(char path[32], uint32_t pid)
{
	char digits[12], *at = digits + sizeof(digits);
	size_t length;

	*--at = '\0';
	for (; pid; pid /= 10)
		*--at = (char)('0' + pid % 10);
	length = strlen(at);
	memcpy(path, "/proc/", 6);
	memcpy(path + 6, at, length);
	memcpy(path + 6 + length, "/maps", 6);
}

/* "offset device inode", the third to the fifth field. NULL: the line has none. */
static const char *file_of(struct line *line)
{
	char *at = line->text, *from = NULL;

	for (unsigned field = 0; field < 5 && at; field++) {
		at = strchr(at + 1, ' ');
		if (field == 1)
			from = at;
	}
	if (at)
		*at = '\0';
	return from;
}

/* "from-to rw-s ": shared, or private. */
bool ma_fd_is_shared_memory(const void *at)
{
	int saved = errno;
	struct line line;
	const char *mode = find_line("/proc/self/maps", at, &line) ? strchr(line.text, ' ') : NULL;
	bool shared = mode && strlen(mode) > 4 && mode[4] == 's';

	errno = saved;
	return shared;
}

bool ma_fd_is_mapped_by(uint32_t pid, const void *mapped)
{
	struct line own, other;
	char path[32];
	const char *a, *b;

	name_maps(path, pid);
	if (!find_line(path, mapped, &other) || !find_line("/proc/self/maps", mapped, &own))
		return false;
	a = file_of(&own);
	b = file_of(&other);
	return a && b && strcmp(a, b) == 0;
}
