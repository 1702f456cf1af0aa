package pool

import (
	"time"

	"lambent.dev/lambent"
)

// LongestLead is how long before a call that is known beforehand an instance is made
// ready at most.
const LongestLead = 30 * time.Second

// Bounds of the lead: what is known of a version's cold starts is one or a few of
// them, and whoever asks does so once in a second. An instance that the call does not
// find ready it would have to wait for; one that it does not come for goes soon.
const (
	unknownLead = 5 * time.Second
	leadMargin  = 1500 * time.Millisecond
	expectGrace = 10 * time.Second
)

// Expect is [Pool.Warm] for a call that will come at a time: the instance is started
// when twice what the version's last cold start took is left, with a margin, and goes
// soon after that time if no call has used it. Ask again until then.
func (p *Pool) Expect(v *lambent.Version, at time.Time) bool {
	k, now := KeyOf(v), time.Now()
	if at.Sub(now) > p.history.lead(k) || p.settings(v).NoPrediction {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	g := p.groupOf(v)
	if until := at.Add(expectGrace); until.After(g.expected) {
		g.expected = until
	}
	return p.guessLocked(g, ReasonTimer, now)
}

// lead is how long before a call of k an instance has to be on its way.
func (h *history) lead(k Key) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.of[k]
	if len(all) == 0 {
		return unknownLead
	}
	return min(2*all[len(all)-1].Total+leadMargin, LongestLead)
}
