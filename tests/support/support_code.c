/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Prefixes, opcode, ModRM, SIB and displacement tell where an instruction can write. Nearly each one changes at most the operand that
 * its ModRM byte names. So those are listed that have one, or change nothing; all others may write anywhere. Whether an
 * instruction that names memory writes there, or only reads it, is not asked: a look too many does no harm.
 *
 * What the stack gets by a push or a call does not count.
 */
#ifdef __x86_64__
#include "tests/support/support_code.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

#include "tests/support/support_step.h"

enum { RSP = 4, RBP = 5, RDI = 7, RIP = 16, NO_REGISTER = 17 };

struct reader {
	const uint8_t *begin;
	const uint8_t *at;
	bool thread, strange;
	unsigned rex; /* its bits W R X B, also out of a VEX prefix */
};

static struct support_code code_of(enum support_step_writes writes)
{
	return (struct support_code){ .writes = (uint8_t)writes, .base = NO_REGISTER, .index = NO_REGISTER };
}

struct support_code support_code_unknown(void)
{
	return code_of(SUPPORT_STEP_MAY_WRITE);
}

static void read_prefixes(struct reader *r)
{
	for (;; r->at++)
		switch (*r->at) {
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x66:
		case 0xf0:
		case 0xf2:
		case 0xf3:
			break;
		case 0x64:
			r->thread = true;
			break;
		case 0x65: /* the GS base */
		case 0x67: /* addresses of 32 bits */
			r->strange = true;
			break;
		default:
			if ((*r->at & 0xf0) == 0x40)
				r->rex = *r->at++ & 0xf;
			return;
		}
}

/* Nothing, or only the stack: jumps, calls, registers that the opcode names. */
static bool spares_memory(uint8_t op)
{
	return (op >= 0x50 && op < 0x60) || op == 0x68 || op == 0x6a || (op >= 0x70 && op < 0x80) ||
	       (op >= 0x90 && op < 0x9a) || op == 0xa8 || op == 0xa9 || (op >= 0xb0 && op < 0xc0) || op == 0xc2 ||
	       op == 0xc3 || op == 0xc9 || (op >= 0xe0 && op < 0xe4) || op == 0xe8 || op == 0xe9 || op == 0xeb ||
	       (op < 0x40 && (op & 7) >= 4 && (op & 7) <= 5);
}

static bool spares_memory_0f(uint8_t op)
{
	return op == 0x0b || op == 0x31 || op == 0x77 || (op >= 0x80 && op < 0x90) || op == 0xa2 ||
	       (op >= 0xc8 && op < 0xd0);
}

static bool has_operand(uint8_t op)
{
	return (op < 0x40 && (op & 7) < 4) || op == 0x63 || op == 0x69 || op == 0x6b || (op >= 0x80 && op < 0x8f) ||
	       op == 0xc0 || op == 0xc1 || op == 0xc6 || op == 0xc7 || (op >= 0xd0 && op < 0xd4) ||
	       (op >= 0xd8 && op < 0xe0) || op == 0xf6 || op == 0xf7 || op == 0xfe || op == 0xff;
}

/* Those with a ModRM byte, but for MASKMOVQ, which writes where RDI says, and what only a kernel does. */
static bool has_operand_0f(uint8_t op)
{
	return op == 0x0d || (op >= 0x10 && op < 0x18) || (op >= 0x18 && op < 0x20) || (op >= 0x28 && op < 0x30) ||
	       (op >= 0x40 && op < 0x77) || (op >= 0x7c && op < 0x80) || (op >= 0x90 && op < 0xa0) ||
	       (op >= 0xa3 && op < 0xa6) || (op >= 0xab && op < 0xc8) || (op >= 0xd0 && op != 0xf7);
}

/* Behind the opcode. */
static struct support_code read_operand(struct reader *r)
{
	struct support_code code = code_of(SUPPORT_STEP_WRITES_THERE);
	unsigned modrm = *r->at++, mod = modrm >> 6, low = modrm & 7, index;
	int8_t short_disp;
	int32_t disp = 0;

