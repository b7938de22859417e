/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapalloc reap: maps and VM files in a directory that no live process uses. Nothing that is there says whether a map is still
 * wanted: so they are listed, and removed only with --force. libxmemory's VM files have no names where the file system makes nameless
 * ones; elsewhere a kill between two system calls leaves one, empty. The same with what commands make: where it needs a name before it is
 * whole, a kill leaves that.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/ckpt.h"
#include "common/file.h"
#include "tools/commands.h"

#define VM_FILE "vmswap_"

struct found {
	const char *name; /* In the directory. */
	const char *what;
	struct stat st;
	bool is_used;
};

/* vmswap_PID_NUMBER... */
static long vm_file_pid(const char *name)
{
	char *end;
	long pid;

	if (strncmp(name, VM_FILE, strlen(VM_FILE)) != 0)
		return 0;
	pid = strtol(name + strlen(VM_FILE), &end, 10);
	return pid > 0 && *end == '_' && end[1] >= '0' && end[1] <= '9' ? pid : 0;
}

/* A file that a snapshot, or this command, was making where there are none without a name (common/target.h). */
static bool is_temporary(const char *name)
{
	static const char *const kinds[] = { ".snapshot-", ".mapalloc-" };

	for (size_t i = 0; i < MA_COUNT(kinds); i++) {
		size_t bytes = strlen(kinds[i]);

		if (strncmp(name, kinds[i], bytes) == 0 && strlen(name + bytes) == 16 &&
		    strspn(name + bytes, "0123456789abcdef") == 16)
			return true;
	}
	return false;
}

/* Of "NAME.checkpoint" the length of NAME; 0: it is none. */
static size_t is_beside(const char *name)
{
	size_t bytes = strlen(name), suffix = strlen(MA_CKPT_SUFFIX);

	return bytes > suffix && strcmp(name + bytes - suffix, MA_CKPT_SUFFIX) == 0 ? bytes - suffix : 0;
}

/* One of the two heads is always whole. */
static bool is_checkpoints(int fd)
{
	char magic[2][8] = { "" };

	for (off_t i = 0; i < 2; i++)
		if (pread(fd, magic[i], sizeof(magic[i]), (off_t)MA_PAGE * i) == (ssize_t)sizeof(magic[i]) &&
		    memcmp(magic[i], MA_CKPT_MAGIC, sizeof(magic[i])) == 0)
			return true;
	return false;
}

static bool is_alive(long pid)
{
	return kill((pid_t)pid, 0) == 0 || errno == EPERM;
}

/* NULL: none of ours. */
static const char *what_is(int fd, const char *name)
{
	struct ma_header h;
	ssize_t got = pread(fd, &h, sizeof(h), 0);

	if (vm_file_pid(name))
		return "VM file";
	if (is_temporary(name))
		return "unfinished";
	if (is_beside(name) && is_checkpoints(fd))
		return "checkpoints";
	if (got < (ssize_t)sizeof(h.magic))
		return NULL;
	if (memcmp(h.magic, MA_MAGIC_HALF, sizeof(h.magic)) == 0)
		return "half-made map";
	if (memcmp(h.magic, MA_MAGIC, sizeof(h.magic)) != 0 || got < (ssize_t)sizeof(h))
		return NULL;
	return kind_name(h.kind);
}

static bool is_used(int fd, const struct found *found)
{
	struct processes processes;
	long pid = vm_file_pid(found->name);

	if (pid && is_alive(pid))
		return true;
	if (is_temporary(found->name) && processes_exclusive(fd) == 0) /* Being made. */
		return true;
	processes_find(&processes, fd, found->name, &found->st, NULL);
	return processes.is_attached || processes.locks_unknown;
}

