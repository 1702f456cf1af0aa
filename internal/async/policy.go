package async

import (
	"math"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// AWS tries a failed event again after about one minute, and then after two
// ("Error handling", AWS Lambda developer guide).
const (
	awsDelay  = time.Minute
	awsFactor = 2
	awsJitter = 0.1
)

// Delays of events that found no room or met a fault of the platform: from one
// second up to five minutes, as on AWS.
const (
	firstRoomDelay = 100 * time.Millisecond
	longRoomDelay  = 5 * time.Minute
)

// config is the configuration that holds for a job now; nil where there is none.
func (s *Service) config(h *held) *lambent.EventConfig {
	namespace, function := ownerOf(h.job.Lane)
	qualifier := h.head.Qualifier
	if qualifier == "" {
		qualifier = lambent.Latest
	}
	return s.o.Catalog.EventConfigOf(namespace, function, qualifier)
}

// tooOld tells whether a job is past its age at a time.
func (s *Service) tooOld(h *held, at time.Time) bool {
	age := lambent.DefaultEventAge
	if c := s.config(h); c != nil && c.MaxAge > 0 && h.head.To == nil {
		age = c.MaxAge
	}
	return at.Sub(later(h.job.Created, h.head.After)) > age
}

// retry tells whether a job that failed with an error is tried again, and when.
func (s *Service) retry(h *held, errorType string) (wait time.Duration, again bool) {
	rule := lambent.RetryRule{MaxRetries: lambent.DefaultRetries, Delay: awsDelay, Factor: awsFactor, Jitter: awsJitter}
	pace := s.o.Pace
	if c := s.config(h); c != nil {
		if c.MaxRetries != nil {
			rule.MaxRetries = *c.MaxRetries
		}
		for _, r := range c.Rules {
			if r.Matches(errorType) {
				rule, pace = r, 1
				break
			}
		}
	}
	if h.state.Retries >= rule.MaxRetries {
		return 0, false
	}
	return time.Duration(pace * float64(grown(rule, h.state.Retries, s.o.Rand()))), true
}

// grown is the delay of a rule after n retries; draw is from 0 to below 1.
func grown(r lambent.RetryRule, n int, draw float64) time.Duration {
	if r.Delay == 0 { // what it grows by may be infinite
		return 0
	}
	factor := max(r.Factor, 1)
	delay := float64(r.Delay) * math.Pow(factor, float64(n))
	if r.MaxDelay > 0 {
		delay = min(delay, float64(r.MaxDelay))
	}
	delay = min(delay, float64(lambent.DefaultEventAge))
	return time.Duration(delay * (1 + r.Jitter*(2*draw-1)))
}

// roomDelay is how long a job waits that has found no room n times.
func (s *Service) roomDelay(n int) time.Duration {
	return grown(lambent.RetryRule{Delay: firstRoomDelay, Factor: 2, MaxDelay: longRoomDelay, Jitter: 0.2}, min(n, 20), s.o.Rand())
}

// word is an error's type as the store takes it.
func word(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(cut(s, store.MaxWord), "\x00", ""), "")
}

// cut is the beginning of a text, of so many bytes at the most.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
