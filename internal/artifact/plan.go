package artifact

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strings"
	"unicode/utf8"

	"lambent.dev/lambent"
)

// Bounds on an archive. AWS documents only the unpacked size; these keep what
// one upload costs within reason and are far above what build tools make.
const (
	maxEntries   = 100_000  // files, directories and links
	maxDirectory = 16 << 20 // bytes read to find the entries; bounds the memory they take
	maxName      = 2048     // bytes of an entry's path: with the mount point below PATH_MAX
	maxComponent = 255      // bytes between two slashes (NAME_MAX)
	maxDepth     = 100      // directories below one another
	maxLink      = 4095     // bytes of a symbolic link's target (PATH_MAX less its NUL)
	maxHops      = 40       // links followed to resolve one, as the kernel does
	// maxRatio is the most that deflate can expand: 258 bytes for 2 bits. A bomb
	// within it is caught by the unpacked size; what claims more is a lie.
	maxRatio = 1032
)

// entry is one thing to make.
type entry struct {
	file   *zip.File
	name   string      // clean, relative, with slashes
	kind   fs.FileMode // type bits: 0, fs.ModeDir or fs.ModeSymlink
	target string      // of a symbolic link
}

// plan is an archive whose names are known to be safe: every entry lies beneath
// the root, none lies under a file or a link, and no link leads out.
type plan struct {
	entries  []entry
	nodes    map[string]node // by name, with the directories that are only implied
	unpacked int64           // bytes, as declared; unpack holds the archive to it
}

type node struct {
	kind   fs.FileMode
	stated bool // there is an entry for it
	target string
}

// inspect reads the archive's directory and its links and refuses what is
// unsafe. It writes nothing.
func inspect(r io.ReaderAt, size int64) (*plan, error) {
	if size == 0 {
		return nil, emptyZip()
	}
	guard := &budget{r: r, left: maxDirectory}
	archive, err := zip.NewReader(guard, size)
	if err != nil {
		return nil, badZip("read the directory: %w", err)
	}
	guard.left = math.MaxInt64 // contents are bounded by their own rules
	if len(archive.File) == 0 {
		return nil, emptyZip()
	}
	if len(archive.File) > maxEntries {
		return nil, badZip("%d entries exceed %d", len(archive.File), maxEntries)
	}
	p := &plan{nodes: make(map[string]node, len(archive.File))}
	if err := p.measure(archive.File, size); err != nil {
		return nil, err
	}
	for _, f := range archive.File {
		if err := p.add(f); err != nil {
			return nil, badZip("entry %.200q: %w", f.Name, err)
		}
	}
	for _, e := range p.entries {
		if e.kind != fs.ModeSymlink {
			continue
		}
		if err := p.resolve(e); err != nil {
			return nil, badZip("entry %.200q: %w", e.name, err)
		}
	}
	return p, nil
}

// measure adds the declared sizes up. Entries that share their bytes, of which
// overlap bombs are made, have more compressed bytes than the archive has.
func (p *plan) measure(files []*zip.File, size int64) error {
	var packed uint64
	for _, f := range files {
		if f.UncompressedSize64 > lambent.MaxUnzipped {
			return unpackedTooLarge()
		}
		if p.unpacked += int64(f.UncompressedSize64); p.unpacked > lambent.MaxUnzipped {
			return unpackedTooLarge()
		}
		if f.CompressedSize64 > uint64(size) {
			return badZip("entry %.200q has %d bytes in an archive of %d", f.Name, f.CompressedSize64, size)
		}
		packed += f.CompressedSize64
		if f.UncompressedSize64 > maxRatio*(f.CompressedSize64+1) {
			return badZip("entry %.200q claims %d bytes from %d", f.Name, f.UncompressedSize64, f.CompressedSize64)
		}
	}
	if packed > uint64(size) {
		return badZip("the entries' %d bytes overlap in an archive of %d", packed, size)
	}
	return nil
}

func (p *plan) add(f *zip.File) error {
	if f.Flags&1 != 0 {
		return errors.New("is encrypted")
	}
	if f.Method != zip.Store && f.Method != zip.Deflate {
		return fmt.Errorf("has compression method %d", f.Method)
	}
	name, err := cleanName(f.Name)
	if err != nil {
		return err
	}
	e := entry{file: f, name: name, kind: f.Mode().Type()}
	if strings.HasSuffix(f.Name, "/") {
		e.kind = fs.ModeDir
	}
	switch e.kind {
	case 0:
	case fs.ModeDir:
		if f.UncompressedSize64 != 0 {
			return errors.New("is a directory with content")
		}
	case fs.ModeSymlink:
		if e.target, err = readLink(f); err != nil {
			return err
		}
	default:
		return fmt.Errorf("has the type %v", e.kind)
	}
	if name == "." { // some tools list the root
		if e.kind != fs.ModeDir {
			return errors.New("is not a directory")
		}
		return nil
	}
	return p.place(e)
}