/* It belongs to the map beside it, and goes with that. */
static bool has_map(int directory, const char *name)
{
	char map[NAME_MAX + 1];
	struct stat st;

	snprintf(map, sizeof(map), "%.*s", (int)is_beside(name), name);
	return is_beside(name) && fstatat(directory, map, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

/* False: none of ours, or it may not be read. */
static bool scan_file(int directory, const char *name, struct found *found)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
	bool is_ours = false;

	*found = (struct found){ .name = name };
	if (fd < 0)
		return false;
	if (!has_map(directory, name) && fstat(fd, &found->st) == 0 && S_ISREG(found->st.st_mode)) {
		found->what = what_is(fd, name);
		is_ours = found->what != NULL;
		found->is_used = is_ours && is_used(fd, found);
	}
	close(fd);
	return is_ours;
}

/* Under the attach byte, so no process attaches to it between the last check and its end; and the kernel is asked, which knows all users. */
static const char *obstacle(int fd, const struct found *found)
{
	struct stat st;
	int exclusive;

	if (fstat(fd, &st) < 0 || st.st_ino != found->st.st_ino || st.st_dev != found->st.st_dev)
		return "it is another file now";
	if (ma_file_attach_exclusive(fd) < 0)
		return "a process uses it now";
	exclusive = processes_exclusive(fd);
	if (exclusive == 0)
		return "a process has it open or mapped";
	return exclusive < 0 && strcmp(found->what, kind_buddy.name) == 0
		       ? "it cannot be told whether a process has it mapped"
		       : NULL;
}

/* The map first: a checkpoint file without its map is listed by the next run. */
static int remove_both(int directory, const char *name)
{
	char beside[NAME_MAX + sizeof(MA_CKPT_SUFFIX)];

	if (unlinkat(directory, name, 0) < 0)
		return -1;
	snprintf(beside, sizeof(beside), "%s" MA_CKPT_SUFFIX, name);
	return unlinkat(directory, beside, 0) == 0 || errno == ENOENT || errno == ENAMETOOLONG ? 0 : -1;
}

static enum status drop(struct tool *tool, int directory, const struct found *found)
{
	int fd = openat(directory, found->name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
	enum status status = STATUS_OK;
	const char *why;

	last_error_clear();
	if (fd < 0)
		return complain_last_error(tool, found->name, "not removed");
	why = obstacle(fd, found);
	if (why) {
		complain(tool, found->name, "not removed: %s", why);
		status = STATUS_REFUSED;
	} else if (remove_both(directory, found->name) < 0) {
		status = complain_last_error(tool, found->name, "not removed");
	}
	close(fd);
	return status;
}

static void show(struct tool *tool, const struct found *found, bool is_gone)
{
	char size[SIZE_TEXT], when[32] = "";
	struct tm tm;

	if (gmtime_r(&found->st.st_mtime, &tm))
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (tool->options.json) {
		json_open_flat(tool, NULL, '{');
		json_text(tool, "file", found->name);
		json_text(tool, "what", found->what);
		json_number(tool, "file_bytes", (uint64_t)found->st.st_size);
		json_number(tool, "disk_bytes", (uint64_t)found->st.st_blocks * 512);
		json_text(tool, "changed", when);
		json_bool(tool, "removed", is_gone);
		json_close(tool, '}');
		return;
	}
	fprintf(tool->out, "%-8s %-14s %8s  %s  ", is_gone ? "removed" : "unused", found->what,
		size_text(tool, (uint64_t)found->st.st_blocks * 512, size), when);
	print_safe(tool->out, found->name, strlen(found->name));
	fputc('\n', tool->out);
}

static enum status each(struct tool *tool, int directory, struct dirent **names, int count)
{
	enum status worst = STATUS_OK, status;
	struct found found;

	for (int i = 0; i < count; i++) {
		if (!scan_file(directory, names[i]->d_name, &found) || found.is_used)
			continue;
		status = tool->options.force ? drop(tool, directory, &found) : STATUS_OK;
		worst = status > worst ? status : worst;
		if (status == STATUS_OK)
			show(tool, &found, tool->options.force);
	}
	return worst;
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	struct dirent **names = NULL;
	enum status status;
	int directory, found;

	(void)count;
	last_error_clear();
	directory = open(arguments[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return complain_last_error(tool, arguments[0], "cannot open it");
	found = scandirat(directory, ".", &names, NULL, alphasort);
	if (tool->options.json) {
		json_begin(tool);
		json_text(tool, "directory", arguments[0]);
		json_open(tool, "files", '[');
	}
	status = found < 0 ? complain_last_error(tool, arguments[0], "cannot read it")
			   : each(tool, directory, names, found);
	if (tool->options.json) {
		json_close(tool, ']');
		json_end(tool);
	}
	for (int i = 0; i < found; i++)
		free(names[i]);
	free(names);
	close(directory);
	return status;
}

static const struct option_spec options[] = {
	{ "force", 'f', OPTION_FLAG, OPTION(force), NULL, "remove them" },
	{ 0 },
};

const struct command command_reap = {
	.name = "reap",
	.arguments = "DIRECTORY",
	.summary = "List maps, unfinished files that kills left, checkpoint files without a map, and VM files of "
		   "libxmemory, that no live process uses; "
		   "with --force, remove them.",
	.options = options,
	.more = "A map that no process uses now may still be needed: read the list first. The checkpoint file "
		"of a durable map\n"
		"is removed with the map. Directories below are not entered.\n",
	.examples = "  mapalloc reap /dev/shm\n"
		    "  mapalloc reap --force /var/tmp/scratch\n",
	.least = 1,
	.most = 1,
	.has_json = true,
	.run = run,
};
