package invoke

import (
	"sync"
	"time"

	"lambent.dev/lambent"
)

// pace holds a streamed answer to a rate, by making the function wait: the first
// lambent.StreamBurst bytes go out as they come, and again as many after a pause
// in which the rate would have had time for them.
type pace struct {
	lambent.Stream
	rate    int64 // bytes per second
	tokens  float64
	counted time.Time // when tokens was right
	stop    chan struct{}
	once    sync.Once // closes stop
}

// paced is to itself without a rate.
func paced(to lambent.Stream, rate int64) lambent.Stream {
	if to == nil || rate <= 0 {
		return to
	}
	return &pace{Stream: to, rate: rate, tokens: lambent.StreamBurst, counted: time.Now(), stop: make(chan struct{})}
}

// Write waits until p may go out. An interruption ends the wait; the caller's
// Write then says what comes of p.
func (s *pace) Write(p []byte) (int, error) {
	now := time.Now()
	s.tokens = min(s.tokens+now.Sub(s.counted).Seconds()*float64(s.rate), lambent.StreamBurst) - float64(len(p))
	s.counted = now
	if s.tokens < 0 {
		wait := time.NewTimer(time.Duration(-s.tokens / float64(s.rate) * float64(time.Second)))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-s.stop:
		}
	}
	return s.Stream.Write(p)
}

// Interrupt implements lambent.Interrupter.
func (s *pace) Interrupt() {
	s.once.Do(func() { close(s.stop) })
	if i, ok := s.Stream.(lambent.Interrupter); ok {
		i.Interrupt()
	}
}
