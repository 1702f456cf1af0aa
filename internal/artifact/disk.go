package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// disk is the artifacts folder:
//
//	blobs/<digest>         the code as uploaded; durable once it has this name
//	layers/<digest>        a layer of an image as it came; likewise
//	coming/<digest>        where the rest of a layer comes from that is used already
//	trees/<boot>/<digest>  the code unpacked; whole once it has this name. Beside
//	                       it, a seal tells what it looked like
//	temp/                  what has no name yet; swept at opening
//
// Nobody waits for trees to be on the disk, as they can be made again. So those of
// another boot of the machine, which a power cut may have torn, are never used; but
// for layers, which may take minutes to unpack: they are synced in time, see Keep.
type disk struct {
	blobs, layers, coming, trees, temp string
	current                            string // the folder of this boot's trees
}

func openDisk(dir string) (*disk, error) {
	if dir == "" {
		return nil, lambent.Errorf(lambent.CodeInvalid, "open the artifacts: no directory is given")
	}
	d := &disk{
		blobs:  filepath.Join(dir, "blobs"),
		layers: filepath.Join(dir, "layers"),
		coming: filepath.Join(dir, "coming"),
		trees:  filepath.Join(dir, "trees"),
		temp:   filepath.Join(dir, "temp"),
	}
	d.current = filepath.Join(d.trees, bootID())
	// 0700 at the top keeps other users out; the trees themselves are readable.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(d.temp); err != nil {
		return nil, err
	}
	for _, sub := range []string{d.blobs, d.layers, d.coming, d.current, d.temp} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return nil, err
		}
	}
	return d, errors.Join(d.adopt(), syncDir(filepath.Dir(dir)), syncDir(dir), syncDir(d.blobs), syncDir(d.layers))
}

// bootID names the running boot of the machine (random(4)).
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	id := strings.TrimSpace(string(text))
	if err != nil || len(id) != 36 || strings.ContainsAny(id, "/.") {
		return "unknown"
	}
	return id
}

// upload is code on its way in.
type upload struct {
	data   io.ReaderAt
	size   int64
	digest lambent.Digest
	file   *os.File // in temp, when it came from elsewhere; nil when it is in memory
}

// discard gives back what the upload holds on the disk.
func (u *upload) discard() {
	if u.file != nil {
		_ = u.file.Close() // read to its end, or given up
		_ = os.Remove(u.file.Name())
	}
}

// blob is where a digest's bytes are as they came.
func (d *disk) blob(digest lambent.Digest) string {
	if d.isLayer(digest) {
		return d.layer(digest)
	}
	return d.code(digest)
}

func (d *disk) tree(digest lambent.Digest) string { return filepath.Join(d.current, string(digest)) }

func (d *disk) hasTree(digest lambent.Digest) bool {
	info, err := os.Lstat(d.tree(digest))
	return err == nil && info.IsDir()
}

