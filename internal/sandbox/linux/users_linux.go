package linux

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// rootCapabilities are those of root in an application's image: what programs use
// that start as root and go on as somebody else. They count for the image's own
// users and files, and nowhere else: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL,
// SETGID, SETUID. A function has none, as on AWS.
const rootCapabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID |
	1<<unix.CAP_KILL | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID

// imageUsers are the users of an image's instance, on this host.
type imageUsers struct {
	userns *os.File // the slot's own
	root   int      // who the image's root is on the host
	// all tells that every user of the image is there. Where the server may not map
	// so many, or the file system that has the layers cannot show its files as
	// anybody else's, there is the function's own only.
	all bool
}

// openUsers makes the users of the image be there, and /tmp theirs. An image that
// names a user cannot do without.
func (b *builder) openUsers() error {
	slots, sl := b.driver.slots, b.shell.slot
	err := slots.openIDs(sl)
	if err == nil {
		b.users = imageUsers{userns: sl.ids, root: slots.hostID(sl, 0), all: true}
		err = b.users.try(b.spec)
	}
	if err == nil && len(b.spec.Trees) > 0 {
		b.trees = newTrees(b.spec.Trees, func(id int) uint32 { return uint32(slots.hostID(sl, id)) })
	}
	if err == nil {
		return b.shell.tmp.giveTo(sl.ids)
	}
	if v := b.spec.Version; v.App != nil || v.Image.User != "" || len(b.spec.Trees) > 0 {
		return lambent.Errorf(lambent.CodeUnsupported, "the users of the image cannot be had on this host: %w", err)
	}
	b.users = imageUsers{userns: sl.userns, root: int(slots.base) + sl.n}
	return nil
}

// giveTo makes the volume's files those of other users.
func (v *volume) giveTo(userns *os.File) error {
	if v.loop < 0 {
		return nil
	}
	if err := v.remount(); err != nil {
		return fmt.Errorf("mount /tmp for the users of the image: %w", err)
	}
	v.mapTo(userns)
	return nil
}

// try tells whether the file system of the layers can show their files as the
// users'.
func (u imageUsers) try(s sandbox.Spec) error {
	for n, layer := range s.Root {
		if s.Trees[n] != nil {
			continue
		}
		fd, err := u.mapped(layer)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}
	return nil
}

// mapped is a mount of a layer whose files belong to the users.
func (u imageUsers) mapped(layer string) (int, error) {
	fd, err := detached(layer, 0)
	if err != nil || !u.all {
		return fd, err
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(u.userns.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attr); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("map the owners of its files: %w", err)
	}
	return fd, nil
}

// bind mounts a layer at a directory.
func (u imageUsers) bind(layer, dir string) error {
	fd, err := u.mapped(layer)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return attach(fd, dir)
}

// asImage makes s start as the user of the image, on the thread that sees its
// files. One that it does not have is the function's own fault.
func (b *builder) asImage(s *spawnSpec) {
	v := b.spec.Version
	s.absent = nil // said of one program, as AWS does
	s.userns, s.who, s.apart = int(b.users.userns.Fd()), guestWho, b.trees != nil
	defer b.unreadable(s)
	name := v.Image.User
	switch {
	case name == "" && v.App == nil, !b.users.all: // as AWS has it
		return
	case name == "":
		name = "0"
	}
	u, err := lookUser(name, readAccounts("/etc/passwd"), readAccounts("/etc/group"))
	if err != nil {
		s.refused = &sandbox.Failure{Type: "Runtime.InvalidUser", Message: fmt.Sprintf("The image is to run as the user %.100q: %s", name, err)}
		return
	}
	s.who = who{uid: u.uid, gid: u.gid}
	for _, g := range u.groups {
		s.who.groups = append(s.who.groups, b.driver.slots.hostID(b.shell.slot, g))
	}
	if v.App == nil {
		return
	}
	if u.uid == 0 {
		s.who.capabilities = rootCapabilities
	}
	if !slices.ContainsFunc(s.env, func(v string) bool { return strings.HasPrefix(v, "HOME=") }) {
		s.env = append(s.env, "HOME="+cmp.Or(u.home, "/"))
	}
}

