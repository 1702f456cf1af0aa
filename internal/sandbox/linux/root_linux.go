package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// roots keeps, for every set of runtime mounts, a mount namespace whose tree is
// ready but for what differs between instances: code, layers, /tmp, /proc. An
// instance starts from a copy of it, so neither the host's own mounts, however
// many, nor the building of the tree are on the path of a cold start, and no
// path of the host exists in the namespace that the function gets.
//
// A namespace is held by a descriptor only. Nothing is mounted in the host's.
type roots struct {
	staging string // an empty directory of ours

	mu       sync.Mutex // guards the rest; held while one is built
	byKey    map[string]*os.File
	resolver string    // the /etc/resolv.conf that all of them have
	looked   time.Time // when it was read last
	built    int       // grows when that changes
}

// get gives the namespace for these runtime mounts, which the caller closes, and
// a number that changes when copies that were made before are out of date.
func (r *roots) get(mounts []sandbox.Mount) (*os.File, int, error) {
	var key strings.Builder
	for _, m := range mounts {
		fmt.Fprintf(&key, "%s\x00%s\x00%s\x00", m.Host, m.Guest, m.Link)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lookAtResolver()
	f := r.byKey[key.String()]
	if f == nil {
		var err error
		onOwnThread(func() { f, err = r.build(mounts) })
		if err != nil {
			return nil, 0, fmt.Errorf("build the root: %w", err)
		}
		r.byKey[key.String()] = f
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, 0, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(fd), "root"), r.built, nil
}

// resolverEvery is how often the host's resolver is looked for.
const resolverEvery = 100 * time.Millisecond

// lookAtResolver notices that the host has moved to another network: functions shall
// find its resolver. It is called with mu held.
func (r *roots) lookAtResolver() {
	now := time.Now()
	if now.Sub(r.looked) < resolverEvery {
		return
	}
	r.looked = now
	if resolver := resolvConf(); resolver != r.resolver {
		r.forget()
		r.resolver = resolver
		r.built++
	}
}

// forget closes all. It is called with mu held.
func (r *roots) forget() {
	for _, f := range r.byKey {
		_ = f.Close()
	}
	clear(r.byKey)
}

func (r *roots) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
}

// build makes the tree of these runtime mounts, and returns its namespace.
func (r *roots) build(mounts []sandbox.Mount) (*os.File, error) {
	return newNamespace(func() error { return r.fill(mounts) })
}

// newNamespace makes a tree in a mount namespace of the calling thread, which ends
// afterwards, and returns the namespace.
func newNamespace(fill func() error) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	unix.Umask(0o022) // the thread's own now: what is made here is for everyone to read
	ns, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return nil, err
	}
	if err := fill(); err != nil {
		_ = ns.Close()
		return nil, err
	}
	return ns, nil
}

// stage makes the place where a tree is built.
func (r *roots) stage() error {
	// Nothing that is mounted here may show on the host, or the other way round.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("make mounts private", err)
	}
	return os.NewSyscallError("mount root", unix.Mount("lambent", r.staging, "tmpfs", unix.MS_NOSUID, "mode=755,size=1m"))
}

func (r *roots) fill(mounts []sandbox.Mount) error {
	if err := r.stage(); err != nil {
		return err
	}
	t := &tree{at: r.staging, resolver: r.resolver}
	t.directories()
	t.system()
	t.etc()
	for _, m := range mounts {
		if m.Host == "" {
			t.symlink(m.Link, m.Guest)
		} else {
			t.bind(m.Host, m.Guest)
		}
	}
	t.dev()
	if t.err != nil {
		return t.err
	}
	return t.enter()
}

// tree builds a root beneath a directory. The first error sticks.
type tree struct {
	at       string
	resolver string // content of /etc/resolv.conf
	writable bool   // what is written goes to a place of the instance's own
	err      error
}

func (t *tree) path(guest string) string { return filepath.Join(t.at, filepath.Clean("/"+guest)) }

func (t *tree) do(what string, err error) {
	if t.err == nil && err != nil {
		t.err = fmt.Errorf("%s: %w", what, err)
	}
}

func (t *tree) mkdir(guest string) {
	if t.err == nil {
		t.do("make "+guest, os.MkdirAll(t.path(guest), 0o755))
	}
}

func (t *tree) write(guest, content string) {
	if t.err == nil {
		t.do("write "+guest, os.WriteFile(t.path(guest), []byte(content), 0o644))
	}
}

