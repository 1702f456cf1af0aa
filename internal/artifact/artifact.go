// Package artifact keeps code and layers by content: it takes a zip, refuses
// what is unsafe, stores the bytes under their hash, unpacks them once into the
// node's cache, and hands out directories that sandboxes mount. It owns the
// artifacts folder of the data directory; it knows nothing of functions. The
// catalog tells it which digests are alive when it collects garbage.
package artifact

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"lambent.dev/lambent"
)

// Options of a [Store].
type Options struct {
	Dir string       // the artifacts folder; made when it is missing
	S3  []S3Endpoint // where S3 references may point, first match wins
	Log *slog.Logger
	// MostIndexed bounds the memory for layers that are used before they are here: the
	// files and pieces in all of their indexes. Zero is 2,000,000, up to 500 MB.
	MostIndexed int
	// Point, if set, is called with the name of a moment at which a crash is
	// worth testing: "artifact.after-temp", "artifact.before-rename",
	// "artifact.after-rename", "artifact.after-unpack", "artifact.before-collect".
	// Nil in production.
	Point func(name string)
}

// S3Endpoint is an S3-compatible service that code may come from.
type S3Endpoint struct {
	Bucket               string // "" is any
	Endpoint             string // URL
	Region               string
	AccessKey, SecretKey string
	PathStyle            bool
}

// Source is where code comes from: Zip, or an object in S3.
type Source struct {
	Zip             []byte // nil is none; it is only read
	S3Bucket, S3Key string
	S3ObjectVersion string // "" is the latest
	// Others is the unpacked size in bytes of what shares the limit of
	// [lambent.MaxUnzipped] with this code: the layers of a function.
	Others int64
}

// Info describes stored code.
type Info struct {
	Digest   lambent.Digest
	Size     int64 // bytes as uploaded
	Unpacked int64 // sum of the files' sizes in bytes
}

// Store is the content-addressed store of one node. Its methods may be called
// from any goroutine.
type Store struct {
	disk   *disk
	remote *remote
	log    *slog.Logger
	point  func(string)
	most   int // of Options.MostIndexed

	mu    sync.Mutex // guards what follows, and what is in each of them
	items map[lambent.Digest]*item
	trees map[lambent.Digest]*tree
	lazy  map[lambent.Digest]*lazyLayer
	// discovered tells that trees has those of earlier servers too.
	discovered bool
}

// item is a digest that someone works on or has pinned.
type item struct {
	turn  chan struct{} // holds one token: whoever has it may change the files
	users int           // how many hold or wait for the turn
	pins  int           // how many use the unpacked directory
}

