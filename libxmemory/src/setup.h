/* SPDX-License-Identifier: BSD-3-Clause */
/* Before the first call is served. Only entry points call this: the ones of api.c, and the beginning of a preloaded shim. */
#ifndef XMEMORY_SETUP_H
#define XMEMORY_SETUP_H

/* Set up, once there is an environment; errno is kept. */
void xmemory__ready(void);

#endif /* XMEMORY_SETUP_H */
