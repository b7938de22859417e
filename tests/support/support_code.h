/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file support_code.h
 * @brief An instruction of x86-64: which memory it can change.
 */
#ifndef MA_TESTS_SUPPORT_CODE_H
#define MA_TESTS_SUPPORT_CODE_H

#include <stdint.h>
#include <sys/user.h>

#define SUPPORT_CODE_MOST 16 /* bytes of an instruction */

/** As many bits as a pointer, and never 0: what a table remembers of an instruction. */
struct support_code {
	uint8_t writes; /**< enum support_step_writes; the rest is for SUPPORT_STEP_WRITES_THERE. */
	uint8_t base;   /**< Registers are numbered as in the instruction. */
	uint8_t index;
	uint8_t scale : 4;
	uint8_t thread : 1; /**< The address counts from the FS base. */
	int32_t disp;
};

struct support_code support_code_read(const uint8_t *bytes);
/** One that may write anywhere. */
struct support_code support_code_unknown(void);
/** The address of its operand in memory, while it is the next instruction; at most 8 bytes too low. */
uintptr_t support_code_operand(struct support_code code, const struct user_regs_struct *regs);

#endif /* MA_TESTS_SUPPORT_CODE_H */