// unreadable makes s tell, if that is so, that the image cannot be read.
func (b *builder) unreadable(s *spawnSpec) bool {
	f := b.trees.failure()
	if f != nil {
		s.refused = f
	}
	return f != nil
}

// account is a user or a group of an image.
type account struct {
	name    string
	id, gid int
	home    string
	members []string
}

// imageUser is who an image runs as, in the image's own ids.
type imageUser struct {
	uid, gid int
	groups   []int
	home     string
}

// lookUser finds who "user", "user:group", or either as a number is, as images
// mean it (OCI image specification, config, User): without a group, it is the
// user's own, and those that name the user are added.
func lookUser(text string, users, groups []account) (imageUser, error) {
	name, group, given := strings.Cut(text, ":")
	a, known := findAccount(users, name)
	if !known {
		id, err := imageID(name)
		if err != nil {
			return imageUser{}, fmt.Errorf("there is no such user in its /etc/passwd (%w)", err)
		}
		a = account{id: id}
	}
	u := imageUser{uid: a.id, gid: a.gid, home: a.home}
	if given && group != "" {
		g, known := findAccount(groups, group)
		if !known {
			id, err := imageID(group)
			if err != nil {
				return imageUser{}, fmt.Errorf("there is no such group in its /etc/group (%w)", err)
			}
			g.id = id
		}
		u.gid = g.id
	} else if a.name != "" {
		for _, g := range groups {
			if slices.Contains(g.members, a.name) && len(u.groups) < maxGroups && !slices.Contains(u.groups, g.id) {
				u.groups = append(u.groups, g.id)
			}
		}
	}
	for _, id := range append([]int{u.uid, u.gid}, u.groups...) {
		if id >= imageIDs {
			return imageUser{}, fmt.Errorf("its number %d is above %d, the highest here", id, imageIDs-1)
		}
	}
	return u, nil
}

// maxGroups bounds the supplementary groups of a process.
const maxGroups = 64

// findAccount finds one by name, else by number. A name counts first even if it
// looks like a number.
func findAccount(all []account, name string) (account, bool) {
	for _, a := range all {
		if a.name == name {
			return a, true
		}
	}
	id, err := strconv.Atoi(name)
	if err != nil {
		return account{}, false
	}
	for _, a := range all {
		if a.id == id {
			return a, true
		}
	}
	return account{}, false
}

// imageID reads a user or a group that is a number.
func imageID(text string) (int, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%.50q is no number", text)
	case id >= imageIDs:
		return 0, fmt.Errorf("%d is above %d, the highest number here", id, imageIDs-1)
	}
	return int(id), nil
}

// maxAccounts bounds what is read of an image's list of users or groups, in bytes.
const maxAccounts = 1 << 20

// readAccounts reads an image's list as the calling thread sees it. One that is
// missing has nobody.
func readAccounts(path string) []account {
	// The name is the image's: it may lead to anything in there.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(fd) }()
	return parseAccounts(io.LimitReader(descriptorReader(fd), maxAccounts))
}

// descriptorReader reads a file without telling Go's poller of it.
type descriptorReader int

func (d descriptorReader) Read(p []byte) (int, error) {
	n, err := unix.Read(int(d), p)
	switch {
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// parseAccounts reads passwd(5) and group(5), which begin alike. Lines that are
// not right are passed over, as C libraries do.
func parseAccounts(r io.Reader) (all []account) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		f := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(f) < 4 || f[0] == "" {
			continue
		}
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		a := account{name: f[0], id: int(id)}
		if len(f) < 6 {
			a.members = strings.Split(f[3], ",")
			all = append(all, a)
			continue
		}
		gid, err := strconv.ParseUint(f[3], 10, 32)
		if err != nil {
			continue
		}
		a.gid, a.home = int(gid), f[5]
		all = append(all, a)
	}
	return all
}
