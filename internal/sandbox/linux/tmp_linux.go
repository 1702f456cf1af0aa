package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// scratch makes /tmp for instances: an ext4 image in a nameless sparse file, on
// a loop device that frees itself. A tmpfs would be simpler, but its pages count
// against the function's memory, and on AWS /tmp does not.
//
// An image of each size is formatted once; what mke2fs wrote, some 150 KB, is kept in
// memory, for so many sizes, and is all that an instance's image starts with.
type scratch struct {
	dir string // on the disk that takes the images

	mu        sync.Mutex // guards templates
	templates map[int]*template
}

// maxTemplates is of how many sizes a file system is kept: who makes a function of each
// size that there may be shall not fill the memory.
const maxTemplates = 32

// template is an empty file system.
type template struct {
	mu      sync.Mutex // guards the rest; held while it is formatted
	size    int64
	extents []extent // nil until it is
}

type extent struct {
	at   int64
	data []byte
}

// scratchOptions: the content dies with the instance, so nothing needs to reach
// the disk in any order, and no inode table needs to be zeroed ahead.
var scratchOptions = [][2]string{{"noinit_itable", ""}, {"nobarrier", ""}}

// mount makes an empty /tmp of mb megabytes, attached nowhere.
func (s *scratch) mount(mb int) (*volume, error) {
	t, err := s.template(mb)
	if err != nil {
		return nil, err
	}
	image, err := s.nameless()
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	defer func() { _ = image.Close() }()
	if err := t.writeTo(image); err != nil {
		return nil, fmt.Errorf("write image: %w", err)
	}
	v, err := mountImage(image)
	if err != nil {
		return nil, err
	}
	v.mb = mb
	return v, nil
}

// tmpfs is the stand-in where there is no loop device or no mke2fs.
func tmpfs(mb int) (*volume, error) {
	fd, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV,
		[][2]string{{"source", "tmp"}, {"size", strconv.Itoa(mb) + "m"}, {"mode", "1777"}})
	if err != nil {
		return nil, err
	}
	return &volume{fd: fd, loop: -1, mb: mb}, nil
}

// volume is one /tmp: a mount that waits for its place, and the loop device below
// it, whose descriptor keeps the content alive beyond every mount of it.
type volume struct {
	fd     int // of the mount, or -1
	loop   int // of the device, or -1 for a tmpfs
	device string
	mb     int
	mapped bool // files belong to the function's user, whichever slot it is in
}

// mapTo makes the mount show the files of a sandbox's users as the slot's: on
// the disk they belong to the id inside, so that a successor in another slot
// finds them its own (mount_setattr(2), "ID-mapped mounts"). It must be called
// before the mount is attached. Kernels before 5.12 cannot do it.
func (v *volume) mapTo(userns *os.File) {
	if v.loop < 0 {
		return
	}
	err := unix.MountSetattr(v.fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())})
	v.mapped = err == nil
}

// remount mounts what the volume has once more, for another instance.
func (v *volume) remount() (err error) {
	v.closeMount()
	v.fd, err = mountLoop(v.device)
	return err
}

func (v *volume) closeMount() {
	if v.fd >= 0 {
		_ = unix.Close(v.fd)
		v.fd = -1
	}
}

// Close lets go of the volume. Its content goes with its last mount. One that is nil is
// closed.
func (v *volume) Close() error {
	if v == nil {
		return nil
	}
	v.closeMount()
	if v.loop < 0 {
		return nil
	}
	loop := v.loop
	v.loop = -1
	return os.NewSyscallError("close loop device", unix.Close(loop))
}

// nameless makes a file that is gone when its last user is, even after a crash.
func (s *scratch) nameless() (*os.File, error) {
	fd, err := unix.Open(s.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), "image"), nil
	}
	f, err := os.CreateTemp(s.dir, "image-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (t *template) writeTo(f *os.File) error {
	if err := f.Truncate(t.size); err != nil {
		return err
	}
	for _, e := range t.extents {
		if _, err := f.WriteAt(e.data, e.at); err != nil {
			return err
		}
	}
	return nil
}

func (s *scratch) template(mb int) (*template, error) {
	t := s.keep(mb)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.extents != nil {
		return t, nil
	}
	if err := s.format(t, mb); err != nil {
		return nil, fmt.Errorf("format /tmp of %d MB: %w", mb, err)
	}
	return t, nil
}

