/* SPDX-License-Identifier: BSD-3-Clause */
/* What a preloaded shim builds on. */
#include "directory.h"
#include "lock.h"
#include "preload.h"
#include "setup.h"
#include "small.h"
#include "vmfile.h"

void xmemory__preload_begin(void)
{
	xmemory__ready();
	xmemory__vm_keep_folder();
}

int *xmemory__descriptor(unsigned i)
{
	return i == XMEMORY__FOLDER ? xmemory__vm_folder() : xmemory__small_descriptor(i);
}

bool xmemory__descriptor_is_ours(unsigned i)
{
	return xmemory__small_descriptor_is_ours(i);
}

bool xmemory__is_elsewhere(const void *address)
{
	bool ours = xmemory__lock_take();
	bool found = xmemory__small_has(address) || xmemory__vm_holds(address);

	if (ours)
		xmemory__lock_drop();
	return found;
}
