package pool

import "time"

// breakAfter is how many requests an application's instance may fail in a row.
const breakAfter = 5

// Judged notes how the instance has served a request that it was given. One that
// fails several in a row gets no more of them, but another instance does: it may be
// alive and answer nobody. What it still has it may finish.
func (l *Lease) Judged(well bool) {
	m := l.m
	if well {
		if m.faults.Load() != 0 {
			m.faults.Store(0)
		}
		return
	}
	if m.faults.Add(1) == breakAfter {
		l.pool.o.Log.Warn("an instance answers no requests", "fn", m.version.Function, "inst", m.cold.ID, "failed", breakAfter)
	}
}

// broken tells that m gets no more requests.
func (m *member) broken() bool { return m.faults.Load() >= breakAfter }

// breakLocked ends m, which nobody uses any more, and has others take its place.
func (p *Pool) breakLocked(m *member, reason string) {
	p.endLocked(m, reason)
	p.wantLocked(m.group)
	p.feedLocked()
	p.fillLocked(time.Now())
}
