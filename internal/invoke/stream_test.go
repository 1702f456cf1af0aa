package invoke

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
)

// taker counts, and fails once it was interrupted.
type taker struct {
	got         int
	interrupted atomic.Bool
}

func (s *taker) Begin(string) error { return nil }

func (s *taker) Write(p []byte) (int, error) {
	if s.interrupted.Load() {
		return 0, errors.New("interrupted")
	}
	s.got += len(p)
	return len(p), nil
}

func (s *taker) Interrupt() { s.interrupted.Store(true) }

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &taker{}
		s := paced(to, lambent.StreamPerSec)
		send := func(n int) time.Duration {
			began := time.Now()
			for part := make([]byte, 64<<10); n > 0; n -= len(part) {
				if _, err := s.Write(part); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(began)
		}
		if took := send(lambent.StreamBurst); took != 0 {
			t.Errorf("the burst took %v", took)
		}
		if took := send(10 << 20); took < 4990*time.Millisecond || took > 5010*time.Millisecond {
			t.Errorf("10 MB after the burst took %v", took)
		}
		time.Sleep(time.Hour)
		if took := send(lambent.StreamBurst + 1<<20); took < 490*time.Millisecond || took > 510*time.Millisecond {
			t.Errorf("7 MB after a pause took %v", took)
		}
	})
}

func TestPaceInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &taker{}
		s := paced(to, 1)
		time.AfterFunc(time.Second, s.(lambent.Interrupter).Interrupt)
		began := time.Now()
		if _, err := s.Write(make([]byte, lambent.StreamBurst+1000)); err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestNoPace(t *testing.T) {
	to := &taker{}
	if paced(to, 0) != lambent.Stream(to) || paced(nil, 1) != nil {
		t.Error("paced without need")
	}
}
