package route

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"
)

// Limiter counts the requests of callers against the rates of routes. It keeps one
// time per route and caller (the generic cell rate algorithm, ITU-T I.371, which
// admits what a token bucket does) and a bounded number of them: when callers are
// too many those that came longest ago are forgotten, who may then come as if for
// the first time. It is safe for concurrent use.
type Limiter struct {
	seed   maphash.Seed
	shards [limitShards]limitShard
}

const (
	limitShards = 64
	// limitCallers is how many a shard remembers at most, in each of its halves.
	limitCallers = 1024
)

type limitShard struct {
	mu sync.Mutex // guards both maps
	// recent is filled first; when it is full it becomes the older one, and what is
	// still in use comes back from there.
	recent, older map[limitKey]int64
}

type limitKey struct{ route, caller string }

// NewLimiter makes a limiter that has seen nobody.
func NewLimiter() *Limiter { return &Limiter{seed: maphash.MakeSeed()} }

// Allow counts a request at a time and tells whether it is within the rate, and if
// not after how long one would be. A request that is refused does not count.
func (l *Limiter) Allow(e *Entry, caller string, now time.Time) (wait time.Duration, ok bool) {
	if e.Rate == 0 {
		return 0, true
	}
	k := limitKey{e.ID, caller}
	s := &l.shards[maphash.Comparable(l.seed, k)%limitShards]
	interval := int64(math.Ceil(float64(time.Second) / e.Rate))
	at := now.UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	due, recent := s.recent[k]
	if !recent {
		due = s.older[k]
	}
	due = max(due, at)
	if over := due + interval - at - int64(e.Burst)*interval; over > 0 {
		return time.Duration(over), false
	}
	if !recent && len(s.recent) >= limitCallers || s.recent == nil {
		s.older, s.recent = s.recent, make(map[limitKey]int64, 8)
	}
	s.recent[k] = due + interval
	return 0, true
}

// CallerOf names the sender of a request that is known by its address only: an
// IPv6 network of 64 bits counts as one, since each host can take any address in it.
func CallerOf(a netip.Addr) string {
	a = a.Unmap()
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
