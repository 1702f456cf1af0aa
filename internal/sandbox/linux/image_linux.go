package linux

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// imageSpec makes s start what its image or its application says, found as a
// shell would find it: by the PATH of its environment, or from the working
// directory.
func imageSpec(s sandbox.Spec) sandbox.Spec {
	rt, v := s.Runtime, s.Version
	rt.Blank, rt.Control, rt.Fallback = nil, false, nil
	command := slices.Clone(rt.Command)
	if v.App != nil && len(v.App.Command) > 0 {
		command = slices.Clone(v.App.Command)
	}
	switch {
	case len(command) == 0 || path.IsAbs(command[0]):
	case strings.Contains(command[0], "/"):
		command[0] = path.Join(workingDirectory(s), command[0])
	default:
		places := searchPath(slices.Concat(rt.Env, s.Env))
		for _, dir := range places[1:] {
			rt.Fallback = append(rt.Fallback, path.Join(dir, command[0]))
		}
		command[0] = path.Join(places[0], command[0])
	}
	rt.Command = command
	s.Runtime = rt
	s.NoReserve = true
	return s
}

// workingDirectory is where the program of s is started.
func workingDirectory(s sandbox.Spec) string {
	if s.Version == nil || s.Version.Image == nil { // none: a blank
		return "/var/task"
	}
	_, dir := s.Version.Image.Process(s.Version.ImageConfig)
	return path.Join("/", dir)
}

// root is the namespace that the instance's own is a copy of, and the edition of
// what they are made of ([roots.get]).
func (b *builder) root() (*os.File, int, error) {
	if len(b.spec.Root) == 0 {
		return b.driver.roots.get(b.spec.Runtime.Mounts)
	}
	f, err := b.driver.roots.ofImage(b.spec.Root)
	if err != nil {
		return nil, 0, fmt.Errorf("build the root: %w", err)
	}
	return f, 0, nil
}

// ofImage makes a mount namespace whose tree is the layers of an image, the last
// one on top, with what every sandbox has over them. It is not kept: that would
// hold layers that may be dropped.
func (r *roots) ofImage(layers []string) (f *os.File, err error) {
	resolver := resolvConf()
	onOwnThread(func() {
		f, err = newNamespace(func() error { return r.fillImage(layers, resolver) })
	})
	return f, err
}

func (r *roots) fillImage(layers []string, resolver string) error {
	if err := r.stage(); err != nil {
		return err
	}
	top := &tree{at: r.staging + "/top", resolver: resolver}
	for _, d := range []string{"/proc", "/dev", "/tmp", "/etc"} {
		top.mkdir(d)
	}
	top.names()
	t := &tree{at: r.staging + "/root", err: top.err}
	t.mkdir("/")
	if t.err != nil {
		return t.err
	}
	if err := overlayAt(t.at, append(slices.Clone(layers), top.at)); err != nil {
		return fmt.Errorf("merge the layers of the image: %w", err)
	}
	if t.dev(); t.err != nil {
		return t.err
	}
	return t.enter()
}

// overlayAt is [overlay] for any number of directories that mount(2) can take: its
// data is a page long.
func overlayAt(at string, dirs []string) error {
	var lower []string
	for _, dir := range slices.Backward(dirs) {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: dir, Err: err}
		}
		defer func() { _ = unix.Close(fd) }()
		lower = append(lower, "/proc/self/fd/"+strconv.Itoa(fd))
	}
	err := unix.Mount("layers", at, "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "lowerdir="+strings.Join(lower, ":"))
	return os.NewSyscallError("mount overlay", err)
}
