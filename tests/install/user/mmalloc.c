/* SPDX-License-Identifier: BSD-3-Clause */
#include <fcntl.h>
#include <mmalloc.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDWR | O_CREAT, 0600) : -1;
	void *md = fd < 0 ? NULL : mmalloc_attach(fd, NULL);
	void *block;

	if (!md) {
		perror("mmalloc_attach");
		return 1;
	}
	close(fd);
	block = mmalloc(md, 100);
	if (!block || !mmalloc_setkey(md, 0, block)) {
		perror("mmalloc");
		return 1;
	}
	mfree(md, block);
	return mmalloc_detach(md) != NULL;
}
