package pool

import (
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox/fake"
)

func TestInstanceThatAnswersNobodyIsReplaced(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := application(3)
		stream := acquire(t, p, v) // goes on all the time
		judge := func(well bool) {
			l := acquire(t, p, v)
			if l.ID() != stream.ID() {
				t.Fatal("a request went to another instance before the first one was given up")
			}
			l.Judged(well)
			l.Release(time.Time{})
		}
		for range 3 { // one that serves between is no reason
			for range breakAfter - 1 {
				judge(false)
			}
			judge(true)
		}
		for range breakAfter {
			judge(false)
		}
		l := acquire(t, p, v)
		if l.ID() == stream.ID() {
			t.Error("the instance still gets requests")
		}
		if d.Live() != 2 {
			t.Errorf("%d instances live, want the one with the stream and its successor", d.Live())
		}
		stream.Release(time.Time{})
		time.Sleep(time.Second)
		if d.Live() != 1 {
			t.Errorf("%d instances live after the stream has ended, want 1", d.Live())
		}
		l.Release(time.Time{})
	})
}

func TestBrokenInstanceIsNotIdle(t *testing.T) {
	inPool(t, scripted{}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := application(10)
		for range breakAfter {
			l := acquire(t, p, v)
			l.Judged(false)
			l.Release(time.Time{})
		}
		time.Sleep(time.Second)
		if s := p.Stats(); s.Instances != 0 || d.Live() != 0 {
			t.Errorf("%+v, %d live", s, d.Live())
		}
	})
}
