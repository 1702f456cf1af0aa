package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"lambent.dev/lambent/internal/gateway/route"
)

// How long key sets are used. An issuer that changes its keys shows the new ones
// before it signs with them.
const (
	keySetFresh   = 10 * time.Minute // then it is read again
	keySetStale   = 24 * time.Hour   // for so long an old one does when the issuer does not answer
	keySetRetry   = 10 * time.Second // between two attempts
	keySetTimeout = 5 * time.Second
	maxKeySets    = 1000
)

// keySets reads the key sets of issuers and keeps them.
type keySets struct {
	client http.Client
	now    func() time.Time
	flight singleflight.Group

	mu   sync.Mutex // guards sets
	sets map[string]keySet
}

type keySet struct {
	set         *route.KeySet // nil when it never could be read
	read, tried time.Time
	err         error
}

func newKeySets(now func() time.Time) *keySets {
	return &keySets{
		now: now, sets: map[string]keySet{},
		client: http.Client{
			// An issuer is asked seldom: no connection is kept, and no proxy is asked.
			Transport: &http.Transport{
				DisableKeepAlives: true, TLSHandshakeTimeout: keySetTimeout, MaxResponseHeaderBytes: 64 << 10,
				DialContext: (&net.Dialer{Timeout: keySetTimeout}).DialContext,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("a key set is not looked for elsewhere") },
		},
	}
}

// get returns the key set at url. refresh asks for a newer one than is known,
// because a token names another key; anybody can make such tokens, so that it is
// asked for seldom.
func (k *keySets) get(ctx context.Context, url string, refresh bool) (*route.KeySet, error) {
	k.mu.Lock()
	known := k.sets[url]
	k.mu.Unlock()
	now := k.now()
	fresh := known.set != nil && now.Sub(known.read) < keySetFresh && !refresh
	if fresh || now.Sub(known.tried) < keySetRetry && !known.tried.IsZero() {
		if known.set == nil {
			return nil, known.err
		}
		return known.set, nil
	}
	v, err, _ := k.flight.Do(url, func() (any, error) {
		// Others wait for the same answer: it does not end with who asked first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keySetTimeout)
		defer cancel()
		set, err := k.fetch(ctx, url)
		next := keySet{set: set, read: now, tried: now, err: err}
		if err != nil && known.set != nil && now.Sub(known.read) < keySetStale {
			next.set, next.read = known.set, known.read
		}
		k.keep(url, next)
		if next.set == nil {
			return nil, err
		}
		return next.set, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*route.KeySet), nil
}

func (k *keySets) keep(url string, s keySet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.sets) >= maxKeySets {
		clear(k.sets) // of routes that are gone, most of them
	}
	k.sets[url] = s
}

func (k *keySets) fetch(ctx context.Context, url string) (*route.KeySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, res.Status)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, route.MaxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", url, err)
	}
	return route.ParseKeySet(text)
}
