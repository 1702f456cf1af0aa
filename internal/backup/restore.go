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
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// maxObject bounds the first and the last entry: some hundred bytes for each file.
const maxObject = 256 << 20

// Verify reads an archive to its end and tells what it is. One that is cut,
// changed, or of a newer version is refused.
func Verify(from io.Reader) (Head, error) {
	return read(from, func(string, *tar.Header, io.Reader) error { return nil })
}

// read goes through an archive and hands out each file, whose bytes are compared
// with the checksums at the end: what take has done counts only if read succeeds.
func read(from io.Reader, take func(name string, h *tar.Header, r io.Reader) error) (Head, error) {
	archive := tar.NewReader(from)
	var head Head
	if err := object(archive, headName, &head); err != nil {
		return head, damaged("it is not a backup of lambent", err)
	}
	if head.Format > Format || head.Schema > store.Format {
		return head, &lambent.Error{
			Code: lambent.CodeUnavailable, Reason: store.ReasonNewer, Cause: store.ErrNewer,
			Message: fmt.Sprintf("the backup was written by a newer version of lambent (%s): restore it with that version", head.Version),
		}
	}
	have := map[string]Sum{}
	for {
		h, err := archive.Next()
		if err != nil {
			return head, damaged("it is cut off", err)
		}
		if h.Name == sumsName {
			break
		}
		if err := checkName(h); err != nil {
			return head, err
		}
		if _, twice := have[h.Name]; twice {
			return head, damaged(h.Name+" is there twice", nil)
		}
		hash := sha256.New()
		r := io.TeeReader(archive, hash)
		if err := take(h.Name, h, r); err != nil {
			return head, err
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			return head, damaged("it is cut off", err)
		}
		have[h.Name] = Sum{Bytes: h.Size, SHA256: hex.EncodeToString(hash.Sum(nil))}
	}
	var want map[string]Sum
	if err := json.NewDecoder(io.LimitReader(archive, maxObject)).Decode(&want); err != nil {
		return head, damaged("its checksums cannot be read", err)
	}
	if !maps.Equal(have, want) {
		return head, damaged("its checksums do not fit", nil)
	}
	if _, ok := have[store.File]; !ok {
		return head, damaged("it has no database", nil)
	}
	return head, nil
}

// object reads the next entry, which must have this name, as JSON.
func object(archive *tar.Reader, name string, v any) error {
	h, err := archive.Next()
	if err != nil {
		return err
	}
	if h.Name != name {
		return fmt.Errorf("it begins with %q", h.Name)
	}
	return json.NewDecoder(io.LimitReader(archive, maxObject)).Decode(v)
}

// checkName refuses what Write does not write, and so every path that leaves the
// directory.
func checkName(h *tar.Header) error {
	ours := h.Name == store.File || strings.HasPrefix(h.Name, logsFolder+"/")
	for _, name := range kept {
		name = filepath.ToSlash(name)
		ours = ours || h.Name == name || strings.HasPrefix(h.Name, name+"/")
	}
	if !ours || h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) || filepath.ToSlash(filepath.Clean(h.Name)) != h.Name {
		return damaged(fmt.Sprintf("%q has no place in it", h.Name), nil)
	}
	return nil
}

func damaged(what string, cause error) error {
	return &lambent.Error{Code: lambent.CodeInvalid, Reason: store.ReasonCorrupt, Message: "the backup cannot be used: " + what, Cause: cause}
}

// Target is where a backup is restored to.
type Target struct {
	Data string // directory, missing or empty
	URL  string // of an empty PostgreSQL database; "" restores the database into Data
}

// Restore makes a data directory of an archive, whole or not at all. Nothing is
// written before the archive was read to its end.
func (t Target) Restore(ctx context.Context, file io.ReadSeeker) (Head, error) {
	if err := t.empty(); err != nil {
		return Head{}, err
	}
	head, err := Verify(file)
	if err != nil {
		return head, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return head, lambent.Errorf(lambent.CodeInvalid, "read the backup again: %w", err)
	}
	if err := t.makeWay(); err != nil {
		return head, err
	}
	if err := os.MkdirAll(filepath.Dir(t.Data), 0o755); err != nil {
		return head, t.fail(err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(t.Data), filepath.Base(t.Data)+".restoring-")
	if err != nil {
		return head, t.fail(err)
	}
	defer func() { _ = os.RemoveAll(temp) }() // it is gone when all went well
	if err := extract(ctx, file, temp); err != nil {
		return head, t.fail(err)
	}
	if t.URL != "" {
		database := filepath.Join(temp, store.File)
		if err := store.Import(ctx, t.URL, database); err != nil {
			return head, err
		}
		if err := os.Remove(database); err != nil {
			return head, t.fail(err)
		}
	}
	err = errors.Join(syncFolders(temp), os.Rename(temp, t.Data), syncFolder(filepath.Dir(t.Data)))
	if err != nil {
		return head, t.fail(err)
	}
	return head, nil
}

// fail words an error of the disk; the room's own pass.
func (t Target) fail(err error) error {
	var ours *lambent.Error
	if errors.As(err, &ours) {
		return err
	}
	return lambent.Errorf(lambent.CodeUnavailable, "restore into %s: %w", t.Data, err)
}

// empty refuses a directory that a server uses or in which there is something.
func (t Target) empty() error {
	entries, err := os.ReadDir(t.Data)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return t.fail(err)
	}
	why := "is not empty: choose another one, or remove it first"
	if lock, err := os.Open(filepath.Join(t.Data, "lock")); err == nil {
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			why = "is in use by a server: stop it, and choose another directory"
		}
		_ = lock.Close() // only locked
	}
	return lambent.Errorf(lambent.CodeConflict, "restore: directory %s %s", t.Data, why)
}

// makeWay removes the empty directory, in whose place the restored one is put whole. That
// comes before anything is written: a database that was imported cannot be imported again.
func (t Target) makeWay() error {
	err := os.Remove(t.Data)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return lambent.Errorf(lambent.CodeInvalid, "restore: directory %s is a mount point: choose a directory in it", t.Data)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return t.fail(err)
	}
	return nil
}

func extract(ctx context.Context, file io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is written to it itself
	_, err = read(file, func(name string, h *tar.Header, r io.Reader) error {
		if err := ctx.Err(); err != nil {
			return lambent.Errorf(lambent.CodeCanceled, "restore: %w", err)
		}
		if folder := filepath.Dir(filepath.FromSlash(name)); folder != "." {
			if err := root.MkdirAll(folder, 0o700); err != nil {
				return err
			}
		}
		f, err := root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(h.Mode)&0o777|0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Sync(), f.Close())
	})
	return err
}

// syncFolders makes the entries of all folders below dir durable.
func syncFolders(dir string) error {
	var folders []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	slices.Reverse(folders)
	for _, folder := range folders {
		err = errors.Join(err, syncFolder(folder))
	}
	return err
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
