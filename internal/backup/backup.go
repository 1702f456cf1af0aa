// Package backup writes everything a server keeps into one file while the server
// runs, and makes a data directory of such a file. It owns the file's format: a
// tar archive that begins with what it is and ends with the checksums of all that
// lies between. It refuses archives that are cut, changed, or of a newer version,
// and directories that are not empty. Its neighbours are the store, whose
// snapshot it keeps, and the server and the command line, which call it.
package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// Format is the version of the archive that this build writes; it reads no higher
// one.
const Format = 1

// The first and the last entry of an archive.
const (
	headName = "lambent-backup.json"
	sumsName = "checksums.json"
)

// Head is the first entry: what the archive is.
type Head struct {
	Format  int       `json:"format"`
	Schema  int       `json:"schema"` // of the database, see [store.Format]
	Version string    `json:"version"`
	Created time.Time `json:"created"`
	Logs    bool      `json:"logs"`
}

// Sum is what the last entry says of each other one but the first.
type Sum struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Snapshotter is a store whose state can be taken while it is used.
type Snapshotter interface {
	Snapshot(ctx context.Context, path string) error
}

// Source is a running server's data.
type Source struct {
	Data    string // directory
	Store   Snapshotter
	Version string // of the server
	Now     time.Time
}

// kept are the files and folders of a data directory that are backed up. What is
// beside them is the store's, or is made again from these. Layers that are still to come
// are before the layers, which they go to.
var kept = []string{
	"credentials", "certificates", "acme",
	filepath.Join("artifacts", "blobs"), filepath.Join("artifacts", "coming"), filepath.Join("artifacts", "layers"),
}

const logsFolder = "logs"

// tempPrefix begins the names of the folders that backups are put together in.
const tempPrefix = "backup-"

// Tidy removes what a server that was killed during a backup has left in its data
// directory.
func Tidy(data string) error {
	entries, err := os.ReadDir(data)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) && e.IsDir() {
			err = errors.Join(err, os.RemoveAll(filepath.Join(data, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("remove what is left of a backup: %w", err)
	}
	return nil
}

// Write writes an archive, with the logs of functions on request. Its errors may
// come after some of it was written: an archive without its end is refused.
func (s Source) Write(ctx context.Context, to io.Writer, logs bool) error {
	temp, err := os.MkdirTemp(s.Data, tempPrefix) // on the same file system, for links
	if err != nil {
		return lambent.Errorf(lambent.CodeUnavailable, "back up: %w", err)
	}
	defer func() { _ = os.RemoveAll(temp) }() // of no more use
	if err := s.collect(ctx, temp); err != nil {
		return err
	}
	w := writer{ctx: ctx, tar: tar.NewWriter(to), sums: map[string]Sum{}}
	w.object(headName, Head{Format: Format, Schema: store.Format, Version: s.Version, Created: s.Now.UTC(), Logs: logs})
	w.tree(temp, ".")
	if logs {
		w.tree(s.Data, logsFolder)
	}
	w.object(sumsName, w.sums)
	if w.err == nil {
		w.err = w.tar.Close()
	}
	if w.err != nil {
		return fmt.Errorf("write the backup: %w", w.err)
	}
	return nil
}

// collect puts the snapshot of the store into temp, with links to all files of
// before and after: so whatever the snapshot refers to is there, though it may be
// removed from the data directory meanwhile.
func (s Source) collect(ctx context.Context, temp string) error {
	if err := s.link(temp); err != nil {
		return err
	}
	if err := s.Store.Snapshot(ctx, filepath.Join(temp, store.File)); err != nil {
		return err
	}
	return s.link(temp)
}

func (s Source) link(temp string) error {
	for _, name := range kept {
		err := filepath.WalkDir(filepath.Join(s.Data, name), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // not there, or gone meanwhile
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			inside, err := filepath.Rel(s.Data, path)
			if err != nil {
				return err
			}
			to := filepath.Join(temp, inside)
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				return err
			}
			err = os.Link(path, to)
			if errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EMLINK) {
				err = duplicate(path, to) // a folder on another file system, or one without links
			}
			if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			return lambent.Errorf(lambent.CodeUnavailable, "back up %s: %w", name, err)
		}
	}
	return nil
}

// duplicate copies a file that cannot be linked.
func duplicate(path, to string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // only read
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// writer writes entries until the first error.
type writer struct {
	ctx  context.Context //nolint:containedctx // of one Write
	tar  *tar.Writer
	sums map[string]Sum
	err  error
}

// object writes an entry of JSON.
func (w *writer) object(name string, v any) {
	if w.err != nil {
		return
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = w.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), Typeflag: tar.TypeReg})
	}
	if err == nil {
		_, err = w.tar.Write(text)
	}
	w.err = err
}

// tree writes all regular files of root/folder.
func (w *writer) tree(root, folder string) {
	if w.err != nil {
		return
	}
	w.err = filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // of a folder that may be missing
		}
		if err == nil {
			err = w.ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		inside, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return w.file(path, filepath.ToSlash(inside))
	})
}

// file writes a file as long as it is now; a log may grow meanwhile.
func (w *writer) file(path, name string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a log that was retired
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	err = w.tar.WriteHeader(&tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size(), ModTime: info.ModTime(), Typeflag: tar.TypeReg})
	if err != nil {
		return err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(w.tar, hash), io.LimitReader(f, info.Size()))
	if err == nil && n != info.Size() {
		err = fmt.Errorf("%s became shorter while it was read", name)
	}
	w.sums[name] = Sum{Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil))}
	return err
}
