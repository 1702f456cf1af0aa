package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// phase is where a durable driver finds a job: its status, and for a waiting one
// what it waits for.
type phase int

const (
	phaseReady   phase = iota // due, and first with its key
	phaseDelayed              // first with its key, but not yet due
	phaseHeld                 // due, but held up by its key
	phaseLater                // held up by its key, and then perhaps not yet due
	phaseRunning
	phaseSucceeded // from here on it has ended
	phaseFailed
	phaseCancelled
	phaseExpired
	livePhases = int(phaseSucceeded)
)

// unhold is the phase of a job once no earlier one holds it up.
const unhold = phaseHeld - phaseReady

func (p phase) status() JobStatus {
	switch {
	case p < phaseRunning:
		return JobWaiting
	case p <= phaseExpired:
		return statuses[p-phaseRunning+1]
	}
	return JobStatus(fmt.Sprintf("phase %d", int(p)))
}

func (p phase) ended() bool { return p >= phaseSucceeded }
func (p phase) held() bool  { return p == phaseHeld || p == phaseLater }

// phaseOf is the phase of a job with status s, ripe or not if it waits, that
// nothing holds up.
func phaseOf(s JobStatus, ripe bool) phase {
	for i, status := range statuses[1:] {
		if s == status {
			return phaseRunning + phase(i)
		}
	}
	if ripe {
		return phaseReady
	}
	return phaseDelayed
}

// phasesOf are the phases of jobs with these statuses.
func phasesOf(list []JobStatus) []phase {
	phases := []phase{}
	for _, s := range list {
		switch {
		case s == JobWaiting:
			phases = append(phases, phaseReady, phaseDelayed, phaseHeld, phaseLater)
		case slices.Contains(statuses, s):
			phases = append(phases, phaseOf(s, false))
		default:
			phases = append(phases, -1) // of no job
		}
	}
	return phases
}

// nanos is t as it is kept: nanoseconds since 1970, 0 for none.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// orNull makes a parameter that is NULL for what is empty.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// labelText is the labels as JSON, or NULL.
func labelText(labels map[string]string) any {
	if len(labels) == 0 {
		return nil
	}
	text, err := json.Marshal(labels)
	if err != nil {
		panic(err) // a map of strings cannot fail
	}
	return string(text)
}

func parseLabels(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	var labels map[string]string
	if err := json.Unmarshal([]byte(text), &labels); err != nil {
		return nil, fmt.Errorf("read the labels of a job: %w", err)
	}
	return labels, nil
}
