//go:build linux

#include "textflag.h"

// func vforkSyscall(trap, a1, a2 uintptr) (r1, errno uintptr)
//
// A child made with CLONE_VM shares the stack it returns on. Its first call
// after the return overwrites the slot that holds this function's return
// address, so the address is kept in a register, which the kernel preserves for
// the parent, while both are away.
TEXT ·vforkSyscall(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	trap+0(FP), AX
	MOVQ	a1+8(FP), DI
	MOVQ	a2+16(FP), SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	XORL	R9, R9
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	CMPQ	AX, $0xfffffffffffff001
	JCC	fail
	MOVQ	AX, r1+24(FP)
	MOVQ	$0, errno+32(FP)
	RET
fail:
	NEGQ	AX
	MOVQ	$0, r1+24(FP)
	MOVQ	AX, errno+32(FP)
	RET
