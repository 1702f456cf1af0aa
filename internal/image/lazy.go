package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

// Lazy is where layers go whose content is fetched when it is read.
// [artifact.Store] is one.
type Lazy interface {
	PutIndex(ctx context.Context, c artifact.Coming, src artifact.Ranges) error
	Coming() ([]artifact.Coming, error)
	LastRead(d lambent.Digest) time.Time
}

// Annotations of a layer, in its image's manifest, with the digest of the table of
// contents that is in it (containerd, stargz-snapshotter, "eStargz"), and for zstd:chunked
// with its place, too (containers, storage, pkg/chunked; until 2022, and in stargz-snapshotter,
// under another prefix).
const (
	tocDigest  = "containerd.io/snapshot/stargz/toc.digest"
	chunkedSum = "zstd-chunked.manifest-checksum"
	chunkedAt  = "zstd-chunked.manifest-position"
	containers = "io.github.containers."
	earlier    = "io.containers."
)

// contents says where a layer has its table of contents, if the image knows of one.
func contents(desc v1.Descriptor) (digest, position string) {
	for _, prefix := range []string{containers, earlier} {
		digest, position = desc.Annotations[prefix+chunkedSum], desc.Annotations[prefix+chunkedAt]
		if digest != "" && position != "" {
			return digest, position
		}
	}
	return desc.Annotations[tocDigest], ""
}

// Times of layers that come in after they are used.
const (
	lazyFrom   = 4 << 20          // bytes; what is smaller is fetched at once
	quiet      = 10 * time.Second // nothing was read for so long before the rest is fetched
	patience   = 2 * time.Minute  // but no longer than that
	firstRetry = 5 * time.Second
	lastRetry  = 5 * time.Minute
	badRetry   = 6 * time.Hour // of what comes, and is not what the image says
)

// begin makes a layer usable before it is here, if it can be; its rest is brought
// by [Room.Run].
func (r *Room) begin(ctx context.Context, repo name.Repository, desc v1.Descriptor, l artifact.Layer) bool {
	toc, position := contents(desc)
	if r.o.Lazy == nil || toc == "" || desc.Size < lazyFrom {
		return false
	}
	c := artifact.Coming{Layer: l, TOC: toc, Position: position, From: repo.Name()}
	began := time.Now()
	if err := r.o.Lazy.PutIndex(ctx, c, r.ranges(repo, c)); err != nil {
		r.o.Log.Info("a layer is fetched whole, though it has an index", "repository", repo.Name(), "digest", string(l.Digest), "err", err)
		return false
	}
	r.o.Log.Info("a layer can be used while it comes in", "repository", repo.Name(), "digest", string(l.Digest), "bytes", l.Size, "took", time.Since(began))
	select {
	case r.wake <- struct{}{}:
	default: // Run looks already
	}
	return true
}