// Open makes or opens the store in o.Dir and sweeps what a crash left half
// written there.
func Open(o Options) (*Store, error) {
	d, err := openDisk(o.Dir)
	if err != nil {
		return nil, fault("open the artifacts in "+o.Dir, err)
	}
	s := &Store{disk: d, remote: newRemote(o.S3), log: o.Log, point: o.Point, most: cmp.Or(o.MostIndexed, 2_000_000),
		items: map[lambent.Digest]*item{}, trees: map[lambent.Digest]*tree{}, lazy: map[lambent.Digest]*lazyLayer{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.point == nil {
		s.point = func(string) {}
	}
	return s, nil
}

// Put verifies the code, stores it durably and unpacks it into the cache. Code
// that is there already is not stored again, but counts as young from now on, so
// that [Store.Collect] leaves it alone until it is recorded. Callers with the
// same code wait for one another.
//
// Refusals have the code, reason and words of AWS's answer and leave nothing on
// the disk.
func (s *Store) Put(ctx context.Context, src Source) (Info, error) {
	in, err := s.receive(ctx, src)
	if err != nil {
		return Info{}, fault("receive code", err)
	}
	defer in.discard()
	p, err := inspect(in.data, in.size)
	if err != nil {
		return Info{}, fault("read code", err)
	}
	if p.over(src.Others) {
		return Info{}, unpackedTooLarge()
	}
	done, err := s.lock(ctx, in.digest)
	if err != nil {
		return Info{}, err
	}
	defer done()
	if s.disk.isLayer(in.digest) {
		return Info{}, badZip("the archive is stored already, as a layer of an image")
	}
	if err := s.keep(ctx, in, p); err != nil {
		return Info{}, fault("store code", err)
	}
	return Info{Digest: in.digest, Size: in.size, Unpacked: p.unpacked}, nil
}

// keep makes the blob and its tree be there. The tree is unpacked first, since
// only that proves the archive sound, and shown last.
func (s *Store) keep(ctx context.Context, in *upload, p *plan) error {
	var temp string
	if !s.disk.hasTree(in.digest) {
		var err error
		if temp, err = s.disk.unpack(ctx, p); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(temp) }() // gone already when all went well
		s.point("artifact.after-unpack")
	}
	if err := s.disk.keepBlob(in, s.point); err != nil {
		return err
	}
	if temp == "" {
		return nil
	}
	return s.show(ctx, temp, in.digest, p.unpacked)
}

// show seals a tree in temp and gives it its name.
func (s *Store) show(ctx context.Context, temp string, d lambent.Digest, size int64) error {
	if err := s.disk.seal(ctx, temp, s.disk.tree(d)); err != nil {
		return err
	}
	if err := s.disk.showTree(temp, d); err != nil {
		return err
	}
	s.noteTree(d, size)
	return nil
}

// Use returns the directory with the unpacked code and pins it until release is
// called, once or more. When the cache has lost it, or holds something else than
// was unpacked, it is unpacked again; this is found out at the first use after
// the store was opened, and by [Store.Scrub]. The error is [lambent.CodeNotFound]
// when there is no such code.
func (s *Store) Use(ctx context.Context, d lambent.Digest) (dir string, release func(), err error) {
	if !valid(d) {
		return "", nil, noArtifact(d)
	}
	done, err := s.lock(ctx, d)
	if err != nil {
		return "", nil, err
	}
	defer done()
	if err := s.ensure(ctx, d); err != nil {
		return "", nil, fault("unpack code "+string(d), err)
	}
	return s.disk.tree(d), s.pin(d), nil
}

// restore unpacks a blob again. The bytes have been on a disk for a while: they
// are compared with their digest before they are believed.
func (s *Store) restore(ctx context.Context, d lambent.Digest) error {
	blob, size, err := s.disk.openBlob(d)
	if err != nil {
		if s.disk.isComing(d) {
			err = notHere(d)
		}
		return err
	}
	defer func() { _ = blob.Close() }() // only read
	if have, err := digestOf(blob); err != nil {
		return err
	} else if have != d {
		if s.disk.isLayer(d) { // so that its image is fetched again when it is set anew
			err = os.Remove(s.disk.layer(d))
		}
		if err != nil {
			return err
		}
		return lambent.Errorf(lambent.CodeUnavailable, "the stored code %s is damaged: deploy it again", d).WithReason(ReasonDamaged)
	}
	if s.disk.isLayer(d) {
		return s.restoreLayer(ctx, d, blob)
	}
	p, err := inspect(blob, size)
	if err != nil {
		return err
	}
	temp, err := s.disk.unpack(ctx, p)
	if err != nil {
		return err
	}
	s.log.Info("unpacked code that the cache had lost", "digest", string(d), "bytes", p.unpacked)
	return errors.Join(s.show(ctx, temp, d, p.unpacked), os.RemoveAll(temp))
}

// Blob opens the code as it was uploaded and tells its size in bytes. The error
// is [lambent.CodeNotFound] when there is no such code.
func (s *Store) Blob(d lambent.Digest) (io.ReadSeekCloser, int64, error) {
	if !valid(d) {
		return nil, 0, noArtifact(d)
	}
	blob, size, err := s.disk.openBlob(d)
	if err != nil {
		return nil, 0, fault("open code "+string(d), err)
	}
	return blob, size, nil
}

// Collect removes code that is not alive, not pinned, and was last put longer
// ago than olderThan, which must exceed the time from a Put to the record that
// makes the code alive. It returns the bytes that were freed, also when it fails
// halfway. What an earlier boot of the machine unpacked goes as well.
func (s *Store) Collect(ctx context.Context, alive map[lambent.Digest]bool, olderThan time.Duration) (freed int64, err error) {
	freed, err = s.disk.dropStale(ctx)
	if err != nil {
		return freed, fault("collect code", err)
	}
	found, err := s.disk.digests()
	if err != nil {
		return freed, fault("collect code", err)
	}
	for _, d := range found {
		if alive[d] || s.pinned(d) || !s.disk.old(d, olderThan) {
			continue
		}
		n, err := s.collect(ctx, d, olderThan)
		freed += n
		if err != nil {
			return freed, fault("collect code "+string(d), err)
		}
	}
	return freed, fault("collect code", s.collectComing(alive, olderThan))
}

func (s *Store) collect(ctx context.Context, d lambent.Digest, olderThan time.Duration) (int64, error) {
	done, err := s.lock(ctx, d)
	if err != nil {
		return 0, err
	}
	defer done()
	// A Put or a Use may have come in between.
	if s.pinned(d) || !s.disk.old(d, olderThan) {
		return 0, nil
	}
	s.point("artifact.before-collect")
	s.forgetTree(d)
	return s.disk.drop(ctx, d)
}

// lock waits for the digest's turn; done gives it on.
func (s *Store) lock(ctx context.Context, d lambent.Digest) (done func(), err error) {
	s.mu.Lock()
	it := s.items[d]
	if it == nil {
		it = &item{turn: make(chan struct{}, 1)}
		s.items[d] = it
	}
	it.users++
	s.mu.Unlock()
	select {
	case it.turn <- struct{}{}:
		return func() { <-it.turn; s.leave(d, it) }, nil
	case <-ctx.Done():
		s.leave(d, it)
		return nil, canceled("wait for code "+string(d), ctx.Err())
	}
}

func (s *Store) leave(d lambent.Digest, it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.users--
	s.forget(d, it)
}

// forget drops an item that nobody uses. The caller holds mu.
func (s *Store) forget(d lambent.Digest, it *item) {
	if it.users == 0 && it.pins == 0 {
		delete(s.items, d)
	}
}

// pin keeps Collect from the digest, whose turn the caller has, until release.
func (s *Store) pin(d lambent.Digest) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[d]
	it.pins++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		it.pins--
		s.forget(d, it)
	})
}

func (s *Store) pinned(d lambent.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[d]
	return it != nil && it.pins > 0
}
