/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What the fuzz targets share: from the engine's bytes to a file, whatever the library.
 *
 * An input is
 *
 *     0  map       0: the file is given byte by byte; n: template n, with some words changed
 *     1  options   FUZZ_...
 *     2  count     template: how many changes. Else: how many bytes of calls.
 *     3  ...       template: the changes, then the calls to the end. Else: the calls, then the file to the end.
 *
 * A change is an operation (one byte), a word of the file (three bytes), and what the operation needs. The word is counted
 * among all words of the template's lines that are not zero, where everything happens, or, with FUZZ_ANYWHERE, in the file.
 * So a few bytes reach what a random file of the same size never would: the header's checksum is mended.
 *
 * There is one file, a memfd, for all inputs: its inode does not change, so an input can pretend that the library itself
 * wrote the file here a moment ago (FUZZ_CERTAIN).
 */
#ifndef MA_TESTS_FUZZ_H
#define MA_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_WAY      0x03u /* Options: the way of opening (the target's). */
#define FUZZ_AS_IS    0x10u /* Leave the checksum as it is. */
#define FUZZ_CERTAIN  0x20u /* Inode and boot id are right: the library may believe that only processes died. */
#define FUZZ_ONCE     0x40u /* Do not open it a second time. */
#define FUZZ_ANYWHERE 0x80u /* Of an operation. */

#define FUZZ_LIVE      0x40u      /* The first byte of inputs for live maps, and above. */
#define FUZZ_MAPS      16         /* Templates at most. */
#define FUZZ_MAP_BYTES (8u << 20) /* The longest template. */

/* What is still to be read of an input; zeros when it is used up. */
struct fuzz_in {
	const uint8_t *at;
	size_t left;
};

uint8_t fuzz_u8(struct fuzz_in *in);
uint16_t fuzz_u16(struct fuzz_in *in);
uint64_t fuzz_u64(struct fuzz_in *in);

/* Before anything else: the file, and limits that a hostile length runs into. */
void fuzz_begin(void);
/* How long the file may become from now on, in bytes: beyond it calls fail with EFBIG. 0: as fuzz_begin() set it. */
void fuzz_limit_file(size_t bytes);
/* A new empty file, in memory. Its descriptor is the kernel's, or one of fuzz_system.c; then the kernel's is the other. */
int fuzz_new_file(const char *name);
int fuzz_kernel_fd(int fd);
/* Are these bytes different? Quick: the files are compared with what they were after each input. */
bool fuzz_differs(const void *a, const void *b, size_t bytes);
/* The file, and its name. */
int fuzz_fd(void);
const char *fuzz_path(void);
/* The file holds a map that the library just made: what it wrote to know this boot by is what FUZZ_CERTAIN writes. */
void fuzz_same_boot(void);
/* A map file becomes the next template. */
void fuzz_template(const char *path);
/*
 * Of an input's first byte: is the input for a live map (fuzz_live.h)? And is it one of those that are asked for? MA_FUZZ_KIND=live or
 * =file: libFuzzer makes inputs of this kind alone.
 */
bool fuzz_is_live(uint8_t first);
bool fuzz_is_wanted(uint8_t first);
extern unsigned fuzz_live_maps;
/* So many steps of an input are made: most of them, or fewer when MA_FUZZ_KIND says that libFuzzer works. So a find is one in a replay too. */
int fuzz_steps(int most);
/*
 * Inputs that begin with this byte are quick: their map is small. libFuzzer makes nearly all of its inputs for such maps. The others, which
 * older inputs of the corpus are for, take several times as long, and reach little more.
 */
void fuzz_quick(unsigned first);
/* How many templates there are. */
unsigned fuzz_templates(void);

/* Make the file from an input; in is then at the calls, and ends with them. Returns the options. False: not an input. */
bool fuzz_file(struct fuzz_in *in, unsigned *options);

/* Abort, and say why: what every engine takes for a find. */
#define fuzz_require(condition)                                      \
	do {                                                         \
		if (!(condition))                                    \
			fuzz_failed(__FILE__, __LINE__, #condition); \
	} while (0)
_Noreturn void fuzz_failed(const char *file, int line, const char *what);

/* The target's library, and folder of inputs. */
extern const char fuzz_name[];

/* The target: LLVMFuzzerInitialize() and LLVMFuzzerTestOneInput(), as libFuzzer calls them. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* MA_TESTS_FUZZ_H */
