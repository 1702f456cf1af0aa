package project

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// stamp is the time of every entry, the first that a zip can hold, so that the
// same files make the same bytes and therefore the same digest.
var stamp = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Archive is a packed tree.
type Archive struct {
	Zip   []byte
	Files int
	Bytes int64 // of the files before compression
}

// Pack makes a zip of the tree but for what is ignored. Entries are in order of
// name, with the execute bit as their only permission. Symbolic links within the
// tree stay links; one that leads out of it, and anything that is neither file,
// directory nor link, is an error, and so are the limits of AWS for a zip in a
// request (CodeTooLarge).
func Pack(tree fs.FS, ignore *Ignore) (Archive, error) {
	var a Archive
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if ignore.Match(name, d.IsDir()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return addEmpty(w, tree, name, ignore)
		}
		n, err := add(w, tree, name, d)
		a.Files++
		a.Bytes += n
		if err == nil && a.Bytes > lambent.MaxUnzipped {
			return lambent.Errorf(lambent.CodeTooLarge, "the files have more than %d bytes, the limit for a function: leave some out with %s%s", lambent.MaxUnzipped, IgnoreFile, largest(tree, ignore))
		}
		return err
	})
	if err != nil {
		return Archive{}, wrap(err)
	}
	if a.Files == 0 {
		return Archive{}, lambent.Errorf(lambent.CodeInvalid, "there is no file to deploy")
	}
	if err := w.Close(); err != nil {
		return Archive{}, wrap(err)
	}
	a.Zip = out.Bytes()
	return a, CheckSize(int64(len(a.Zip)))
}

// addEmpty writes an entry for a directory that would not be there otherwise: programs
// expect some to write to.
func addEmpty(w *zip.Writer, tree fs.FS, name string, ignore *Ignore) error {
	entries, err := fs.ReadDir(tree, name)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(entries, func(d fs.DirEntry) bool { return !ignore.Match(path.Join(name, d.Name()), d.IsDir()) }) {
		return nil
	}
	head := &zip.FileHeader{Name: name + "/", Modified: stamp}
	head.SetMode(fs.ModeDir | 0o755)
	_, err = w.CreateHeader(head)
	return err
}

// largest says which directory of a tree has most, for a message.
func largest(tree fs.FS, ignore *Ignore) string {
	sizes := map[string]int64{}
	most := ""
	// What cannot be read is not the largest.
	_ = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return nil //nolint:nilerr // see above
		case ignore.Match(name, d.IsDir()) && d.IsDir():
			return fs.SkipDir
		case d.IsDir() || ignore.Match(name, false):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		// A package, not all of node_modules.
		parts := strings.Split(name, "/")
		in := strings.Join(parts[:min(2, max(1, len(parts)-1))], "/")
		if sizes[in] += info.Size(); sizes[in] > sizes[most] {
			most = in
		}
		return nil
	})
	return fmt.Sprintf("; %s has most, %d MB", most, sizes[most]>>20)
}

// CheckSize refuses a zip that is too large to be sent, in bytes.
func CheckSize(n int64) error {
	if n > lambent.MaxZipUpload {
		return lambent.Errorf(lambent.CodeTooLarge, "the zip has %d bytes, more than the %d that one request carries: leave files out with %s", n, lambent.MaxZipUpload, IgnoreFile)
	}
	return nil
}

func wrap(err error) error {
	if lambent.CodeOf(err) != lambent.CodeInternal {
		return err
	}
	return lambent.Errorf(lambent.CodeInvalid, "pack: %w", err)
}

// add writes one file or link and returns its size in bytes.
func add(w *zip.Writer, tree fs.FS, name string, d fs.DirEntry) (int64, error) {
	head := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: stamp}
	switch d.Type() {
	case fs.ModeSymlink:
		target, err := fs.ReadLink(tree, name)
		if err != nil {
			return 0, err
		}
		if !within(name, target) {
			return 0, lambent.Errorf(lambent.CodeInvalid, "%s is a link to %s, which is not in the directory: replace it by the file, or leave it out with %s", name, target, IgnoreFile)
		}
		head.Method = zip.Store
		head.SetMode(fs.ModeSymlink | 0o777)
		return copyInto(w, head, strings.NewReader(target))
	case 0:
	default:
		return 0, lambent.Errorf(lambent.CodeInvalid, "%s is not a file: leave it out with %s", name, IgnoreFile)
	}
	info, err := d.Info()
	if err != nil {
		return 0, err
	}
	if info.Mode().Perm()&0o100 != 0 {
		head.SetMode(0o755)
	} else {
		head.SetMode(0o644)
	}
	f, err := tree.Open(name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read from
	return copyInto(w, head, io.LimitReader(f, lambent.MaxUnzipped+1))
}

func copyInto(w *zip.Writer, head *zip.FileHeader, r io.Reader) (int64, error) {
	entry, err := w.CreateHeader(head)
	if err != nil {
		return 0, err
	}
	return io.Copy(entry, r)
}

// within tells whether a link at name to target stays in the tree.
func within(name, target string) bool {
	if path.IsAbs(target) {
		return false
	}
	// Not path.Clean of the joined path alone: the way there must stay inside
	// at every step, because a directory on it may be a link itself.
	depth := strings.Count(name, "/")
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return false
			}
		default:
			depth++
		}
	}
	return true
}
