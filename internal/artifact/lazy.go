package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/filetree"
)

// Coming is a layer that functions use before all of it is here: what is read of
// it is fetched then, and the rest is to be put by [Store.PutLayer] in time.
type Coming struct {
	Layer
	// TOC is the digest of its table of contents, "sha256:...", as the image's
	// manifest says it.
	TOC string
	// From is where it comes from, for whoever put it to know again.
	From string
}

// PutIndex stores the table of contents of an eStargz layer, and lets the layer be
// used. An error says why it has to be put whole; nothing is kept then. A layer that
// is stored, or has its index, stays as it is.
func (s *Store) PutIndex(ctx context.Context, c Coming, src Ranges) error {
	if !valid(c.Digest) || !valid(c.DiffID) {
		return badLayer("its digests are none: %.80q, %.80q", c.Digest, c.DiffID)
	}
	done, err := s.lock(ctx, c.Digest)
	if err != nil {
		return err
	}
	defer done()
	if s.HasLayer(c.Digest) || s.comingLayer(c.Digest) != nil {
		return nil
	}
	if _, err := os.Lstat(s.disk.code(c.Digest)); err == nil {
		return badLayer("it is stored already, as something else")
	}
	i, err := readTOC(ctx, src, c.Size, c.TOC)
	if err != nil {
		return fault("read the index of a layer", err)
	}
	if i.size > c.Limit {
		return badLayer("the image is too large when it is unpacked")
	}
	l, err := s.newLazy(c, i, src)
	if err != nil {
		return fault("store the index of a layer", err)
	}
	if err := s.disk.noteComing(c); err != nil {
		l.close()
		return fault("store the index of a layer", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lazy[c.Digest] = l
	return nil
}

// Coming lists the layers that are not here, with those that an earlier server had
// begun with.
func (s *Store) Coming() ([]Coming, error) {
	entries, err := os.ReadDir(s.disk.coming)
	if err != nil {
		return nil, fault("list the layers that are coming in", err)
	}
	var all []Coming
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(s.disk.coming, e.Name()))
		if err != nil {
			return nil, fault("list the layers that are coming in", err)
		}
		var c Coming
		if json.Unmarshal(raw, &c) == nil && valid(c.Digest) && string(c.Digest) == e.Name() {
			all = append(all, c)
		}
	}
	return all, nil
}

// Tree gives a layer that is still coming in, and pins it until release is called,
// once or more; ok is false for one that is not.
func (s *Store) Tree(d lambent.Digest) (t *filetree.Tree, release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lazy[d]
	if l == nil || l.whole {
		return nil, nil, false
	}
	l.pins++
	return l.index.tree, sync.OnceFunc(func() { s.unpinLazy(l) }), true
}

func (s *Store) unpinLazy(l *lazyLayer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.pins--
	s.dropLazy(l)
}

// dropLazy forgets a layer that is here whole and that no instance reads any more
// in the other way. The caller holds mu.
func (s *Store) dropLazy(l *lazyLayer) {
	if l.whole && l.pins == 0 {
		l.close()
		if s.lazy[l.Digest] == l {
			delete(s.lazy, l.Digest)
		}
	}
}

func (s *Store) comingLayer(d lambent.Digest) *lazyLayer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lazy[d]; l != nil && !l.whole {
		return l
	}
	return nil
}

