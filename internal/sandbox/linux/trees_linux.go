package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/filetree"
	"lambent.dev/lambent/internal/sandbox"
)

// trees serve the layers of an instance's image that are still coming in, to the
// kernel, which mounts them by FUSE: a directory for each, in the instance's mount
// namespace only. They end when that does, which is when the instance's last
// process has.
//
// The file system is in the server's own process. A thread of the server must
// therefore not wait for it with a processor of Go's in its hand, as a child made by
// vfork would make it: such an instance's process is forked apart.
type trees struct {
	fuse.RawFileSystem
	all     []*filetree.Tree
	first   []uint64 // by tree: the number of its root
	owner   func(id int) uint32
	started time.Time
	served  chan struct{} // closed when the kernel has let go of it

	mu       sync.Mutex               // guards the rest
	listings map[uint64]*listing      // of directories that are open, by their number
	missed   map[uint64]reading       // by file: what could not be read last
	fault    error                    // why something could not be read; the first one
	failed   func(f *sandbox.Failure) // told of it, once, with mu held; may be nil
}

// CanMountTrees tells why this host cannot start images before their layers are
// here; nil means it can, which was tried.
func CanMountTrees() error {
	t := newTrees(nil, func(int) uint32 { return 0 })
	fd, err := t.mount()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(os.NewSyscallError("close", unix.Close(fd)), t.await(ctx))
}

// newTrees makes a file system with a directory for each tree, named by the tree's
// place among the layers. Owner is who an image's user or group is on the host.
func newTrees(byPlace map[int]*filetree.Tree, owner func(id int) uint32) *trees {
	t := &trees{RawFileSystem: fuse.NewDefaultRawFileSystem(), owner: owner, started: time.Now(),
		served: make(chan struct{}), listings: map[uint64]*listing{}, missed: map[uint64]reading{}}
	top := filetree.New()
	t.all, t.first = []*filetree.Tree{top}, []uint64{fuse.FUSE_ROOT_ID}
	next := uint64(fuse.FUSE_ROOT_ID + 1)
	for _, place := range slices.Sorted(maps.Keys(byPlace)) {
		top.Root().Children[strconv.Itoa(place)] = byPlace[place].Root()
		t.all, t.first = append(t.all, byPlace[place]), append(t.first, next)
		next += uint64(len(byPlace[place].Nodes))
	}
	return t
}

