package runtimes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	bootstraps "lambent.dev/lambent/runtimes"
)

// layOut puts the embedded bootstraps under dir and returns where. The folder is
// named after their content, so that a newer server beside an older one never
// changes files that are mounted somewhere. One whose files are not what they were, as
// a power cut may leave them, is made again: with them no function would start.
func layOut(dir string) (string, error) {
	digest := sha256.New()
	files := map[string][]byte{}
	err := fs.WalkDir(bootstraps.Files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := bootstraps.Files.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read embedded %s: %w", path, err)
		}
		digest.Write([]byte(path + "\x00" + strconv.Itoa(len(data)) + "\x00"))
		digest.Write(data) // a hash takes every write
		files[path] = data
		return nil
	})
	if err != nil {
		return "", err
	}
	target := filepath.Join(dir, ".bootstrap-"+hex.EncodeToString(digest.Sum(nil))[:16])
	if intact(target, files) {
		return target, nil
	}
	if err := setAside(dir, target); err != nil {
		return "", err
	}
	return target, place(dir, target, func(tmp string) error {
		for path, data := range files {
			at := filepath.Join(tmp, path)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(at, data, 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}

// intact tells whether the files are below target as they should be. Others may be there,
// too.
func intact(target string, files map[string][]byte) bool {
	for path, want := range files {
		have, err := os.ReadFile(filepath.Join(target, path))
		if err != nil || !bytes.Equal(have, want) {
			return false
		}
	}
	return true
}

// sweep removes what a server that was killed has left of an installation, and the
// bootstraps of another lambent. It is called when no function runs.
func (c *Catalog) sweep() {
	for _, name := range list(c.dir) {
		path := filepath.Join(c.dir, name)
		if !strings.HasPrefix(name, ".tmp-") && !strings.HasPrefix(name, ".bootstrap-") || path == c.layout {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			c.o.Log.Warn("cannot remove what is left of an installation", "dir", path, "err", err)
		}
	}
}

// setAside takes target away, if it is there, at once.
func setAside(dir, target string) error {
	if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	grave, err := os.MkdirTemp(dir, ".tmp-")
	if err == nil {
		err = os.Rename(target, filepath.Join(grave, "damaged"))
	}
	if err = errors.Join(err, os.RemoveAll(grave)); err != nil {
		return fmt.Errorf("take the damaged %s away: %w", target, err)
	}
	return nil
}

// place fills a fresh folder beside target and renames it into place, so that
// target is there whole or not at all. Whoever comes second finds it done.
func place(dir, target string, fill func(tmp string) error) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the runtimes folder: %w", err)
	}
	tmp, err := os.MkdirTemp(dir, ".tmp-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // gone already when it was renamed
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("open up %s: %w", tmp, err)
	}
	if err := fill(tmp); err != nil {
		return fmt.Errorf("fill %s: %w", target, err)
	}
	if err := os.Rename(tmp, target); err != nil {
		if _, statErr := os.Stat(target); statErr == nil {
			return nil
		}
		return fmt.Errorf("move %s into place: %w", target, err)
	}
	return nil
}
