/* SPDX-License-Identifier: BSD-3-Clause */
/* The descriptor of an image's file, in a program that closes descriptors which it did not open. See image_fd.c. */
#ifndef MA_IMAGE_FD_H
#define MA_IMAGE_FD_H

#include "common/fd.h"
#include "common/image.h"

/*
 * The descriptor of the map's file, for one system call: looked at, and opened and locked again when the program closed it. -1 with errno
 * EBADF and a sentence: that cannot be, or there is no file. errno stays otherwise.
 */
int ma_image_fd(struct ma_image *image);
struct ma_fd_id ma_image_fd_id(const struct ma_image *image);
/* Where its number is, for a runner that moves it to another one (run/descriptors.c). */
int *ma_image_fd_place(struct ma_image *image);
/* From now on this one, which nothing else uses; it is marked. */
void ma_image_set_fd(struct ma_image *image, int fd);
/* Close it, when it still is ours. */
void ma_image_close_fd(struct ma_image *image);
/* Find out whether locks outlive their descriptor here. */
void ma_image_probe(struct ma_image *image);

#endif /* MA_IMAGE_FD_H */