// mount makes the file system known to the kernel and begins to serve it. The
// mount is attached nowhere; the caller closes it.
func (t *trees) mount() (int, error) {
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	const most = 128 << 10 // bytes of one read
	mount, err := newMount("fuse", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, [][2]string{
		{"source", "layers"}, {"fd", strconv.Itoa(device)}, {"rootmode", "40000"}, {"user_id", "0"}, {"group_id", "0"},
		{"allow_other", ""}, {"default_permissions", ""}, {"max_read", strconv.Itoa(most)},
	})
	if err != nil {
		_ = unix.Close(device)
		return -1, err
	}
	quiet := log.New(discard{}, "", 0)
	server, err := fuse.NewServer(t, "/dev/fd/"+strconv.Itoa(device), &fuse.MountOptions{
		MaxWrite: most, MaxBackground: 64, DisableReadDirPlus: true, EnableSymlinkCaching: true, IgnoreSecurityLabels: true, Logger: quiet,
	})
	if err != nil {
		_ = unix.Close(mount) // and with it the last use of the device
		return -1, fmt.Errorf("serve the layers: %w", err)
	}
	go func() { // teardown waits for it
		defer close(t.served)
		server.Serve()
	}()
	return mount, nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// node finds what a number of the kernel's stands for.
func (t *trees) node(id uint64) (*filetree.Tree, *filetree.Node) {
	k, found := slices.BinarySearch(t.first, id)
	if !found {
		k--
	}
	if k < 0 || id-t.first[k] >= uint64(len(t.all[k].Nodes)) {
		return nil, nil
	}
	return t.all[k], t.all[k].Nodes[id-t.first[k]]
}

// child is the number of a node in the directory with that number.
func (t *trees) child(id uint64, n *filetree.Node) uint64 {
	if id == fuse.FUSE_ROOT_ID { // a root of a tree
		for k, tree := range t.all[1:] {
			if tree.Root() == n {
				return t.first[k+1]
			}
		}
	}
	k, found := slices.BinarySearch(t.first, id)
	if !found {
		k--
	}
	return t.first[k] + uint64(n.ID)
}

// valid is for how long the kernel may believe what it was told: nothing changes.
const valid = time.Hour

func (t *trees) attributes(id uint64, n *filetree.Node, a *fuse.Attr) {
	a.Ino, a.Size, a.Blocks, a.Blksize = id, uint64(n.Size), uint64(n.Size+511)/512, 4096
	at := n.ModTime
	if at.IsZero() {
		at = t.started
	}
	a.SetTimes(&at, &at, &at)
	a.Mode, a.Nlink = modeOf(n), uint32(n.Links)
	a.Owner = fuse.Owner{Uid: t.owner(n.UID), Gid: t.owner(n.GID)}
}

// modeOf is a node's mode as stat(2) has it. What hides a name is a device 0:0
// (Documentation/filesystems/overlayfs, "whiteouts and opaque directories").
func modeOf(n *filetree.Node) uint32 {
	mode := uint32(n.Mode.Perm())
	if n.Mode&fs.ModeSticky != 0 {
		mode |= unix.S_ISVTX
	}
	switch {
	case n.Whiteout:
		return unix.S_IFCHR
	case n.Children != nil:
		return mode | unix.S_IFDIR
	case n.Mode.Type() == fs.ModeSymlink:
		return mode | unix.S_IFLNK
	}
	return mode | unix.S_IFREG
}

// Lookup finds a name; that there is none may be believed, too.
func (t *trees) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	_, dir := t.node(header.NodeId)
	if dir == nil {
		return fuse.ENOENT
	}
	out.SetEntryTimeout(valid)
	out.SetAttrTimeout(valid)
	n := dir.Children[name]
	if n == nil {
		return fuse.OK // with no number: there is none
	}
	out.NodeId = t.child(header.NodeId, n)
	t.attributes(out.NodeId, n, &out.Attr)
	return fuse.OK
}

// GetAttr tells what a file is.
func (t *trees) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	_, n := t.node(in.NodeId)
	if n == nil {
		return fuse.ENOENT
	}
	out.SetTimeout(valid)
	t.attributes(in.NodeId, n, &out.Attr)
	return fuse.OK
}

// Readlink tells where a link leads.
func (t *trees) Readlink(_ <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	_, n := t.node(header.NodeId)
	if n == nil || n.Target == "" {
		return nil, fuse.EINVAL
	}
	return []byte(n.Target), fuse.OK
}

// GetXAttr tells an overlay which directories hide those below.
func (t *trees) GetXAttr(_ <-chan struct{}, header *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	_, n := t.node(header.NodeId)
	if n == nil || !n.Opaque || attr != "trusted.overlay.opaque" {
		return 0, fuse.ENODATA
	}
	if len(dest) == 0 {
		return 1, fuse.OK // it asks for the size
	}
	return uint32(copy(dest, "y")), fuse.OK
}

// Open lets what was read stay in memory, and closing tell nobody.
func (t *trees) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if _, n := t.node(in.NodeId); n == nil || n.Children != nil || n.Mode.Type() != 0 {
		return fuse.EINVAL
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// interruptible is a context that ends when the kernel does not want an answer any
// more: the process that asked has been killed.
type interruptible struct {
	context.Context
	cancel <-chan struct{}
}

func (i interruptible) Done() <-chan struct{} { return i.cancel }

func (i interruptible) Err() error {
	select {
	case <-i.cancel:
		return context.Canceled
	default:
		return nil
	}
}

// Read fetches what is missing. What cannot be had, and is not only read ahead, ends
// the instance: a program may take an error of a read for anything.
func (t *trees) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	tree, n := t.node(in.NodeId)
	if n == nil || tree.Read == nil {
		return nil, fuse.EIO
	}
	at := int64(in.Offset)
	if at < 0 || at >= n.Size {
		return fuse.ReadResultData(nil), fuse.OK
	}
	p := buf[:min(int64(len(buf)), n.Size-at)]
	ctx := interruptible{context.Background(), cancel}
	if err := tree.Read(ctx, n, p, at); err != nil {
		if ctx.Err() != nil {
			return nil, fuse.Status(syscall.EINTR)
		}
		if t.needed(in) {
			t.fail(err)
		}
		return nil, fuse.EIO
	}
	return fuse.ReadResultData(p), fuse.OK
}

