package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
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
		command[0], rt.Fallback = onPath(command[0], slices.Concat(rt.Env, s.Env))
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
// what they are made of ([roots.get]); nil for an image, whose is made later.
func (b *builder) root() (*os.File, int, error) {
	if len(b.spec.Root) > 0 {
		return nil, 0, nil
	}
	return b.driver.roots.get(b.spec.Runtime.Mounts)
}

// imageTree is the root of an instance that has an image.
type imageTree struct {
	layers []string // the last one on top
	trees  *trees   // those of layers that are "", by their place
	users  imageUsers
	// An application may write: what it does goes to a volume.
	volume *volume // nil: nothing can be written
	// directories are to be there: where its program starts, and what it calls volumes.
	directories []string
}

// imageRoot makes a mount namespace whose tree is the image, with what every
// sandbox has over it. It is not kept: that would hold layers that may be dropped.
func (b *builder) imageRoot() (f *os.File, err error) {
	if err := b.openUsers(); err != nil {
		return nil, err
	}
	r := b.driver.roots
	t := imageTree{layers: b.spec.Root, trees: b.trees, users: b.users, directories: []string{workingDirectory(b.spec)}}
	if v := b.spec.Version; v.App != nil {
		for _, dir := range v.Image.Volumes {
			t.directories = append(t.directories, path.Join("/", dir))
		}
		if t.volume, err = b.driver.mountTmp(v.EphemeralMB); err != nil {
			return nil, fmt.Errorf("make the writable part of the root: %w", err)
		}
		defer func() { _ = t.volume.Close() }() // the mount keeps it
	}
	resolver := resolvConf()
	onOwnThread(func() {
		f, err = newNamespace(func() error { return r.fillImage(t, resolver) })
	})
	if err != nil {
		return nil, fmt.Errorf("build the root: %w", err)
	}
	return f, nil
}

func (r *roots) fillImage(i imageTree, resolver string) error {
	if err := r.stage(); err != nil {
		return err
	}
	top := &tree{at: r.staging + "/top", resolver: resolver}
	for _, d := range []string{"/proc", "/dev", "/tmp", "/etc"} {
		top.mkdir(d)
	}
	top.names()
	t := &tree{at: r.staging + "/root", writable: i.volume != nil, err: top.err}
	t.mkdir("/")
	if t.err != nil {
		return t.err
	}
	if err := i.merge(r.staging, t.at, top.at); err != nil {
		return fmt.Errorf("merge the layers of the image: %w", err)
	}
	if t.dev(); t.err != nil {
		return t.err
	}
	for _, dir := range i.directories {
		if err := i.makeDirectory(t.at, dir); err != nil {
			return fmt.Errorf("make the directory %s: %w", dir, err)
		}
	}
	return t.enter()
}

// makeDirectory makes what is missing of a directory of an application, as container
// runtimes do; where there is something else in its way, the start says so.
func (i imageTree) makeDirectory(root, dir string) error {
	if i.volume == nil {
		return nil
	}
	top, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(top) }()
	beneath := &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	at, done := top, "/"
	for name := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		done = path.Join(done, name)
		next, err := unix.Openat2(top, done, beneath)
		if errors.Is(err, unix.ENOENT) && unix.Mkdirat(at, name, 0o755) == nil {
			if err := unix.Fchownat(at, name, i.users.root, i.users.root, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
			next, err = unix.Openat2(top, done, beneath)
		}
		if err != nil {
			return nil // as said above
		}
		defer func() { _ = unix.Close(next) }() // there are few
		at = next
	}
	return nil
}

// merge mounts the layers, below what is in top, at a path.
func (i imageTree) merge(staging, at, top string) error {
	coming := staging + "/coming"
	if err := i.attachTrees(coming); err != nil {
		return err
	}
	var dirs []string
	for n, layer := range i.layers {
		if layer == "" {
			dirs = append(dirs, coming+"/"+strconv.Itoa(n))
			continue
		}
		dir := staging + "/layers/" + strconv.Itoa(n)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := i.users.bind(layer, dir); err != nil {
			return err
		}
		dirs = append(dirs, dir)
	}
	if err := chownAll(top, i.users.root); err != nil {
		return err
	}
	dirs = append(dirs, top)
	if i.volume == nil {
		return overlayAt(at, dirs, "")
	}
	own := staging + "/own"
	if err := os.Mkdir(own, 0o755); err != nil {
		return err
	}
	if err := attach(i.volume.fd, own); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(own+"/upper", 0o755), os.Mkdir(own+"/work", 0o755), os.Chown(own+"/upper", i.users.root, i.users.root)); err != nil {
		return err
	}
	return overlayAt(at, dirs, own)
}

// attachTrees mounts the layers that are still coming in, if there are any.
func (i imageTree) attachTrees(at string) error {
	if i.trees == nil {
		return nil
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	fd, err := i.trees.mount()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return attach(fd, at)
}

// chownAll gives a tree of ours to a user of the host.
func chownAll(dir string, owner int) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, owner, owner))
	})
}

// overlayAt is [overlay] for any number of directories that mount(2) can take: its
// data is a page long. Changes go below own, if that is not "".
func overlayAt(at string, dirs []string, own string) error {
	var lower []string
	for _, dir := range slices.Backward(dirs) {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: dir, Err: err}
		}
		defer func() { _ = unix.Close(fd) }()
		lower = append(lower, "/proc/self/fd/"+strconv.Itoa(fd))
	}
	flags, data := uintptr(unix.MS_NOSUID|unix.MS_NODEV), "lowerdir="+strings.Join(lower, ":")
	if own == "" {
		flags |= unix.MS_RDONLY
	} else {
		data += ",upperdir=" + own + "/upper,workdir=" + own + "/work"
	}
	return os.NewSyscallError("mount overlay", unix.Mount("layers", at, "overlay", flags, data))
}
