package main

// Numbers that package syscall does not have.
const (
	sysSetns          = 268
	sysProcessVMReadv = 270
	sysFinitModule    = 273
	sysKexecLoad      = 104
	sysBPF            = 280
	sysPerfEventOpen  = 241
	sysUserfaultfd    = 282
	sysKeyctl         = 219
	sysAddKey         = 217
	sysOpenByHandleAt = 265
)