// Run fetches the rest of the layers that are used already, when nobody reads of
// them, until ctx ends. Those that an earlier server had begun with are among them.
// What cannot be read of the disk is tried again: images that are whole do without.
func (r *Room) Run(ctx context.Context) error {
	if r.o.Lazy == nil {
		<-ctx.Done()
		return nil
	}
	f := &filler{room: r, known: map[lambent.Digest]*filling{}}
	for {
		wait := firstRetry
		if all, err := r.o.Lazy.Coming(); err != nil {
			r.o.Log.Error("look for the layers that are coming in", "err", err, "retry", wait)
		} else {
			wait = f.round(ctx, all)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-r.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// filler is what Run knows of the layers that are coming in.
type filler struct {
	room  *Room
	known map[lambent.Digest]*filling
}

type filling struct {
	since time.Time     // when it was seen first
	due   time.Time     // when to try next
	retry time.Duration // before the try after that
	index bool          // it can be used
}

// round does what is due, and returns how long nothing will be.
func (f *filler) round(ctx context.Context, all []artifact.Coming) time.Duration {
	next := time.Hour
	now := map[lambent.Digest]*filling{}
	for _, c := range all {
		state := f.known[c.Digest]
		if state == nil {
			state = &filling{since: time.Now(), retry: firstRetry}
		}
		now[c.Digest] = state
		if ctx.Err() == nil && time.Until(state.due) <= 0 {
			f.advance(ctx, c, state)
		}
		next = min(next, max(0, time.Until(state.due)))
	}
	f.known = now
	return next
}

// advance makes a layer usable, or brings it.
func (f *filler) advance(ctx context.Context, c artifact.Coming, state *filling) {
	r := f.room
	repo, err := name.NewRepository(c.From)
	if err == nil && !state.index {
		if err = r.o.Lazy.PutIndex(ctx, c, r.ranges(repo, c)); err == nil {
			state.index = true
		}
	}
	if err == nil && r.o.Layers.HasLayer(c.Digest) {
		return // nor will it be among those that are to come
	}
	if err == nil {
		last := r.o.Lazy.LastRead(c.Digest)
		if last.Before(state.since) {
			last = state.since
		}
		if rest := r.o.Quiet - time.Since(last); rest > 0 && time.Since(state.since) < patience {
			state.due = time.Now().Add(rest)
			return
		}
		began := time.Now()
		s := r.session(repo.RegistryStr())
		_, err = r.storeLayer(ctx, s, repo.Digest("sha256:"+string(c.Digest)), c.Layer)
		s.close()
		if err == nil {
			r.o.Log.Info("the rest of a layer has come in", "repository", c.From, "digest", string(c.Digest), "bytes", c.Size, "took", time.Since(began))
		}
	}
	if err != nil && ctx.Err() == nil {
		r.o.Log.Warn("the rest of a layer cannot be had", "repository", c.From, "digest", string(c.Digest), "err", err, "retry", state.retry)
	}
	state.due = time.Now().Add(state.retry)
	most := lastRetry
	if lambent.ReasonOf(err) == artifact.ReasonBadLayer {
		most = badRetry
	}
	state.retry = min(state.retry*2, most)
}

// ranges reads parts of one layer in a registry.
type ranges struct {
	room   *Room
	repo   name.Repository
	digest string
	size   int64

	mu     sync.Mutex   // guards the rest
	client *http.Client // nil before the first read, and after one that failed
}

func (r *Room) ranges(repo name.Repository, c artifact.Coming) *ranges {
	return &ranges{room: r, repo: repo, digest: "sha256:" + string(c.Digest), size: c.Size}
}

var errNoRanges = errors.New("the registry gives layers only whole")

// attempts is how often a part is asked for that does not come.
const attempts = 3

// ReadRange reads n bytes from a place on. It tries again what may be over soon.
func (g *ranges) ReadRange(ctx context.Context, at, n int64) ([]byte, error) {
	var err error
	for try := range attempts {
		if try > 0 {
			select {
			case <-time.After(g.room.o.Idle / 150 << (2 * try)):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break
		}
		var p []byte
		if p, err = g.read(ctx, at, n); err == nil {
			return p, nil
		}
		g.forget()
		var answer *transport.Error
		if errors.Is(err, errNoRanges) || errors.As(err, &answer) && !answer.Temporary() {
			break
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	return nil, g.room.failed(ctx, g.repo.Name()+"@"+g.digest, err)
}

func (g *ranges) read(ctx context.Context, at, n int64) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client, err := g.open(ctx)
	if err != nil {
		return nil, err
	}
	address := g.repo.Scheme() + "://" + g.repo.RegistryStr() + "/v2/" + g.repo.RepositoryStr() + "/blobs/" + g.digest
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", at, at+n-1))
	res, err := client.Do(req)
	if err != nil {
		return nil, withoutQuery(err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	if err := transport.CheckError(res, http.StatusOK, http.StatusPartialContent); err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusPartialContent || res.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", at, at+n-1, g.size) {
		return nil, errNoRanges
	}
	w := watch(res.Body, g.room.o.Idle, func() { cancel(errStalled) })
	defer w.stop()
	p := make([]byte, n)
	if _, err := io.ReadFull(w, p); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	return p, nil
}

// withoutQuery leaves out of an error what is behind the "?" of an address: a registry
// may have led to one that is signed, and who has it can read the layer.
func withoutQuery(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		at.URL, _, _ = strings.Cut(at.URL, "?")
	}
	return err
}

// open logs in to the registry, once for as long as that goes well.
func (g *ranges) open(ctx context.Context) (*http.Client, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.client != nil {
		return g.client, nil
	}
	s := g.room.session(g.repo.RegistryStr())
	login, err := s.Resolve(g.repo)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.room.o.Resolve)
	defer cancel()
	t, err := transport.NewWithContext(ctx, g.repo.Registry, login, s, []string{g.repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	g.client = &http.Client{Transport: t}
	return g.client, nil
}

// forget has the next read begin from the login.
func (g *ranges) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.client != nil {
		g.client.CloseIdleConnections()
		g.client = nil
	}
}