// keep is the template of a size. Where there are too many, any of another size than the
// usual one makes room.
func (s *scratch) keep(mb int) *template {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.templates[mb]
	if t != nil {
		return t
	}
	for other := range s.templates {
		if len(s.templates) >= maxTemplates && other != usual.tmpMB {
			delete(s.templates, other)
		}
	}
	t = &template{}
	s.templates[mb] = t
	return t
}

// format makes a file system in which mb megabytes are free for data.
func (s *scratch) format(t *template, mb int) error {
	f, err := os.CreateTemp(s.dir, "format-")
	if err != nil {
		return err
	}
	defer func() { _, _ = f.Close(), os.Remove(f.Name()) }()
	// And room for the metadata, mostly inodes: 256 bytes for every 16 KiB.
	size := int64(mb)<<20 + int64(mb)<<14 + int64(mb)<<12 + 4<<20
	if err := f.Truncate(size); err != nil {
		return err
	}
	// No journal: nothing survives the instance. Metadata in one place: few
	// extents. No checksums: nobody else writes the image.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, mke2fs(), "-q", "-F", "-t", "ext4", "-m", "0", "-i", "16384",
		"-O", "^has_journal,^metadata_csum,^64bit,^resize_inode",
		// The root belongs to the function's user: in an id-mapped mount nobody may
		// write to what belongs to an id that is not mapped.
		"-E", fmt.Sprintf("nodiscard,packed_meta_blocks=1,root_owner=%d:%d", guestUID, guestGID), f.Name())
	cmd.Env = []string{"MKE2FS_CONFIG=/dev/null", "LC_ALL=C"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, bytes.TrimSpace(out))
	}
	if err := finishImage(f); err != nil {
		return err
	}
	t.size = size
	t.extents, err = readExtents(f)
	return err
}

func mke2fs() string {
	for _, p := range []string{"/usr/sbin/mke2fs", "/sbin/mke2fs"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return "mke2fs"
}

// finishImage gives the root directory its mode, and removes what mke2fs puts
// into it.
func finishImage(f *os.File) error {
	v, err := mountImage(f)
	if err != nil {
		return err
	}
	defer func() { _ = v.Close() }()
	fd := v.fd
	if err := unix.Unlinkat(fd, "lost+found", unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return os.NewSyscallError("remove lost+found", err)
	}
	root, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open the image's root", err)
	}
	defer func() { _ = unix.Close(root) }()
	if err := unix.Fchmod(root, 0o1777); err != nil {
		return os.NewSyscallError("chmod", err)
	}
	return os.NewSyscallError("syncfs", unix.Syncfs(root))
}

// readExtents reads the parts of a sparse file that have data.
func readExtents(f *os.File) ([]extent, error) {
	var list []extent
	fd := int(f.Fd())
	for at := int64(0); ; {
		start, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return list, nil
		}
		if err != nil {
			return nil, os.NewSyscallError("seek", err)
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil {
			return nil, os.NewSyscallError("seek", err)
		}
		e := extent{at: start, data: make([]byte, end-start)}
		if _, err := f.ReadAt(e.data, start); err != nil {
			return nil, err
		}
		list = append(list, e)
		at = end
	}
}

// mountImage mounts the file system in f on a loop device that goes with its last
// user.
func mountImage(f *os.File) (*volume, error) {
	loop, device, err := attachLoop(f)
	if err != nil {
		return nil, err
	}
	fd, err := mountLoop(device)
	if err != nil {
		_ = unix.Close(loop)
		return nil, err
	}
	return &volume{fd: fd, loop: loop, device: device}, nil
}

func mountLoop(device string) (int, error) {
	return newMount("ext4", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOATIME,
		append([][2]string{{"source", device}}, scratchOptions...))
}

// attachLoop binds f to a free loop device (loop(4)). Others may take the same
// one in between, so it tries again.
func attachLoop(f *os.File) (fd int, device string, err error) {
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", &os.PathError{Op: "open", Path: "/dev/loop-control", Err: err}
	}
	defer func() { _ = unix.Close(control) }()
	config := &unix.LoopConfig{Fd: uint32(f.Fd()), Size: 4096, Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	for range 64 {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return -1, "", os.NewSyscallError("find a loop device", err)
		}
		device = filepath.Join("/dev", "loop"+strconv.Itoa(n))
		fd, err = unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, "", &os.PathError{Op: "open", Path: device, Err: err}
		}
		if err = unix.IoctlLoopConfigure(fd, config); err == nil {
			return fd, device, nil
		}
		_ = unix.Close(fd)
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENXIO) {
			return -1, "", &os.PathError{Op: "configure", Path: device, Err: err}
		}
	}
	return -1, "", errors.New("no free loop device")
}
