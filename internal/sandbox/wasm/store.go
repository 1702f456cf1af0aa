package wasm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// store keeps compiled code on disk, a file for each module. The engine checks
// little of what it loads, and jumps into it; so every file begins with a hash of
// the rest, and one that does not match is as good as none.
type store struct {
	dir  string
	most int64 // bytes, of all files
}

// code is what the engine's cache had for a module.
type code struct {
	name string // the engine's, which depends on its version and the processor
	data []byte
}

func (s *store) path(key string) string { return filepath.Join(s.dir, key+".code") }

// load gives what was saved. Whatever is wrong with it is removed.
func (s *store) load(key string) (code, error) {
	b, err := os.ReadFile(s.path(key))
	if err != nil {
		return code{}, err
	}
	c, err := unseal(b)
	if err != nil {
		return code{}, errors.Join(err, os.Remove(s.path(key)))
	}
	now := time.Now()
	_ = os.Chtimes(s.path(key), now, now) // only the order of removal hangs on it
	return c, nil
}

var errCorrupt = errors.New("compiled code on disk is damaged")

func unseal(b []byte) (code, error) {
	if len(b) <= sha256.Size {
		return code{}, errCorrupt
	}
	sum := sha256.Sum256(b[sha256.Size:])
	name, data, ok := bytes.Cut(b[sha256.Size:], []byte{0})
	if !ok || !bytes.Equal(sum[:], b[:sha256.Size]) || len(name) == 0 || strings.ContainsAny(string(name), "/.") {
		return code{}, errCorrupt
	}
	return code{name: string(name), data: data}, nil
}

// save writes c in place of what there was, and makes room for it.
func (s *store) save(key string, c code) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	rest := append(append([]byte(c.name), 0), c.data...)
	sum := sha256.Sum256(rest)
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(sum[:], rest...))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.path(key))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return s.trim()
}

// trim removes what was used least recently until the rest fits.
func (s *store) trim() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	total := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		files = append(files, info)
		total += info.Size()
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if total <= s.most {
			return nil
		}
		if err := os.Remove(filepath.Join(s.dir, f.Name())); err != nil {
			return err
		}
		total -= f.Size()
	}
	return nil
}

// sweep removes what a server that was killed left half-written.
func (s *store) sweep() {
	left, err := filepath.Glob(filepath.Join(s.dir, "new-*"))
	if err != nil {
		return // the pattern is right
	}
	for _, f := range left {
		_ = os.Remove(f) // the next sweep tries again
	}
}

// only gives the one file that the engine has put below dir, at whatever depth.
func only(dir string) (code, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		return code{}, err
	}
	if len(found) != 1 {
		return code{}, fmt.Errorf("the engine's cache has %d files for one module", len(found))
	}
	data, err := os.ReadFile(found[0])
	return code{name: filepath.Base(found[0]), data: data}, err
}
