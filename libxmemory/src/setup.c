/* SPDX-License-Identifier: BSD-3-Clause */
/* Before the first call is served. */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "fork.h"
#include "pages.h"
#include "setup.h"
#include "state.h"
#include "warn.h"

static void set_up(void)
{
	xmemory__state_prepare();
	xmemory__warnings_set_up();
	xmemory__reserve_take();
	xmemory__watch_forks();
	xmemory__state_begin();
}

void xmemory__ready(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int saved;

	/* A call that setting up leads to, or one before the C library has its environment, is served as it is. */
	if (!(ma_load(&xmemory__mode) & XMEMORY__UNREADY) || xmemory__depth > 0 || !environ)
		return;
	saved = errno;
	xmemory__depth++;
	pthread_once(&once, set_up);
	xmemory__depth--;
	errno = saved;
}
