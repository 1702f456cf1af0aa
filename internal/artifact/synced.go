package artifact

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// Keep has the layers that were unpacked longer ago than olderThan outlive this boot of
// the machine: they are brought to the disk, and those of which that is known are used
// again by the next one. It takes as long as the disk does, which is not long for what
// the kernel has had the time to write by itself; nobody who waits for a layer calls it.
func (s *Store) Keep(ctx context.Context, olderThan time.Duration) error {
	entries, err := os.ReadDir(s.disk.current)
	if err != nil {
		return fault("keep unpacked layers", err)
	}
	fresh := map[lambent.Digest]fs.FileInfo{}
	for _, e := range entries {
		d := lambent.Digest(e.Name())
		if !valid(d) || !s.disk.isLayer(d) || s.disk.synced(d) {
			continue
		}
		if seal, err := os.Lstat(s.disk.sealFile(s.disk.tree(d))); err != nil || time.Since(seal.ModTime()) < olderThan {
			continue
		}
		if info, err := e.Info(); err == nil {
			fresh[d] = info
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := syncFileSystem(s.disk.current); err != nil {
		return fault("keep unpacked layers", err)
	}
	for d, was := range fresh {
		if err := s.noteSynced(ctx, d, was); err != nil {
			return fault("keep layer "+string(d), err)
		}
	}
	return nil
}

// noteSynced marks a tree, unless it is another one by now.
func (s *Store) noteSynced(ctx context.Context, d lambent.Digest, was fs.FileInfo) error {
	done, err := s.lock(ctx, d)
	if err != nil {
		return err
	}
	defer done()
	if is, err := os.Lstat(s.disk.tree(d)); err != nil || !os.SameFile(is, was) {
		return nil
	}
	return os.WriteFile(s.disk.tree(d)+syncedMark, nil, 0o600)
}

// syncedMark ends the name of a file beside a tree that is on the disk as its seal
// says.
const syncedMark = ".synced"

func (d *disk) synced(digest lambent.Digest) bool {
	_, err := os.Lstat(d.tree(digest) + syncedMark)
	return err == nil
}

// adopt takes over the layers that earlier boots of the machine have kept.
func (d *disk) adopt() error {
	boots, err := os.ReadDir(d.trees)
	if err != nil {
		return err
	}
	for _, b := range boots {
		if b.Name() == filepath.Base(d.current) {
			continue
		}
		marks, err := filepath.Glob(filepath.Join(d.trees, b.Name(), "*"+syncedMark))
		if err != nil {
			return err
		}
		for _, mark := range marks {
			if err := d.adoptTree(strings.TrimSuffix(mark, syncedMark)); err != nil {
				return err
			}
		}
	}
	return nil
}

// adoptTree gives a tree of another boot to this one. What is not whole stays behind,
// and is unpacked again.
func (d *disk) adoptTree(from string) error {
	digest := lambent.Digest(filepath.Base(from))
	if !valid(digest) || !d.isLayer(digest) || d.hasTree(digest) {
		return nil
	}
	to := d.tree(digest)
	// The tree goes last: one without a seal would not be used.
	err := errors.Join(os.Rename(d.sealFile(from), d.sealFile(to)), os.Rename(from+syncedMark, to+syncedMark), os.Rename(from, to))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
