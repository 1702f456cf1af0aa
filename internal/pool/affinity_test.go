package pool

import (
	"context"
	"fmt"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

func near(t *testing.T, p *Pool, n int, key string) *Lease {
	t.Helper()
	l, err := p.AcquireNear(context.Background(), application(n), key)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestCallersStayWithTheirInstance(t *testing.T) {
	inPool(t, scripted{init: 10 * time.Millisecond}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		a, b := near(t, p, 2, "ann"), near(t, p, 2, "bob")
		c := near(t, p, 2, "cid") // the first instance is full
		first, second := a.ID(), c.ID()
		if b.ID() != first || second == first {
			t.Fatalf("instances %s %s %s", first, b.ID(), second)
		}
		full := near(t, p, 2, "ann") // which does not make her move for good
		if full.ID() != second {
			t.Error("a full instance took another request")
		}
		for _, l := range []*Lease{a, b, c, full} {
			l.Release(time.Time{})
		}
		for i := range 20 {
			for key, want := range map[string]string{"ann": first, "bob": first, "cid": second} {
				l := near(t, p, 2, key)
				if l.ID() != want {
					t.Fatalf("round %d: %s is at %s, not at %s", i, key, l.ID(), want)
				}
				l.Release(time.Time{})
			}
		}
		if n := d.Starts(); n != 2 {
			t.Errorf("%d starts", n)
		}
		v := application(2)
		p.Retire(v.Namespace, v.Function, v.Number)
		l := near(t, p, 2, "ann")
		if l.ID() == first || l.ID() == second {
			t.Error("she is at an instance that was retired")
		}
		l.Release(time.Time{})
	})
}

// TestFunctionsStayToo has one request per instance.
func TestFunctionsStayToo(t *testing.T) {
	inPool(t, scripted{init: 10 * time.Millisecond}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		at := func(key string) *Lease {
			l, err := p.AcquireNear(context.Background(), version("f"), key)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		a, b := at("ann"), at("bob")
		ann, bob := a.ID(), b.ID()
		for range 3 {
			for _, l := range []*Lease{a, b} {
				_, _ = l.Invoke(context.Background(), sandbox.Event{})
				l.Release(time.Now().Add(time.Second))
			}
			time.Sleep(time.Second)
			b, a = at("bob"), at("ann")
			if a.ID() != ann || b.ID() != bob {
				t.Errorf("callers at %s %s, were at %s %s", a.ID(), b.ID(), ann, bob)
			}
		}
		a.Release(time.Now().Add(time.Second))
		b.Release(time.Now().Add(time.Second))
		if d.Starts() != 2 {
			t.Errorf("%d starts", d.Starts())
		}
	})
}

func TestCallersAreForgottenInTheEnd(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, _ *fake.Driver) {
		for i := range maxNear + 10 {
			near(t, p, 2, fmt.Sprint(i)).Release(time.Time{})
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if n := len(p.groupOf(application(2)).near); n > maxNear || n == 0 {
			t.Errorf("%d callers are remembered", n)
		}
	})
}
