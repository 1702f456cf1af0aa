package linux

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// anchor is the first process of a sandbox in which more than the runtime runs. When
// the first process of a pid namespace ends, the kernel ends everything else in there
// (pid_namespaces(7)); with an anchor the runtime is not the first, and what runs
// beside it outlives it. It only waits, and what others leave to it is reaped by the
// kernel, as it ignores SIGCHLD.
type anchor struct {
	spawned
	pidfd *os.File // the same, to wait for
}

// anchorCode is machine code that waits for signals without end.
var anchorCode = map[string]struct {
	machine elf.Machine
	code    []byte
}{
	"amd64": {elf.EM_X86_64, []byte{
		0xb8, 34, 0, 0, 0, // mov eax, 34: pause(2)
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp to the mov
	}},
	"arm64": {elf.EM_AARCH64, []byte{
		0x00, 0x00, 0x80, 0xd2, // mov x0, 0
		0x01, 0x00, 0x80, 0xd2, // mov x1, 0
		0x02, 0x00, 0x80, 0xd2, // mov x2, 0
		0x03, 0x00, 0x80, 0xd2, // mov x3, 0
		0x28, 0x09, 0x80, 0xd2, // mov x8, 73: ppoll(2), of nothing and for ever
		0x01, 0x00, 0x00, 0xd4, // svc 0
		0xfa, 0xff, 0xff, 0x17, // b to the first
	}},
}

// openAnchorProgram makes the anchor's program, which is in memory only: an image need
// not have any that would do. All anchors are made of it, and a function may find it as
// /proc/1/exe: it is sealed, so that nobody can write to it.
func openAnchorProgram() (*os.File, error) {
	p, ok := anchorCode[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("the first process of a sandbox is not written for %s", runtime.GOARCH)
	}
	const at = 0x400000 // where it is loaded
	head := uint64(unsafe.Sizeof(elf.Header64{}) + unsafe.Sizeof(elf.Prog64{}))
	size := head + uint64(len(p.code))
	var b bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(p.machine), Version: uint32(elf.EV_CURRENT), Entry: at + head,
			Phoff: uint64(unsafe.Sizeof(elf.Header64{})), Ehsize: uint16(unsafe.Sizeof(elf.Header64{})),
			Phentsize: uint16(unsafe.Sizeof(elf.Prog64{})), Phnum: 1,
		},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: at, Paddr: at, Filesz: size, Memsz: size, Align: 4096},
		p.code,
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return nil, err
		}
	}
	fd, err := unix.MemfdCreate("anchor", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	writable := os.NewFile(uintptr(fd), "anchor")
	defer func() { _ = writable.Close() }() // while it is open, the program is busy
	if _, err := writable.Write(b.Bytes()); err != nil {
		return nil, err
	}
	seals := unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, os.NewSyscallError("seal", err)
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// ignoreChildren has the kernel reap the children of a process and of its later
// programs: struct sigaction with SIG_IGN and nothing else.
func ignoreChildren(p *program) {
	ignore := make(blob, 4*unsafe.Sizeof(uintptr(0)))
	ignore[0] = 1
	p.do("ignore children", unix.SYS_RT_SIGACTION, int(unix.SIGCHLD), ignore, 0, 8)
}

// spawnAnchor starts the anchor, and has the calling thread's further children be in
// its pid namespace.
func (b *builder) spawnAnchor() error {
	s := spawnSpec{command: []string{"anchor"}, anchor: true}
	b.complete(&s)
	if b.spec.Version.Image != nil {
		s.userns, s.apart = int(b.users.userns.Fd()), b.trees != nil
	}
	s.directory, s.output, s.control = "/", s.null, int(b.driver.anchor.Fd())
	p, err := spawn(s)
	if err != nil {
		return fmt.Errorf("start the first process: %w", err)
	}
	b.driver.strays.add(p.pid)
	b.anchor = &anchor{p, os.NewFile(uintptr(p.pidfd), "pidfd")}
	b.defers(func() {
		b.anchor.kill()
		_, _ = syscall.Wait4(p.pid, nil, 0, nil)
		b.driver.strays.drop(p.pid)
		_ = b.anchor.pidfd.Close()
	})
	if err := unix.SetNonblock(p.pidfd, true); err != nil {
		return os.NewSyscallError("set nonblocking", err)
	}
	return os.NewSyscallError("setns pid", unix.Setns(p.pidfd, unix.CLONE_NEWPID))
}

// kill ends the anchor, and everything in its pid namespace with it.
func (a *anchor) kill() {
	_ = unix.PidfdSendSignal(a.spawned.pidfd, unix.SIGKILL, nil, 0) // it may have ended
}

// killGroup ends what a process that has ended, but is not reaped yet, leaves of its
// process group: until then nobody else can have its number. What has gone to another
// group stays until the sandbox ends, as on AWS.
func killGroup(pid int, pidfd *os.File) {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return
	}
	err = raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
	if err == nil {
		_ = unix.Kill(-pid, unix.SIGKILL) // most often there is nothing left
	}
}
