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
	"strings"
	"time"

	"lambent.dev/lambent"
)

// Layer is a layer of a container image on its way in.
type Layer struct {
	Digest lambent.Digest // of the bytes as they come
	DiffID lambent.Digest // of the tar archive that is in them
	Size   int64          // of the bytes as they come
	// Limit bounds what is in it, in bytes.
	Limit int64
}

// ReasonBadLayer is the reason of refusals of layers.
const ReasonBadLayer = "InvalidLayer"

// PutLayer stores a layer of an image as [Store.Put] stores code, and returns its
// unpacked size in bytes. It is read to its end, checked against both digests and
// unpacked as a layer of an overlay: what it removes from the layers below is
// noted in the tree in the kernel's way (Documentation/filesystems/overlayfs).
// Owners and modes are kept, where this process may give files away; set-user-ID
// bits and devices are dropped.
func (s *Store) PutLayer(ctx context.Context, l Layer, r io.Reader) (unpacked int64, err error) {
	if !valid(l.Digest) || !valid(l.DiffID) {
		return 0, badLayer("its digests are none: %.80q, %.80q", l.Digest, l.DiffID)
	}
	in, err := s.receiveLayer(l, r)
	if err != nil {
		return 0, fault("receive a layer", err)
	}
	defer in.discard()
	done, err := s.lock(ctx, l.Digest)
	if err != nil {
		return 0, err
	}
	defer done()
	if _, err := os.Lstat(s.disk.code(l.Digest)); err == nil {
		return 0, badLayer("it is stored already, as something else")
	}
	temp, size, err := s.disk.unpackLayer(ctx, in.file, layerRules{diffID: l.DiffID, limit: l.Limit})
	if err != nil {
		return 0, fault("unpack a layer", err)
	}
	defer func() { _ = os.RemoveAll(temp) }() // gone already when all went well
	s.point("artifact.after-unpack")
	if err := s.disk.keepLayer(in, s.point); err != nil {
		return 0, fault("store a layer", err)
	}
	if !s.disk.hasTree(l.Digest) { // else it had lost its blob only
		if err := s.show(ctx, temp, l.Digest, size); err != nil {
			return size, fault("store a layer", err)
		}
	}
	s.arrived(l.Digest)
	return size, nil
}

// HasLayer tells whether the layer is stored, and makes it count as young.
func (s *Store) HasLayer(d lambent.Digest) bool {
	if !valid(d) {
		return false
	}
	now := time.Now()
	return os.Chtimes(s.disk.layer(d), now, now) == nil
}

// receiveLayer writes the layer to a file and compares it with its digest.
func (s *Store) receiveLayer(l Layer, r io.Reader) (*upload, error) {
	f, err := os.CreateTemp(s.disk.temp, "layer-")
	if err != nil {
		return nil, err
	}
	u := &upload{data: f, file: f, digest: l.Digest}
	h := sha256.New()
	source := &faulty{r: io.LimitReader(r, l.Size+1)}
	u.size, err = io.Copy(io.MultiWriter(f, h), source)
	have := lambent.Digest(hex.EncodeToString(h.Sum(nil)))
	switch {
	case source.err != nil:
		err = badLayer("read it: %w", source.err)
	case err == nil && u.size != l.Size:
		err = badLayer("it has not the %d bytes that its image says", l.Size)
	case err == nil && have != l.Digest:
		err = badLayer("it is damaged: its digest is %s, not %s", have, l.Digest)
	}
	if err != nil {
		u.discard()
		return nil, err
	}
	return u, nil
}

// restoreLayer unpacks a stored layer again; its bytes were compared with its
// digest before.
func (s *Store) restoreLayer(ctx context.Context, d lambent.Digest, blob *os.File) error {
	temp, size, err := s.disk.unpackLayer(ctx, blob, layerRules{limit: maxLayer})
	if err != nil {
		return err
	}
	s.log.Info("unpacked a layer that the cache had lost", "digest", string(d), "bytes", size)
	return errors.Join(s.show(ctx, temp, d, size), os.RemoveAll(temp))
}

// maxLayer bounds an unpacked layer in bytes: AWS takes images of 10 GB.
const maxLayer = 10 << 30

// layer is where the layer of an image is kept as it came. It is apart from code,
// so that what is in a file never decides how it is read.
func (d *disk) layer(digest lambent.Digest) string {
	return d.layers + "/" + string(digest)
}

// code is where code is kept as it was uploaded.
func (d *disk) code(digest lambent.Digest) string { return d.blobs + "/" + string(digest) }

func (d *disk) isLayer(digest lambent.Digest) bool {
	_, err := os.Lstat(d.layer(digest))
	return err == nil
}

func (d *disk) keepLayer(in *upload, point func(string)) error {
	if err := d.writeBlob(in, d.layer(in.digest), point); err != nil {
		return err
	}
	return syncDir(d.layers)
}

// layerRules are what a layer must keep to beside being safe.
type layerRules struct {
	diffID lambent.Digest // "" is not compared
	limit  int64          // bytes
}

// unpackLayer makes the tree of a layer in temp. On error nothing is left of it.
func (d *disk) unpackLayer(ctx context.Context, from io.ReadSeeker, rules layerRules) (temp string, size int64, err error) {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	archive, closeArchive, err := decompress(from, maxZstdWindow)
	if err != nil {
		return "", 0, err
	}
	defer closeArchive()
	if temp, err = os.MkdirTemp(d.temp, "tree-"); err != nil {
		return "", 0, err
	}
	err = func() error {
		if err := os.Chmod(temp, 0o755); err != nil {
			return err
		}
		root, err := os.OpenRoot(temp)
		if err != nil {
			return err
		}
		u := &layerUnpacker{root: root, left: rules.limit, sum: sha256.New(), owns: os.Geteuid() == 0}
		err = u.unpack(ctx, archive)
		size = rules.limit - u.left
		if have := hex.EncodeToString(u.sum.Sum(nil)); err == nil && rules.diffID != "" && have != string(rules.diffID) {
			err = badLayer("its content has the digest %s, not %s", have, rules.diffID)
		}
		return errors.Join(err, root.Close())
	}()
	if err != nil {
		return "", 0, errors.Join(err, os.RemoveAll(temp))
	}
	return temp, size, nil
}

func badLayer(format string, args ...any) error {
	cause := fmt.Errorf(format, args...)
	return &lambent.Error{Code: lambent.CodeInvalid, Reason: ReasonBadLayer,
		Message: "A layer of the image cannot be used: " + cause.Error(), Cause: errors.Unwrap(cause)}
}

// badEntry words what is wrong with an entry of a layer, or with the disk.
func badEntry(name string, err error) error {
	var ours *lambent.Error
	if err == nil || errors.As(err, &ours) || outOfSpace(err) {
		return err
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err // without the server's own path
	}
	return badLayer("entry %.200q: %s", name, strings.TrimSpace(err.Error()))
}