// place notes the entry and the directories above it. A name may come once; only
// a directory, which says nothing twice, may be repeated. Names that differ in
// case are different names, as on AWS; where the file system thinks otherwise,
// unpack finds out and refuses.
func (p *plan) place(e entry) error {
	for up := path.Dir(e.name); up != "."; up = path.Dir(up) {
		n, known := p.nodes[up]
		if known && n.kind != fs.ModeDir {
			return fmt.Errorf("lies under %.200q, which is no directory", up)
		}
		if known {
			break
		}
		if len(p.nodes) >= 2*maxEntries {
			return fmt.Errorf("has too many directories above it")
		}
		p.nodes[up] = node{kind: fs.ModeDir}
	}
	old, known := p.nodes[e.name]
	if known && (old.kind != fs.ModeDir || e.kind != fs.ModeDir) {
		return errors.New("is there already")
	}
	p.nodes[e.name] = node{kind: e.kind, stated: true, target: e.target}
	if !known || !old.stated {
		p.entries = append(p.entries, e)
	}
	return nil
}

// cleanName turns an entry's name into a path beneath the root, or refuses it.
// It mends nothing but a leading "./" and the slash that marks a directory.
func cleanName(raw string) (string, error) {
	name := strings.TrimSuffix(raw, "/")
	for strings.HasPrefix(name, "./") {
		name = name[2:]
	}
	if name == "." || raw == "./" {
		return ".", nil
	}
	switch {
	case !utf8.ValidString(raw):
		return "", errors.New("has a name that is not UTF-8")
	case strings.ContainsAny(raw, "\\\x00"):
		return "", errors.New("has a backslash or NUL in its name")
	case len(name) > maxName:
		return "", fmt.Errorf("has a name of %d bytes", len(name))
	case strings.HasPrefix(raw, "/"):
		return "", errors.New("has an absolute name")
	}
	parts := strings.Split(name, "/")
	if len(parts) > maxDepth {
		return "", fmt.Errorf("lies %d directories deep", len(parts))
	}
	for _, part := range parts {
		if part == "" || part == "." || part == ".." || len(part) > maxComponent {
			return "", fmt.Errorf("has %.20q in its name", part)
		}
	}
	return name, nil
}

func readLink(f *zip.File) (string, error) {
	if f.UncompressedSize64 == 0 || f.UncompressedSize64 > maxLink {
		return "", fmt.Errorf("is a link of %d bytes", f.UncompressedSize64)
	}
	r, err := f.Open()
	if err != nil {
		return "", err
	}
	target, err := io.ReadAll(io.LimitReader(r, maxLink+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return "", err
	}
	if uint64(len(target)) != f.UncompressedSize64 || strings.IndexByte(string(target), 0) >= 0 {
		return "", errors.New("is a link with a bad target")
	}
	return string(target), nil
}

// resolve follows a link as the kernel would, through other links, and refuses it
// when any step leaves the root. It may dangle within.
func (p *plan) resolve(e entry) error {
	at, rest := path.Dir(e.name), e.target
	for hops, steps := 0, 0; rest != ""; {
		if steps++; steps > maxHops*maxDepth {
			return errors.New("is a link over too many steps")
		}
		if strings.HasPrefix(rest, "/") {
			return fmt.Errorf("links to the absolute path %.200q", rest)
		}
		part, after, _ := strings.Cut(rest, "/")
		rest = strings.TrimLeft(after, "/")
		switch part {
		case ".":
			continue
		case "..":
			if at == "." {
				return fmt.Errorf("links out of the archive with %.200q", e.target)
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		n := p.nodes[next]
		if n.kind != fs.ModeSymlink {
			at = next
			continue
		}
		if hops++; hops > maxHops {
			return errors.New("is a link in a circle")
		}
		if rest = strings.TrimSuffix(n.target+"/"+rest, "/"); len(rest) > 2*maxLink {
			return errors.New("is a link over too long a path")
		}
	}
	return nil
}

// budget is a reader that refuses to give more than so many bytes.
type budget struct {
	r    io.ReaderAt
	left int64
}

func (b *budget) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, fmt.Errorf("the directory exceeds %d bytes", maxDirectory)
	}
	return b.r.ReadAt(p, off)
}