func (t *tree) symlink(target, guest string) {
	if t.err == nil {
		t.do("link "+guest, os.Symlink(target, t.path(guest)))
	}
}

// bind mounts host, a file or a directory with all that is mounted below it,
// read-only at guest.
func (t *tree) bind(host, guest string) {
	if t.err != nil {
		return
	}
	info, err := os.Stat(host)
	if err != nil {
		t.do("bind "+guest, err)
		return
	}
	if _, err := os.Lstat(t.path(guest)); errors.Is(err, fs.ErrNotExist) {
		if info.IsDir() {
			t.mkdir(guest)
		} else {
			t.mkdir(filepath.Dir(guest))
			t.write(guest, "")
		}
	}
	if t.err != nil {
		return
	}
	fd, err := detached(host, unix.AT_RECURSIVE)
	if err != nil {
		t.do("bind "+guest, err)
		return
	}
	defer func() { _ = unix.Close(fd) }()
	t.do("bind "+guest, attach(fd, t.path(guest)))
}

// bindIf binds what the host may not have.
func (t *tree) bindIf(path string) {
	if _, err := os.Stat(path); err == nil {
		t.bind(path, path)
	}
}

// directories that instances mount onto, or that programs expect.
func (t *tree) directories() {
	for _, d := range []string{"/proc", "/tmp", "/opt", "/var/task", "/var/runtime", "/var/lang", sandbox.CacheDir, "/usr", "/etc", "/dev", "/run", "/home"} {
		t.mkdir(d)
	}
	t.symlink("/tmp", "/var/tmp")
	t.symlink("/run", "/var/run")
}

// system is the host's programs and libraries: /usr, and the top directories
// that are links into it on merged systems and directories on others.
func (t *tree) system() {
	t.bind("/usr", "/usr")
	for _, d := range []string{"/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"} {
		if target, err := os.Readlink(d); err == nil {
			t.symlink(target, d)
		} else {
			t.bindIf(d)
		}
	}
}

// etc is what name lookup, TLS and the language runtimes read, and no more: the
// host's users, services and secrets are not here.
func (t *tree) etc() {
	t.write("/etc/passwd", fmt.Sprintf("root:x:0:0:root:/root:/sbin/nologin\n%s:x:%d:%d::/home/%s:/sbin/nologin\n",
		guestUser, guestUID, guestGID, guestUser))
	t.write("/etc/group", fmt.Sprintf("root:x:0:\n%s:x:%d:\n", guestUser, guestGID))
	t.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n")
	t.names()
	for _, p := range []string{"/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls", "/etc/pki/ca-trust", "/etc/ca-certificates",
		"/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
		"/etc/mime.types", "/etc/services", "/etc/protocols", "/etc/os-release"} {
		t.bindIf(p)
	}
	java, _ := filepath.Glob("/etc/java-*")
	for _, p := range java {
		t.bindIf(p)
	}
}

// names is what the sandbox is called, and where it asks for others.
func (t *tree) names() {
	t.write("/etc/hosts", "127.0.0.1 localhost sandbox sandbox.localdomain\n::1 localhost\n")
	t.write("/etc/hostname", guestHostname+"\n")
	t.write("/etc/resolv.conf", t.resolver)
}

// guestHostname goes with the name that AWS gives to the sandbox's own address
// ("Telemetry API", destination URI).
const guestHostname = "sandbox"

// resolvConf is the host's resolver configuration, without resolvers on the
// host's loopback, which is not the sandbox's. systemd keeps the real ones in a
// second file (systemd-resolved(8)).
func resolvConf() string {
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if conf, ok := usableResolvers(string(b)); ok {
			return conf
		}
	}
	return ""
}

func usableResolvers(conf string) (string, bool) {
	var out strings.Builder
	found := false
	for line := range strings.Lines(conf) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if strings.HasPrefix(f[1], "127.") || f[1] == "::1" {
				continue
			}
			found = true
		case "search", "domain", "options":
		default:
			continue
		}
		out.WriteString(strings.Join(f, " ") + "\n")
	}
	return out.String(), found
}

// devices are the standard ones: number by name (Documentation/admin-guide/devices.txt).
var devices = []struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

// dev is a file system of its own because it is the only one where device files
// work.
func (t *tree) dev() {
	if t.err != nil {
		return
	}
	t.do("mount /dev", unix.Mount("lambent", t.path("/dev"), "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755,size=64k"))
	for _, d := range devices {
		p := t.path("/dev/" + d.name)
		if t.err != nil {
			return
		}
		t.do("make /dev/"+d.name, unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))))
		t.do("open up /dev/"+d.name, unix.Chmod(p, 0o666)) // past the umask
	}
	t.symlink("/proc/self/fd", "/dev/fd")
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		t.symlink("/proc/self/fd/"+strconv.Itoa(i), "/dev/"+name)
	}
	t.mkdir("/dev/shm")
}

