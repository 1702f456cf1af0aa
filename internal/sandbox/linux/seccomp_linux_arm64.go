package linux

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

var refuseForeignABI []unix.SockFilter

var deniedHere = []uint32{unix.SYS_KEXEC_FILE_LOAD}
