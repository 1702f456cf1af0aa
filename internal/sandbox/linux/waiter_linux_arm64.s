//go:build linux

#include "textflag.h"

#define SYS_read 63
#define SYS_exit_group 94
#define SYS_clone3 435
#define SYS_close_range 436

// func waiterSyscall(args, size, pipe uintptr) (r1, errno uintptr)
//
// The kernel preserves all registers but R0. Nothing is ever written to the pipe, so
// that read, which ends when there is no writer, needs no place to put it.
TEXT ·waiterSyscall(SB),NOSPLIT,$0-40
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	pipe+16(FP), R9
	MOVD	$SYS_clone3, R8
	SVC
	CBZ	R0, child
	CMN	$4095, R0
	BCC	ok
	NEG	R0, R0
	MOVD	ZR, r1+24(FP)
	MOVD	R0, errno+32(FP)
	RET
ok:
	MOVD	R0, r1+24(FP)
	MOVD	ZR, errno+32(FP)
	RET
child:
	ADD	$1, R9, R0
	MOVD	$0xffffffff, R1
	MOVD	ZR, R2
	MOVD	$SYS_close_range, R8
	SVC
	CBNZ	R0, exit
	MOVD	ZR, R0
	SUB	$1, R9, R1
	MOVD	ZR, R2
	MOVD	$SYS_close_range, R8
	SVC
	CBNZ	R0, exit
	MOVD	R9, R0
	MOVD	ZR, R1
	MOVD	$1, R2
	MOVD	$SYS_read, R8
	SVC
exit:
	MOVD	$1, R0
	MOVD	$SYS_exit_group, R8
	SVC
	B	exit