func (d *disk) openBlob(digest lambent.Digest) (*os.File, int64, error) {
	f, err := os.Open(d.blob(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, noArtifact(digest)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// keepBlob makes the code durable under its digest, or young when it is there.
func (d *disk) keepBlob(in *upload, point func(string)) error {
	name := d.blob(in.digest)
	now := time.Now()
	info, err := os.Lstat(name)
	if err == nil && info.Mode().IsRegular() && info.Size() == in.size && holds(name, in.digest) {
		err = os.Chtimes(name, now, now)
	} else {
		err = d.writeBlob(in, name, point)
	}
	if err != nil {
		return err
	}
	// Also for a blob that was there: its rename may not be on the disk yet.
	return syncDir(d.blobs)
}

// holds tells whether a blob is what its name says.
func holds(name string, digest lambent.Digest) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // only read
	have, err := digestOf(f)
	return err == nil && have == digest
}

func (d *disk) writeBlob(in *upload, name string, point func(string)) error {
	temp := in.file
	if temp == nil {
		var err error
		if temp, err = d.spool(io.NewSectionReader(in.data, 0, in.size)); err != nil {
			return err
		}
		defer func() { _, _ = temp.Close(), os.Remove(temp.Name()) }() // both failed already, or gone by its new name
	}
	point("artifact.after-temp")
	if err := temp.Sync(); err != nil {
		return err
	}
	point("artifact.before-rename")
	if err := os.Rename(temp.Name(), name); err != nil {
		return err
	}
	point("artifact.after-rename")
	return nil
}

// spool writes a new file in temp.
func (d *disk) spool(r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp(d.temp, "blob-")
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(f, r); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

// unpack makes the plan's tree in temp and returns its path. On error nothing is
// left of it.
func (d *disk) unpack(ctx context.Context, p *plan) (string, error) {
	temp, err := os.MkdirTemp(d.temp, "tree-")
	if err != nil {
		return "", err
	}
	err = func() error {
		root, err := os.OpenRoot(temp)
		if err != nil {
			return err
		}
		err = p.unpack(ctx, root)
		return errors.Join(err, root.Close(), os.Chmod(temp, 0o755))
	}()
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(temp))
	}
	return temp, nil
}

// showTree gives a whole tree its name.
func (d *disk) showTree(temp string, digest lambent.Digest) error {
	return os.Rename(temp, d.tree(digest))
}

// digests lists what has a blob or a tree.
func (d *disk) digests() ([]lambent.Digest, error) {
	seen := map[lambent.Digest]bool{}
	var all []lambent.Digest
	for _, dir := range []string{d.blobs, d.layers, d.current} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if digest := lambent.Digest(e.Name()); valid(digest) && !seen[digest] {
				seen[digest] = true
				all = append(all, digest)
			}
		}
	}
	return all, nil
}

// old tells whether the code was last put longer ago than age. A tree without
// its blob is of no use, however young.
func (d *disk) old(digest lambent.Digest, age time.Duration) bool {
	info, err := os.Lstat(d.blob(digest))
	return errors.Is(err, fs.ErrNotExist) || (err == nil && time.Since(info.ModTime()) > age)
}

// modified is when the tree was made, or its blob last put, as far as is known.
func (d *disk) modified(digest lambent.Digest) time.Time {
	info, err := os.Lstat(d.blob(digest))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// drop removes the tree, then the blob, and returns the bytes they took.
func (d *disk) drop(ctx context.Context, digest lambent.Digest) (int64, error) {
	freed, err := d.dropTree(ctx, d.tree(digest))
	if err != nil {
		return freed, err
	}
	info, err := os.Lstat(d.blob(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return freed, nil
	}
	if err == nil {
		err = os.Remove(d.blob(digest))
	}
	if err != nil {
		return freed, err
	}
	return freed + info.Size(), nil
}

// dropTree takes a tree's name away before it takes it apart, so that half a
// tree never has one.
func (d *disk) dropTree(ctx context.Context, tree string) (int64, error) {
	grave, err := os.MkdirTemp(d.temp, "gone-")
	if err != nil {
		return 0, err
	}
	var size int64
	moved := filepath.Join(grave, "tree")
	_, _ = os.Remove(d.sealFile(tree)), os.Remove(tree+syncedMark) // a tree without a seal is not used
	err = os.Rename(tree, moved)
	if err == nil {
		size, err = measure(ctx, moved)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err = errors.Join(err, os.RemoveAll(grave)); err != nil {
		return 0, err
	}
	return size, nil
}

// dropStale removes the trees of other boots.
func (d *disk) dropStale(ctx context.Context) (freed int64, err error) {
	entries, err := os.ReadDir(d.trees)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if e.Name() == filepath.Base(d.current) {
			continue
		}
		n, err := d.dropTree(ctx, filepath.Join(d.trees, e.Name()))
		freed += n
		if err != nil {
			return freed, err
		}
	}
	return freed, nil
}

// measure adds up the sizes of the regular files below dir.
func measure(ctx context.Context, dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return errors.Join(err, ctx.Err())
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// valid tells whether d can be a digest: it is also the only thing from outside
// that becomes part of a path here.
func valid(d lambent.Digest) bool {
	if len(d) != hex.EncodedLen(sha256.Size) {
		return false
	}
	return strings.Trim(string(d), "0123456789abcdef") == ""
}

func digestOf(r io.Reader) (lambent.Digest, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return lambent.Digest(hex.EncodeToString(h.Sum(nil))), nil
}

// syncDir makes a directory's entries durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
