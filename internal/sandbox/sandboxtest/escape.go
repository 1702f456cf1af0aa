package sandboxtest

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// refused are the outcomes of an attempt that the sandbox has stopped.
var refused = []string{"EPERM", "EACCES", "ENOSYS", "EROFS", "EAFNOSUPPORT", "ENOENT"}

// escape: nothing of the host, the server or another function is in reach.
func (h Harness) escape(t *testing.T) {
	d := h.driver(t)
	code := h.code(t)
	secret := layer(t, map[string]string{"secret": "another function's code"})
	l := Start(t, d, Spec("escape", code, nil))

	t.Run("calls", func(t *testing.T) {
		var names []string
		if err := json.Unmarshal([]byte(l.Do("try", 0)), &names); err != nil || len(names) < 50 {
			t.Fatalf("attempts %v, %v", names, err)
		}
		for _, name := range names {
			got := l.Do("try", 0, name)
			if unmapped := []string{"setuid", "setgid", "chown"}; got == "EINVAL" && slices.Contains(unmapped, name) {
				continue // there is no such user to become
			}
			if !slices.Contains(refused, got) {
				t.Errorf("%s: %s", name, got)
			}
		}
	})
	t.Run("files", func(t *testing.T) {
		for _, path := range []string{"/etc/shadow", "/root", "/work", "/var/lib", "/var/log", "/run/docker.sock", "/sys/kernel", "/boot",
			"/home/user", filepath.Join(secret, "secret"), t.TempDir(), "/dev/sda", "/dev/vda", "/dev/kmsg", "/dev/loop0", "/dev/mem"} {
			for _, do := range []string{"read", "list"} {
				if got := l.Do(do, 0, path); !strings.HasPrefix(got, "ERROR: ") {
					t.Errorf("%s %s: %.80s", do, path, got)
				}
			}
		}
		// Through what the kernel shows of this and other processes.
		for _, path := range []string{"/proc/1/root/etc/shadow", "/proc/self/cwd/../../etc/shadow", "/proc/1/root/root",
			"/proc/" + strconv.Itoa(os.Getpid()) + "/environ"} {
			if got := l.Do("read", 0, path); !strings.HasPrefix(got, "ERROR: ") {
				t.Errorf("read %s: %.80s", path, got)
			}
		}
		var procs []string
		if err := json.Unmarshal([]byte(l.Do("list", 0, "/proc")), &procs); err != nil {
			t.Fatal(err)
		}
		for _, name := range procs {
			if n, err := strconv.Atoi(name); err == nil && n > 1 {
				t.Errorf("/proc shows process %d", n)
			}
		}
		// Of the server's descriptors, none but the three that it was given: the
		// others are of the probe's own runtime.
		for fd := range 64 {
			got := l.Do("link", 0, "/proc/self/fd/"+strconv.Itoa(fd))
			if strings.HasPrefix(got, "/") && got != "/dev/null" && !strings.HasPrefix(got, "/proc/") {
				t.Errorf("descriptor %d is %s", fd, got)
			}
		}
	})
	t.Run("sockets", func(t *testing.T) { h.sockets(t, l) })
	t.Run("neighbour", func(t *testing.T) {
		l.Do("write", 0, "/tmp/mine", "x")
		l.Do("write", 0, "/dev/shm/mine", "x")
		other := Start(t, d, Spec("neighbour", code, nil))
		for _, path := range []string{"/tmp/mine", "/dev/shm/mine"} {
			if got := other.Do("read", 0, path); !strings.HasPrefix(got, "ERROR: ") {
				t.Errorf("a neighbour reads %s: %s", path, got)
			}
		}
		var addrs []string
		if err := json.Unmarshal([]byte(l.Do("addresses", 0)), &addrs); err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			ip, _, err := net.ParseCIDR(a)
			if err != nil || ip.IsLoopback() || ip.To4() == nil {
				continue
			}
			if got := other.Invoke(Command{Do: "dial", Args: []string{"tcp", ip.String() + ":9001"}, N: 300}, 5e9); !got.FunctionError {
				t.Errorf("a neighbour reaches %s: %s", ip, got.Payload)
			}
		}
	})
}

// sockets: what listens on the host, on whatever address, is not to be had.
func (h Harness) sockets(t *testing.T, l *Live) {
	host := []struct{ network, address string }{{"tcp", "127.0.0.1:0"}, {"unix", "@lambent-escape-test"}}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			host = append(host, struct{ network, address string }{"tcp", net.JoinHostPort(ip.IP.String(), "0")})
		}
	}
	for _, at := range host {
		n, err := net.Listen(at.network, at.address)
		if err != nil {
			t.Errorf("listen on %s: %v", at.address, err)
			continue
		}
		reached := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			if c, err := n.Accept(); err == nil {
				close(reached)
				_ = c.Close()
			}
		}()
		a := l.Invoke(Command{Do: "dial", Args: []string{at.network, n.Addr().String()}, N: 500}, 5e9)
		if !a.FunctionError {
			t.Errorf("the host's %s answers: %s", n.Addr(), a.Payload)
		}
		_ = n.Close()
		<-done
		select {
		case <-reached:
			t.Errorf("the host's %s was reached", n.Addr())
		default:
		}
	}
	if a := l.Invoke(Command{Do: "dial", Args: []string{"tcp", "169.254.169.254:80"}, N: 300}, 5e9); !a.FunctionError {
		t.Errorf("the metadata service answers: %s", a.Payload)
	}
}