	if (mod == 3)
		return code_of(SUPPORT_STEP_WRITES_NOTHING);
	code.thread = r->thread;
	code.base = (uint8_t)(low | (r->rex & 1) << 3);
	if (low == RSP) {
		index = (*r->at >> 3 & 7) | (r->rex & 2) << 2;
		code.scale = (*r->at >> 6) & 3;
		code.index = index == RSP ? NO_REGISTER : (uint8_t)index;
		low = *r->at++ & 7;
		code.base = low == RBP && mod == 0 ? NO_REGISTER : (uint8_t)(low | (r->rex & 1) << 3);
	} else if (low == RBP && mod == 0) {
		code.base = RIP;
	}
	if (mod == 1) {
		memcpy(&short_disp, r->at, 1);
		disp = short_disp;
	} else if (mod == 2 || (mod == 0 && low == RBP)) {
		memcpy(&disp, r->at, sizeof(disp));
		r->at += sizeof(disp);
	}
	code.disp = code.base == RIP ? disp + (int32_t)(r->at - r->begin) : disp;
	return code;
}

/* In the second table of opcodes, or in a third one. */
static struct support_code read_0f(struct reader *r, unsigned table, uint8_t op)
{
	if (table > 1)
		return read_operand(r);
	if (op == 0x05)
		return code_of(SUPPORT_STEP_CALLS_KERNEL);
	if (spares_memory_0f(op))
		return code_of(SUPPORT_STEP_WRITES_NOTHING);
	return has_operand_0f(op) ? read_operand(r) : support_code_unknown();
}

static struct support_code read_vex(struct reader *r)
{
	unsigned table = 1;
	uint8_t op;

	if (*r->at++ == 0xc4) {
		r->rex = (~*r->at >> 5) & 7;
		table = *r->at++ & 0x1f;
	}
	op = r->at[1];
	r->at += 2;
	return read_0f(r, table, op);
}

struct support_code support_code_read(const uint8_t *bytes)
{
	struct reader r = { .begin = bytes, .at = bytes };
	uint8_t op;

	read_prefixes(&r);
	if (r.strange)
		return support_code_unknown();
	op = *r.at++;
	if (op == 0x0f) {
		op = *r.at++;
		if (op != 0x38 && op != 0x3a)
			return read_0f(&r, 1, op);
		r.at++;
		return read_operand(&r);
	}
	if (op == 0xc4 || op == 0xc5) {
		r.at--;
		return read_vex(&r);
	}
	if (op == 0xa4 || op == 0xa5 || op == 0xaa || op == 0xab) { /* a string's, repeated or not: one turn */
		struct support_code code = code_of(SUPPORT_STEP_WRITES_THERE);

		code.base = RDI;
		return code;
	}
	if (spares_memory(op))
		return code_of(SUPPORT_STEP_WRITES_NOTHING);
	return has_operand(op) ? read_operand(&r) : support_code_unknown();
}

static uintptr_t value(unsigned number, const struct user_regs_struct *regs)
{
	const unsigned long long values[] = {
		regs->rax, regs->rcx, regs->rdx, regs->rbx, regs->rsp, regs->rbp, regs->rsi, regs->rdi, regs->r8,
		regs->r9,  regs->r10, regs->r11, regs->r12, regs->r13, regs->r14, regs->r15, regs->rip,
	};

	return number < G_N_ELEMENTS(values) ? (uintptr_t)values[number] : 0;
}

uintptr_t support_code_operand(struct support_code code, const struct user_regs_struct *regs)
{
	return value(code.base, regs) + (value(code.index, regs) << code.scale) + (uintptr_t)(intptr_t)code.disp +
	       (code.thread ? (uintptr_t)regs->fs_base : 0);
}
#endif
