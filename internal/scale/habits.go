package scale

import (
	"sync"
	"time"

	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/predict"
)

// Habits connects the pool, which sees the calls, with the predictor, which
// learns from them: it is the pool's [pool.Policy]. A [Service] does the learning.
type Habits struct {
	predictor *predict.Predictor
	fixed     time.Duration // how long idle instances are kept; 0 asks the histograms
	arrivals  chan arrival

	mu   sync.Mutex // guards last
	last arrival    // that was passed on
}

type arrival struct {
	key pool.Key
	by  pool.Key // from within which it was called; zero is not known
	at  time.Time
	// inUse is how many instances are with it.
	inUse int
}

// backlog is how many calls may wait to be learned from.
const backlog = 1024

// NewHabits makes the connection. Idle instances are kept for fixed, or, if that
// is 0, for as long as the histograms say.
func NewHabits(p *predict.Predictor, fixed time.Duration) *Habits {
	return &Habits{predictor: p, fixed: fixed, arrivals: make(chan arrival, backlog)}
}

// oneCall is the time in which calls of one version teach no more than the first of
// them, and those with which twice as many instances are in use.
const oneCall = time.Millisecond

// Arrived leaves the learning to the service: a call waits for nothing. Of a burst
// some are not learned from.
func (h *Habits) Arrived(k, by pool.Key, at time.Time, inUse int) {
	call := arrival{k, by, at, inUse}
	h.mu.Lock()
	again := h.last.key == k && at.Sub(h.last.at).Abs() < oneCall && inUse < 2*h.last.inUse
	if !again {
		h.last = call
	}
	h.mu.Unlock()
	if again {
		return
	}
	select {
	case h.arrivals <- call:
	default:
	}
}

// Keep says how long instances that are idle are worth keeping.
func (h *Habits) Keep(k pool.Key, at time.Time, c pool.Cost) (prewarm time.Duration, keep func(n int) time.Duration) {
	if h.fixed > 0 {
		return 0, func(int) time.Duration { return h.fixed }
	}
	habit := h.predictor.Keep(predict.Key(k), predict.Cost(c), at)
	return habit.Prewarm, habit.For
}

// Forget drops what is known of a function, all its versions if number is "".
func (h *Habits) Forget(namespace, function, number string) {
	h.predictor.Forget(namespace, function, number)
}

// follow learns from a call, and makes ready what is likely to be called because
// of it.
func (s *Service) follow(a arrival) {
	likely := s.o.Habits.predictor.Arrived(predict.Key(a.key), predict.Key(a.by), a.at, a.inUse)
	if !s.o.Guess.Graph {
		return
	}
	for _, next := range likely {
		k := pool.Key(next)
		if _, done := s.warm[k]; done {
			continue
		}
		s.warm[k] = struct{}{}
		if v := s.version(k.Namespace, k.Function, k.Number); v != nil {
			s.o.Pool.Warm(v, reasonGraph)
		}
	}
}

// catchUp learns from the calls that have come so far, and makes nothing ready: the
// service is about to end.
func (s *Service) catchUp() {
	for {
		select {
		case a := <-s.arrivals:
			s.o.Habits.predictor.Arrived(predict.Key(a.key), predict.Key(a.by), a.at, a.inUse)
		default:
			return
		}
	}
}

var _ pool.Policy = (*Habits)(nil)
