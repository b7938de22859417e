/* SPDX-License-Identifier: BSD-3-Clause */
/* See folder.h. */
#include "folder.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

#include "common/fd.h"

enum { FOLDER, SPARE, FOLDERS };

/* Both have the same identity: the spare is a duplicate. An O_PATH descriptor has no mark. */
static int folders[FOLDERS] = { -1, -1 };
static struct ma_fd_id id;

/* The program's descriptor of the same folder is seldom an O_PATH one. */
bool shim_folder_is_ours(unsigned i)
{
	return ma_fd_is(folders[i], id) && (fcntl(folders[i], F_GETFL) & O_PATH);
}

int shim_folder(void)
{
	return shim_folder_is_ours(FOLDER) ? folders[FOLDER] : -1;
}

void shim_folder_keep_spare(void)
{
	if (!shim_folder_is_ours(SPARE))
		folders[SPARE] = shim_folder() >= 0 ? fcntl(folders[FOLDER], F_DUPFD_CLOEXEC, STDERR_FILENO + 1) : -1;
}

void shim_folder_keep(char *name)
{
	char *slash = strrchr(name, '/');
	int fd;

	if (slash)
		*slash = '\0';
	fd = open(!slash ? "." : *name ? name : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (slash)
		*slash = '/';
	if (fd < 0 || !ma_fd_identify(fd, &id))
		return;
	folders[FOLDER] = shim_move(fd);
	shim_folder_keep_spare();
}

bool shim_folder_give_spare(void)
{
	int fd = folders[SPARE];

	if (!shim_folder_is_ours(SPARE))
		return false;
	folders[SPARE] = -1; /* Else our own close() refuses. */
	ma_fd_close(fd, id);
	return true;
}

int *shim_folder_kept(unsigned i)
{
	return &folders[i];
}
