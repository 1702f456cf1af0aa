package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"lambent.dev/lambent"
)

// sealOf is a hash over everything in a tree that a function could see of it:
// names, kinds, owners, modes, targets of links and contents. Unlike the blob's digest it
// tells whether the unpacked files are still what was unpacked.
func sealOf(ctx context.Context, dir string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	buffer := make([]byte, copyBuffer)
	err = fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		// What comes from the archive is length-prefixed: two trees never read alike.
		uid, gid := ownerOf(info)
		_, _ = fmt.Fprintf(sum, "%d:%s%v %d %d:%d\n", len(path), path, info.Mode(), info.Size(), uid, gid) // a hash takes all
		switch {
		case e.Type() == fs.ModeSymlink:
			target, err := root.Readlink(path)
			_, _ = fmt.Fprintf(sum, "%d:%s\n", len(target), target)
			return err
		case e.Type().IsRegular():
			return hashFile(ctx, sum, root, path, buffer)
		}
		return nil
	})
	if err = errors.Join(err, root.Close()); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func hashFile(ctx context.Context, sum io.Writer, root *os.Root, path string, buffer []byte) error {
	f, err := root.Open(path)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(sum, patient{ctx, f}, buffer)
	return errors.Join(err, f.Close())
}

// patient reads until its context ends: a file may have gigabytes, and who stops
// does not wait for them.
type patient struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (p patient) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

// sealFile is beside the tree, so that the mounted directory holds nothing but
// the code.
func (d *disk) sealFile(tree string) string { return tree + ".seal" }

// seal notes what a tree in temp looks like, for the name that it will have.
func (d *disk) seal(ctx context.Context, temp, tree string) error {
	sum, err := sealOf(ctx, temp)
	if err != nil {
		return err
	}
	_ = os.Remove(tree + syncedMark) // of a tree that was there before
	return os.WriteFile(d.sealFile(tree), []byte(sum), 0o600)
}

// sealed tells whether the tree has a seal.
func (d *disk) sealed(digest lambent.Digest) bool {
	_, err := os.Lstat(d.sealFile(d.tree(digest)))
	return err == nil
}

// sound tells whether a tree is still what its seal says. A tree without a seal
// is not.
func (d *disk) sound(ctx context.Context, tree string) (bool, error) {
	want, err := os.ReadFile(d.sealFile(tree))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	have, err := sealOf(ctx, tree)
	if err := ctx.Err(); err != nil {
		return false, err // also where all was read before
	}
	// A tree that cannot be read any more is as bad as one that reads wrong.
	return err == nil && have == string(want), nil
}

// setAside takes a damaged tree's name away, and leaves its files to whoever has
// them mounted: they go when the folder is opened next.
func (d *disk) setAside(tree string) error {
	grave, err := os.MkdirTemp(d.temp, "damaged-")
	if err != nil {
		return err
	}
	return os.Rename(tree, filepath.Join(grave, "tree"))
}
