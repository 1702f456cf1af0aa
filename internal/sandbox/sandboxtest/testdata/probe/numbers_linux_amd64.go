package main

// Numbers that package syscall does not have.
const (
	sysSetns          = 308
	sysProcessVMReadv = 310
	sysFinitModule    = 313
	sysKexecLoad      = 246
	sysBPF            = 321
	sysPerfEventOpen  = 298
	sysUserfaultfd    = 323
	sysKeyctl         = 250
	sysAddKey         = 248
	sysOpenByHandleAt = 304
)
