//go:build linux

#include "textflag.h"

#define SYS_read 0
#define SYS_exit_group 231
#define SYS_clone3 435
#define SYS_close_range 436

// func waiterSyscall(args, size, pipe uintptr) (r1, errno uintptr)
//
// The kernel preserves all registers but AX, CX and R11. Nothing is ever written to
// the pipe, so that read, which ends when there is no writer, needs no place to put
// it.
TEXT ·waiterSyscall(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	pipe+16(FP), BX
	MOVQ	$SYS_clone3, AX
	SYSCALL
	TESTQ	AX, AX
	JEQ	child
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
child:
	LEAQ	1(BX), DI
	MOVL	$0xffffffff, SI
	XORL	DX, DX
	MOVQ	$SYS_close_range, AX
	SYSCALL
	TESTQ	AX, AX
	JNE	exit
	XORL	DI, DI
	LEAQ	-1(BX), SI
	XORL	DX, DX
	MOVQ	$SYS_close_range, AX
	SYSCALL
	TESTQ	AX, AX
	JNE	exit
	MOVQ	BX, DI
	XORL	SI, SI
	MOVL	$1, DX
	MOVQ	$SYS_read, AX
	SYSCALL
exit:
	MOVL	$1, DI
	MOVQ	$SYS_exit_group, AX
	SYSCALL
	JMP	exit
