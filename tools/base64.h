/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes as text (RFC 4648). */
#ifndef TOOLS_BASE64_H
#define TOOLS_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

void base64_write(FILE *to, const volatile unsigned char *bytes, uint64_t count);
/* In place. The number of bytes; SIZE_MAX: it is none. */
size_t base64_decode(char *text, size_t length);

#endif /* TOOLS_BASE64_H */