// LastRead is when something of a layer was fetched because it was read; zero for
// one that is not coming in, or of which nothing was.
func (s *Store) LastRead(d lambent.Digest) time.Time {
	s.mu.Lock()
	l := s.lazy[d]
	s.mu.Unlock()
	if l == nil {
		return time.Time{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.read
}

// arrived tells that a layer is here whole. The caller has d's turn.
func (s *Store) arrived(d lambent.Digest) {
	_ = os.Remove(filepath.Join(s.disk.coming, string(d))) // else it is found out at the next start
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lazy[d]; l != nil {
		l.whole = true
		s.dropLazy(l)
	}
}

// collectComing gives up layers that no function names any more.
func (s *Store) collectComing(alive map[lambent.Digest]bool, olderThan time.Duration) error {
	all, err := s.Coming()
	if err != nil {
		return err
	}
	for _, c := range all {
		path := filepath.Join(s.disk.coming, string(c.Digest))
		info, err := os.Lstat(path)
		if err != nil || alive[c.Digest] || time.Since(info.ModTime()) < olderThan {
			continue
		}
		s.mu.Lock()
		if l := s.lazy[c.Digest]; l == nil || l.pins == 0 {
			err = os.Remove(path)
			if l != nil {
				l.whole = true
				s.dropLazy(l)
			}
		}
		s.mu.Unlock()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// noteComing writes down what a later server has to know.
func (d *disk) noteComing(c Coming) error {
	raw, err := json.Marshal(c)
	if err != nil {
		return err
	}
	f, err := d.spool(strings.NewReader(string(raw)))
	if err != nil {
		return err
	}
	err = errors.Join(f.Sync(), f.Close(), os.Rename(f.Name(), filepath.Join(d.coming, string(c.Digest))))
	return errors.Join(err, syncDir(d.coming))
}

// lazyLayer is a layer that is used before it is here. What was fetched of it is in
// a file without a name, which takes no more of the disk than that.
type lazyLayer struct {
	Coming
	index *index
	disk  *disk
	src   Ranges
	cache *os.File
	life  context.Context // ends when nobody reads of the layer any more
	end   context.CancelFunc
	// fetches holds a token for each fetch.
	fetches chan struct{}

	// Guarded by the store's mu.
	whole bool // it is stored and unpacked
	pins  int

	mu       sync.Mutex // guards the rest
	have     []uint64   // a bit for each chunk that is in cache
	fetching map[int]*fetch
	read     time.Time
}

// fetch is one chunk on its way, for all who wait for it.
type fetch struct {
	done chan struct{}
	err  error // valid once done is closed
}

func (s *Store) newLazy(c Coming, i *index, src Ranges) (*lazyLayer, error) {
	f, err := os.CreateTemp(s.disk.temp, "coming-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	life, end := context.WithCancel(context.Background())
	l := &lazyLayer{Coming: c, life: life, end: end, index: i, disk: s.disk, src: src, cache: f, fetches: make(chan struct{}, maxFetches),
		have: make([]uint64, (len(i.chunks)+63)/64), fetching: map[int]*fetch{}}
	i.tree.Read = l.readAt
	return l, nil
}

func (l *lazyLayer) close() {
	l.end()
	_ = l.cache.Close() // nobody reads it any more
}

// readAt reads of a file, and fetches what is missing.
func (l *lazyLayer) readAt(ctx context.Context, n *filetree.Node, p []byte, at int64) error {
	if at < 0 || at+int64(len(p)) > n.Size {
		return lambent.Errorf(lambent.CodeInternal, "read beyond the end of a file")
	}
	for len(p) > 0 {
		k := l.index.covering(n, at)
		c := &l.index.chunks[k]
		take := min(int64(len(p)), c.at+c.size-at)
		base := l.index.files[n.Place].base
		if err := l.ensure(ctx, k, base+c.at); err != nil {
			return err
		}
		if _, err := l.cache.ReadAt(p[:take], base+at); err != nil {
			return lambent.Errorf(lambent.CodeInternal, "read a layer that is coming in: %w", err)
		}
		p, at = p[take:], at+take
	}
	return nil
}

// ensure makes a chunk be in the cache, at a place of its own. Those who want the
// same one wait for each other.
func (l *lazyLayer) ensure(ctx context.Context, k int, to int64) error {
	l.mu.Lock()
	if l.have[k/64]>>(k%64)&1 == 1 {
		l.mu.Unlock()
		return nil
	}
	f := l.fetching[k]
	if f == nil {
		f = &fetch{done: make(chan struct{})}
		l.fetching[k] = f
		// In bounded time, and no longer than the layer is in use: see fetch.
		go l.bring(k, to, f)
	}
	l.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return canceled("wait for a layer", ctx.Err())
	}
}

// bring fetches a chunk for all who wait for it: the first one of them may go.
func (l *lazyLayer) bring(k int, to int64, f *fetch) {
	f.err = l.fetch(k, to)
	l.mu.Lock()
	delete(l.fetching, k)
	l.read = time.Now()
	if f.err == nil {
		l.have[k/64] |= 1 << (k % 64)
	}
	l.mu.Unlock()
	close(f.done)
}

// Bounds on what is being fetched: how many chunks of a layer at the same time,
// which bounds the memory for them, and how long for one. A registry that hangs
// holds up nobody else's layers.
const (
	maxFetches   = 4
	fetchTimeout = 2 * time.Minute
)

// fetch brings a chunk in: from the layer itself if that is here by now.
func (l *lazyLayer) fetch(k int, to int64) error {
	ctx, cancel := context.WithTimeout(l.life, fetchTimeout)
	defer cancel()
	select {
	case l.fetches <- struct{}{}:
		defer func() { <-l.fetches }()
	case <-ctx.Done():
		return canceled("wait for a layer", ctx.Err())
	}
	c := &l.index.chunks[k]
	packed, err := l.disk.readStored(l.Digest, c.from, c.to-c.from)
	if errors.Is(err, fs.ErrNotExist) {
		packed, err = l.src.ReadRange(ctx, c.from, c.to-c.from)
	}
	if err != nil {
		return fault("fetch a piece of a layer", err)
	}
	content, err := c.undo(packed)
	if err != nil {
		return err
	}
	if _, err := l.cache.WriteAt(content, to); err != nil {
		return fault("keep a piece of a layer", err)
	}
	return nil
}

// readStored reads of a layer that is kept as it came.
func (d *disk) readStored(digest lambent.Digest, at, n int64) ([]byte, error) {
	f, err := os.Open(d.layer(digest))
	if err != nil {
		return nil, err
	}
	p := make([]byte, n)
	_, err = f.ReadAt(p, at)
	return p, errors.Join(err, f.Close())
}

// Missing are those of the digests that no layer is stored of, nor coming in.
func (s *Store) Missing(all []lambent.Digest) []lambent.Digest {
	return slices.DeleteFunc(slices.Clone(all), func(d lambent.Digest) bool { return s.HasLayer(d) || s.comingLayer(d) != nil })
}

// notHere words that a layer is to come of which nothing is known yet.
func notHere(d lambent.Digest) error {
	return lambent.Errorf(lambent.CodeUnavailable, "a layer of the image, %.12s, is not here yet: its registry has not answered since the server was started", d)
}

// isComing tells whether a layer was promised by this or an earlier server.
func (d *disk) isComing(digest lambent.Digest) bool {
	_, err := os.Lstat(filepath.Join(d.coming, string(digest)))
	return err == nil
}
