/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two kinds of pages. MA_PAGE, 4 KiB, is the unit of the file format: header, body, disk space. ma_page() is the system's, 4, 16 or
 * 64 KiB: what is mapped, protected or given back begins and ends there. Maps lie in slices of system pages, and say in their header how large
 * those are: a machine with other pages refuses them. Regions lie in memory as in their file, and can be used with all page sizes.
 */
#ifndef MA_PAGE_H
#define MA_PAGE_H

#include "common/base.h"

/* Bytes of a page of this system: a power of two, at least MA_PAGE. */
size_t ma_page(void);
/* Its binary logarithm. */
uint8_t ma_page_shift(void);

#endif /* MA_PAGE_H */
