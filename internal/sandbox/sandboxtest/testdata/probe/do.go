package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// kept is memory that must not be collected.
var kept [][]byte

// run does what e says and gives an answer that can be JSON.
func run(e event) (any, error) {
	arg := func(i int) string {
		if i < len(e.Args) {
			return e.Args[i]
		}
		return ""
	}
	switch e.Do {
	case "echo":
		return e.Args, nil
	case "error":
		return nil, errors.New(arg(0))
	case "exit":
		os.Exit(e.N)
	case "crash":
		return nil, syscall.Kill(os.Getpid(), syscall.SIGSEGV)
	case "sleep":
		time.Sleep(time.Duration(e.N) * time.Millisecond)
		return "slept", nil
	case "spin":
		return spin(time.Duration(e.N) * time.Millisecond), nil
	case "print":
		return print(e), nil
	case "allocate":
		return allocate(e.N), nil
	case "processes":
		return processes(e.N, "sleep")
	case "writer":
		return processes(1, "write")
	case "killall":
		return errno(syscall.Kill(-1, syscall.SIGKILL)), nil
	case "signals":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		return "ignored", nil
	case "closefds":
		for fd := range 1024 {
			_ = syscall.Close(fd)
		}
		time.Sleep(time.Hour)
	}
	if answer, err, ok := files(e, arg); ok {
		return answer, err
	}
	if answer, err, ok := network(e, arg); ok {
		return answer, err
	}
	if e.Do == "try" {
		return try(arg(0)), nil
	}
	return nil, fmt.Errorf("no such thing to do: %q", e.Do)
}

// files has the commands that look at the file system and the process.
func files(e event, arg func(int) string) (any, error, bool) {
	switch e.Do {
	case "read":
		b, err := read(arg(0), e.N)
		return string(b), err, true
	case "link":
		target, err := os.Readlink(arg(0))
		return target, err, true
	case "write":
		return nil, os.WriteFile(arg(0), []byte(arg(1)), 0o644), true
	case "symlink":
		return nil, os.Symlink(arg(0), arg(1)), true
	case "mkfifo":
		return nil, syscall.Mkfifo(arg(0), 0o600), true
	case "list":
		names, err := list(arg(0))
		return names, err, true
	case "fill":
		n, err := fill(arg(0), int64(e.N)<<20)
		return n, err, true
	case "deep":
		return nil, deep(arg(0), e.N), true
	case "stat":
		s, err := os.Stat(arg(0))
		if err != nil {
			return nil, err, true
		}
		st := s.Sys().(*syscall.Stat_t)
		return fmt.Sprintf("%s %d:%d", s.Mode(), st.Uid, st.Gid), nil, true
	case "env":
		return os.Environ(), nil, true
	case "cwd":
		wd, err := os.Getwd()
		return wd, err, true
	case "id":
		return []int{os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid(), os.Getpid()}, nil, true
	case "limit":
		var l syscall.Rlimit
		err := syscall.Getrlimit(e.N, &l)
		return []uint64{l.Cur, l.Max}, err, true
	case "hostname":
		h, err := os.Hostname()
		return h, err, true
	}
	return nil, nil, false
}

// network has the commands that open sockets.
func network(e event, arg func(int) string) (any, error, bool) {
	switch e.Do {
	case "dial":
		c, err := net.DialTimeout(arg(0), arg(1), time.Duration(e.N)*time.Millisecond)
		if err != nil {
			return nil, err, true
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		b, err := io.ReadAll(io.LimitReader(c, 1024))
		return string(b), err, true
	case "listen":
		address, err := listen()
		return address, err, true
	case "addresses":
		addrs, err := net.InterfaceAddrs()
		var list []string
		for _, a := range addrs {
			list = append(list, a.String())
		}
		return list, err, true
	}
	return nil, nil, false
}

// listen greets everyone who comes to the outside address.
func listen() (string, error) {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "here")
			c.Close()
		}
	}()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return fmt.Sprintf("%s:%d", ip.IP, l.Addr().(*net.TCPAddr).Port), nil
		}
	}
	return "", errors.New("no outside address")
}

func spin(d time.Duration) int {
	n := 0
	for end := time.Now().Add(d); time.Now().Before(end); n++ {
	}
	return n
}

// print writes n lines of the text, and a piece without an end if there is one.
func print(e event) string {
	text := e.Args[0]
	if len(e.Args) > 2 {
		text = strings.Repeat(text, 1<<20/len(text))
	}
	for range e.N {
		fmt.Println(text)
	}
	if len(e.Args) > 1 {
		fmt.Fprint(os.Stderr, e.Args[1])
	}
	return "printed"
}

// allocate takes mb megabytes and uses them.
func allocate(mb int) int {
	for range mb {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		kept = append(kept, b)
	}
	return len(kept)
}

// processes starts up to n children and tells how many it got.
func processes(n int, what string) (int, error) {
	for i := range n {
		c := exec.Command("/proc/self/exe", what)
		c.Stdout = os.Stdout
		if err := c.Start(); err != nil {
			return i, nil
		}
	}
	return n, nil
}

func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// fill writes up to limit bytes and tells how many there was room for.
func fill(path string, limit int64) (string, error) {
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	var n int64
	for n < limit {
		m, err := f.Write(block)
		n += int64(m)
		if err != nil {
			return fmt.Sprintf("%d %s", n>>20, errno(err)), nil
		}
	}
	return fmt.Sprintf("%d", n>>20), nil
}

// deep makes a path of n directories.
func deep(dir string, n int) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	defer os.Chdir("/var/task")
	for range n {
		if err := os.Mkdir("d", 0o755); err != nil {
			return err
		}
		if err := os.Chdir("d"); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join("f"), []byte("deep"), 0o644)
}

// errno names an error by its number, or says "ok".
func errno(err error) string {
	if err == nil {
		return "ok"
	}
	var e syscall.Errno
	if !errors.As(err, &e) {
		return err.Error()
	}
	for name, v := range errnos {
		if v == e {
			return name
		}
	}
	return e.Error()
}

var errnos = map[string]syscall.Errno{
	"EPERM": syscall.EPERM, "EACCES": syscall.EACCES, "ENOSYS": syscall.ENOSYS, "ENOENT": syscall.ENOENT,
	"EROFS": syscall.EROFS, "ENOSPC": syscall.ENOSPC, "EAFNOSUPPORT": syscall.EAFNOSUPPORT, "ESRCH": syscall.ESRCH,
	"EINVAL": syscall.EINVAL, "EBADF": syscall.EBADF, "EFAULT": syscall.EFAULT, "ENODEV": syscall.ENODEV,
	"ENXIO": syscall.ENXIO, "EAGAIN": syscall.EAGAIN, "EIO": syscall.EIO,
}

// read reads a file, or n bytes of it if n is not 0.
func read(name string, n int) ([]byte, error) {
	if n == 0 {
		return os.ReadFile(name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(f, b)
	return b, errors.Join(err, f.Close())
}
