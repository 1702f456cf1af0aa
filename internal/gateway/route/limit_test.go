package route

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
)

func limited(rate float64, burst int) *Entry {
	return &Entry{Route: &lambent.Route{ID: "r", Rate: rate, Burst: burst}}
}

func TestBurstThenRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, e := NewLimiter(), limited(2, 3)
		for i := range 3 {
			if _, ok := l.Allow(e, "a", time.Now()); !ok {
				t.Fatalf("request %d of a burst of 3 was refused", i+1)
			}
		}
		wait, ok := l.Allow(e, "a", time.Now())
		if ok || wait != 500*time.Millisecond {
			t.Fatalf("the fourth: %v %v, want a refusal for 500ms", ok, wait)
		}
		if _, ok := l.Allow(e, "b", time.Now()); !ok {
			t.Error("another caller was refused")
		}
		other := limited(2, 3)
		other.ID = "other"
		if _, ok := l.Allow(other, "a", time.Now()); !ok {
			t.Error("another route was refused")
		}
		time.Sleep(wait - 1)
		if _, ok := l.Allow(e, "a", time.Now()); ok {
			t.Error("one came too early and was admitted")
		}
		time.Sleep(time.Nanosecond)
		if _, ok := l.Allow(e, "a", time.Now()); !ok {
			t.Error("one came in time and was refused")
		}
		admitted := 0
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			if _, ok := l.Allow(e, "a", time.Now()); ok {
				admitted++
			}
		}
		if admitted != 20 {
			t.Errorf("%d requests in 10s, want 20", admitted)
		}
	})
}

func TestLimiterIsBounded(t *testing.T) {
	l, e, now := NewLimiter(), limited(1, 1), time.Unix(1e9, 0)
	for i := range 3 * 2 * limitShards * limitCallers {
		l.Allow(e, fmt.Sprint(i), now)
	}
	if n := l.size(); n > 2*limitShards*limitCallers {
		t.Errorf("%d callers are remembered", n)
	}
}

func TestBusyCallersAreRemembered(t *testing.T) {
	l, e, now := NewLimiter(), limited(1, 100000), time.Unix(1e9, 0)
	for i := range 4 * limitShards * limitCallers {
		l.Allow(e, fmt.Sprint(i), now)
		if i%100 == 0 {
			l.Allow(e, "busy", now)
		}
	}
	if _, ok := l.Allow(limited(1, 2000), "busy", now); ok {
		t.Error("a caller that kept coming was forgotten")
	}
}

func TestCallerOf(t *testing.T) {
	for in, want := range map[string]string{
		"10.1.2.3": "10.1.2.3", "::ffff:10.1.2.3": "10.1.2.3", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := CallerOf(netip.MustParseAddr(in)); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	l, e := NewLimiter(), limited(1e6, 1000)
	for b.Loop() {
		l.Allow(e, "10.1.2.3", time.Now())
	}
}

// size is how many callers are remembered.
func (l *Limiter) size() (n int) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.recent) + len(s.older)
		s.mu.Unlock()
	}
	return n
}
