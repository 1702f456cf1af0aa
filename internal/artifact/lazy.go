package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
	// Position is where a zstd:chunked layer has that, as the manifest says it, too:
	// "offset:length:unpacked length:1". TOC is of its compressed form then. It is
	// "" for an eStargz layer.
	Position string `json:",omitempty"`
	// From is where it comes from, for whoever put it to know again.
	From string
}

// PutIndex stores the table of contents of a layer, and lets the layer be used. An
// error says why it has to be put whole; nothing is kept then. A layer that is stored,
// or has its index, stays as it is.
func (s *Store) PutIndex(ctx context.Context, c Coming, src Ranges) error {
	if !valid(c.Digest) || !valid(c.DiffID) {
		return badLayer("its digests are none: %.80q, %.80q", c.Digest, c.DiffID)
	}
	done, err := s.lock(ctx, c.Digest)
	if err != nil {
		return err
	}
	defer done()
	if s.HasLayer(c.Digest) {
		s.arrived(c.Digest) // which a loss of power may have undone the note of
		return nil
	}
	if s.comingLayer(c.Digest) != nil {
		return nil
	}
	if _, err := os.Lstat(s.disk.code(c.Digest)); err == nil {
		return badLayer("it is stored already, as something else")
	}
	i, err := readTOC(ctx, src, c)
	if err != nil {
		return fault("read the index of a layer", err)
	}
	if i.size > c.Limit {
		return badLayer("the image is too large when it is unpacked")
	}
	if s.indexed()+i.parts() > s.most {
		return lambent.Errorf(lambent.CodeUnavailable, "the layers that are still to come have %d files and pieces: no more are indexed", s.indexed())
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

// indexed is how many files and pieces there are in the indexes in memory.
func (s *Store) indexed() (parts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lazy {
		parts += l.index.parts()
	}
	return parts
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
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has arrived meanwhile, or was collected
		}
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

// fetch is chunks of a file on their way, for all who wait for them.
type fetch struct {
	first, last int   // chunks
	base        int64 // where the file begins in all of the content
	done        chan struct{}
	err         error // why not all came; valid once done is closed
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
		if c.zeros {
			clear(p[:take])
		} else if err := l.readChunk(ctx, n, k, p[:take], at); err != nil {
			return err
		}
		p, at = p[take:], at+take
	}
	return nil
}

func (l *lazyLayer) readChunk(ctx context.Context, n *filetree.Node, k int, p []byte, at int64) error {
	if err := l.ensure(ctx, n, k); err != nil {
		return err
	}
	if _, err := l.cache.ReadAt(p, l.index.files[n.Place].base+at); err != nil {
		return lambent.Errorf(lambent.CodeInternal, "read a layer that is coming in: %w", err)
	}
	return nil
}

// ensure makes a chunk of a file be in the cache. Those who want the same one wait
// for each other.
func (l *lazyLayer) ensure(ctx context.Context, n *filetree.Node, k int) error {
	l.mu.Lock()
	if l.has(k) {
		l.mu.Unlock()
		return nil
	}
	f := l.fetching[k]
	if f == nil {
		f = &fetch{first: k, last: l.together(n, k), base: l.index.files[n.Place].base, done: make(chan struct{})}
		for i := f.first; i <= f.last; i++ {
			l.fetching[i] = f
		}
		// In bounded time, and no longer than the layer is in use: see fetch.
		go l.bring(f)
	}
	l.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return canceled("wait for a layer", ctx.Err())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.has(k) { // what failed may be a chunk behind it
		return nil
	}
	return f.err
}

// has tells whether a chunk is in the cache. The caller holds mu.
func (l *lazyLayer) has(k int) bool { return l.have[k/64]>>(k%64)&1 == 1 }

// together is the last of the chunks that are fetched with one: those behind it in
// the same file and in the layer, as who reads on wants them next and each request
// takes its time. zstd:chunked cuts files into some 64 KB. The caller holds mu.
func (l *lazyLayer) together(n *filetree.Node, k int) int {
	of, from := l.index.files[n.Place], l.index.chunks[k].from
	last := k
	for i := k + 1; i < of.first+of.count; i++ {
		c := &l.index.chunks[i]
		if c.zeros || c.from != l.index.chunks[last].to || c.to-from > fetchAhead || l.has(i) || l.fetching[i] != nil {
			break
		}
		last = i
	}
	return last
}

// bring fetches chunks for all who wait for them: the first one of them may go.
func (l *lazyLayer) bring(f *fetch) {
	got, err := l.fetch(f)
	f.err = err
	l.mu.Lock()
	for i := f.first; i <= f.last; i++ {
		delete(l.fetching, i)
	}
	l.read = time.Now()
	for i := f.first; i < f.first+got; i++ {
		l.have[i/64] |= 1 << (i % 64)
	}
	l.mu.Unlock()
	close(f.done)
}

// Bounds on what is being fetched: how many chunks of a layer at the same time,
// which bounds the memory for them, how many bytes of several chunks at once, and
// how long for that. A registry that hangs holds up nobody else's layers.
const (
	maxFetches   = 4
	fetchAhead   = 512 << 10
	fetchTimeout = 2 * time.Minute
)

// fetch brings chunks in, from the layer itself if that is here by now, and tells
// how many are in the cache.
func (l *lazyLayer) fetch(f *fetch) (got int, err error) {
	ctx, cancel := context.WithTimeout(l.life, fetchTimeout)
	defer cancel()
	select {
	case l.fetches <- struct{}{}:
		defer func() { <-l.fetches }()
	case <-ctx.Done():
		return 0, canceled("wait for a layer", ctx.Err())
	}
	chunks := l.index.chunks[f.first : f.last+1]
	from := chunks[0].from
	length := chunks[len(chunks)-1].to - from
	packed, err := l.disk.readStored(l.Digest, from, length)
	if errors.Is(err, fs.ErrNotExist) {
		packed, err = l.src.ReadRange(ctx, from, length)
	}
	if err != nil {
		return 0, fault("fetch a piece of a layer", err)
	}
	for i := range chunks {
		c := &chunks[i]
		content, err := c.undo(packed[c.from-from : c.to-from])
		if err != nil {
			return i, err
		}
		if _, err := l.cache.WriteAt(content, f.base+c.at); err != nil {
			return i, fault("keep a piece of a layer", err)
		}
	}
	return len(chunks), nil
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

// notHere words that a layer is to come of which nothing is known yet.
func notHere(d lambent.Digest) error {
	return lambent.Errorf(lambent.CodeUnavailable, "a layer of the image, %.12s, is not here yet: its registry has not answered since the server was started", d)
}

// isComing tells whether a layer was promised by this or an earlier server.
func (d *disk) isComing(digest lambent.Digest) bool {
	_, err := os.Lstat(filepath.Join(d.coming, string(digest)))
	return err == nil
}