// protectPatiently changes the mounts at a path, and waits while a file on one of
// them is open for writing (EBUSY). None is, here; but a child that the server forks
// in the moment in which it writes one holds a copy of that descriptor until it
// executes something.
func protectPatiently(at string, attr *unix.MountAttr) (err error) {
	for wait := time.Millisecond; ; wait *= 2 {
		err = unix.MountSetattr(unix.AT_FDCWD, at, unix.AT_RECURSIVE, attr)
		if !errors.Is(err, unix.EBUSY) || wait > busyWait {
			return err
		}
		time.Sleep(wait)
	}
}

// enter makes the tree the root, read-only unless it is an application's own, and
// the host's go away.
func (t *tree) enter() error {
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}
	if t.writable {
		attr.Attr_set = unix.MOUNT_ATTR_NOSUID
	}
	if err := protectPatiently(t.at, attr); err != nil {
		return os.NewSyscallError("protect the root", err)
	}
	// No device files but in /dev: everything else is nodev, mount by mount.
	if err := unix.MountSetattr(unix.AT_FDCWD, t.at, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV}); err != nil {
		return os.NewSyscallError("protect the root", err)
	}
	if err := unix.Chdir(t.at); err != nil {
		return os.NewSyscallError("chdir", err)
	}
	// The old root lands on top of the new one, which is its own parent then,
	// and is detached with all that was below it (pivot_root(2), NOTES).
	if err := unix.PivotRoot(".", "."); err != nil {
		return os.NewSyscallError("pivot_root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return os.NewSyscallError("detach the old root", err)
	}
	return os.NewSyscallError("chdir", unix.Chdir("/"))
}

// readOnly is what every mount of the host's files gets.
var readOnly = &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
	Propagation: unix.MS_PRIVATE}

// detached clones the mount at a path of the host, read-only, without attaching
// it anywhere.
func detached(path string, flags uint) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|flags)
	if err != nil {
		return -1, &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|flags, readOnly); err != nil {
		_ = unix.Close(fd)
		return -1, &os.PathError{Op: "mount_setattr", Path: path, Err: err}
	}
	return fd, nil
}

// attach puts a detached mount at a path of the calling thread's namespace.
func attach(fd int, path string) error {
	err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
	if err != nil {
		return &os.PathError{Op: "move_mount", Path: path, Err: err}
	}
	return nil
}

// overlay merges directories, the last one on top, without a place to write.
// They are named by descriptor: a string of fsconfig(2) holds 255 bytes.
func overlay(dirs []string) (int, error) {
	var lower []string
	for i := len(dirs) - 1; i >= 0; i-- {
		fd, err := unix.Open(dirs[i], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: dirs[i], Err: err}
		}
		defer func() { _ = unix.Close(fd) }()
		lower = append(lower, "/proc/self/fd/"+strconv.Itoa(fd))
	}
	return newMount("overlay", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV,
		[][2]string{{"source", "layers"}, {"lowerdir", strings.Join(lower, ":")}})
}

// newMount makes a file system and a mount of it that is attached nowhere. A
// setting without a value is a flag.
func newMount(fstype string, attr int, settings [][2]string) (int, error) {
	fsfd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen "+fstype, err)
	}
	defer func() { _ = unix.Close(fsfd) }()
	for _, s := range settings {
		if s[1] == "" {
			err = unix.FsconfigSetFlag(fsfd, s[0])
		} else {
			err = unix.FsconfigSetString(fsfd, s[0], s[1])
		}
		if err != nil {
			return -1, fmt.Errorf("configure %s %s: %w%s", fstype, s[0], err, complaint(fsfd))
		}
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return -1, fmt.Errorf("create %s: %w%s", fstype, err, complaint(fsfd))
	}
	fd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return -1, os.NewSyscallError("fsmount "+fstype, err)
	}
	return fd, nil
}

// complaint is what the file system had to say, in its own words.
func complaint(fsfd int) string {
	buf := make([]byte, 256)
	n, err := unix.Read(fsfd, buf)
	if err != nil || n <= 0 {
		return ""
	}
	return " (" + strings.TrimSpace(string(buf[:n])) + ")"
}