// reading is the part of a file that the kernel asked for.
type reading struct{ from, to uint64 }

// needed tells whether somebody waits for what could not be read. The kernel reads
// ahead of programs, and around a page of theirs; when that fails, it asks once more
// for what they do need, a page (or what it keeps in its stead) at a time
// (mm/filemap.c, filemap_read_folio). So more than a page counts only if it
// is part of what failed before, or if it goes to the program's own memory.
func (t *trees) needed(in *fuse.ReadIn) bool {
	asked := reading{in.Offset, in.Offset + uint64(in.Size)}
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.missed[in.NodeId]
	t.missed[in.NodeId] = asked
	return int(in.Size) <= os.Getpagesize() || in.Flags&unix.O_DIRECT != 0 || before.from <= asked.from && asked.to <= before.to
}

// listing is what is in a directory, for all who have it open: however often a function
// opens one, the server holds it once.
type listing struct {
	entries []fuse.DirEntry
	open    int
}

// OpenDir makes a directory's listing, unless somebody has it open.
func (t *trees) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	_, dir := t.node(in.NodeId)
	if dir == nil || dir.Children == nil {
		return fuse.ENOTDIR
	}
	out.OpenFlags = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.listings[in.NodeId]; l != nil {
		l.open++
		return fuse.OK
	}
	list := []fuse.DirEntry{{Name: ".", Mode: unix.S_IFDIR, Ino: in.NodeId}, {Name: "..", Mode: unix.S_IFDIR, Ino: in.NodeId}}
	for _, name := range slices.Sorted(maps.Keys(dir.Children)) {
		n := dir.Children[name]
		list = append(list, fuse.DirEntry{Name: name, Mode: modeOf(n), Ino: t.child(in.NodeId, n)})
	}
	t.listings[in.NodeId] = &listing{entries: list, open: 1}
	return fuse.OK
}

// ReadDir gives as much of a listing as there is room for.
func (t *trees) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	t.mu.Lock()
	l := t.listings[in.NodeId]
	t.mu.Unlock()
	if l == nil {
		return fuse.EBADF
	}
	for k := in.Offset; k < uint64(len(l.entries)); k++ {
		e := l.entries[k]
		e.Off = k + 1
		if !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

// ReleaseDir forgets a listing that nobody has open any more.
func (t *trees) ReleaseDir(in *fuse.ReleaseIn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.listings[in.NodeId]; l != nil {
		if l.open--; l.open == 0 {
			delete(t.listings, in.NodeId)
		}
	}
}

// StatFs has nothing to tell.
func (t *trees) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	return fuse.OK
}

// fail notes why something could not be read, and tells of it.
func (t *trees) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fault != nil {
		return
	}
	if t.fault = err; t.failed != nil {
		t.failed(t.why())
	}
}

// failure is why the instance cannot be, if something of its image could not be
// read; nil otherwise. It may be asked of no trees.
func (t *trees) failure() *sandbox.Failure {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.why()
}

// why is failure with mu held.
func (t *trees) why() *sandbox.Failure {
	if t.fault == nil {
		return nil
	}
	message := "it cannot be read"
	var ours *lambent.Error
	if errors.As(t.fault, &ours) {
		message = ours.Message
	}
	return &sandbox.Failure{Type: "Runtime.ImageUnreadable", Message: "A file of the image is not here yet: " + message}
}

// whenFailed has f called when something cannot be read, at once if that was so;
// f does not wait. With nil it is not called any more. It may be asked of no trees.
func (t *trees) whenFailed(f func(f *sandbox.Failure)) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed = f; f != nil && t.fault != nil {
		f(t.why())
	}
}

// await waits until the kernel has let go of the trees: nothing of the instance is
// there any more. It may be asked of no trees.
func (t *trees) await(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case <-t.served:
		return nil
	case <-ctx.Done():
		return errors.New("the layers of its image are still mounted")
	}
}
