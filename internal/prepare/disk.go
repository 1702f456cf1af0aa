package prepare

import (
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

	"lambent.dev/lambent"
)

// disk is the prepared folder: one folder for each key, whole once it has that
// name. temp/ holds what has none yet and is swept at opening. Nothing is synced:
// a power cut may leave a folder torn, and its hash tells.
type disk struct{ dir, temp string }

// manifest is what a folder says of itself.
type manifest struct {
	Code  lambent.Digest
	Bytes int64
	Hash  string // of every file's name and content but this one's
	// Sizes are those of the folder's own files, in bytes: a look at them before each
	// use costs little, and a JVM dies of an archive that has lost its end.
	Sizes map[string]int64
}

const manifestName = "manifest.json"

func openDisk(dir string) (disk, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return disk{}, err
	}
	d := disk{dir: dir, temp: filepath.Join(dir, "temp")}
	err = os.RemoveAll(d.temp)
	if err == nil {
		err = os.MkdirAll(d.temp, 0o755)
	}
	return d, err
}

func (d disk) at(key string) string { return filepath.Join(d.dir, key) }

// keys lists what is there.
func (d disk) keys() (keys []string) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil // nothing is prepared then
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != "temp" {
			keys = append(keys, e.Name())
		}
	}
	return keys
}

// fresh makes an empty folder that sandboxes may look into.
func (d disk) fresh() (string, error) {
	dir, err := os.MkdirTemp(d.temp, "new-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// keep gives a finished folder its name.
func (d disk) keep(dir, key string, code lambent.Digest) (manifest, error) {
	m, err := sum(dir)
	if err != nil {
		return m, err
	}
	m.Code = code
	text, err := json.Marshal(m)
	if err != nil {
		return m, err
	}
	if err := os.WriteFile(filepath.Join(dir, manifestName), text, 0o600); err != nil {
		return m, err
	}
	return m, errors.Join(os.RemoveAll(d.at(key)), os.Rename(dir, d.at(key)))
}

// whole tells whether the folder's own files have the sizes that they should.
func (d disk) whole(key string, sizes map[string]int64) bool {
	for name, size := range sizes {
		info, err := os.Lstat(filepath.Join(d.at(key), name))
		if err != nil || info.Size() != size {
			return false
		}
	}
	return true
}

// verify compares a folder with its manifest.
func (d disk) verify(key string) (manifest, error) {
	var m manifest
	text, err := os.ReadFile(filepath.Join(d.at(key), manifestName))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, err
	}
	have, err := sum(d.at(key))
	if err == nil && have.Hash != m.Hash {
		err = errors.New("the files are not what was written")
	}
	return m, err
}

// remove takes the name away first, so that half a folder never has one.
func (d disk) remove(key string) error {
	if key == "" || strings.ContainsAny(key, "/.") {
		return fmt.Errorf("no key: %q", key)
	}
	grave, err := os.MkdirTemp(d.temp, "gone-")
	if err != nil {
		return err
	}
	err = os.Rename(d.at(key), filepath.Join(grave, "it"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(grave))
}

// sum reads all files below dir, in the order of their names.
func sum(dir string) (manifest, error) {
	m := manifest{Sizes: map[string]int64{}}
	hash := sha256.New()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return m, err
	}
	defer func() { _ = root.Close() }() // read only
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || name == manifestName {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // read only
		info, err := f.Stat()
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(hash, "%s %d\n", name, info.Size()) // a hash takes every write
		n, err := io.Copy(hash, f)
		m.Bytes += n
		if !strings.Contains(name, "/") {
			m.Sizes[name] = n
		}
		return err
	})
	m.Hash = hex.EncodeToString(hash.Sum(nil))
	return m, err
}
