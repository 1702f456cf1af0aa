package async

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// Keeper is the spine for callers who wait, with a memory: calls that fail are kept
// as records, and a share of all others. A call never waits for that: what does not
// fit in a small buffer is dropped and counted.
type Keeper struct {
	s      *Service
	share  float64
	buffer chan store.Job
	bytes  atomic.Int64 // of what is in the buffer or being written
}

// Bounds of what is kept of calls: the records that wait to be written and about their
// bytes, how many are written at once and how often, and the bytes of a payload.
const (
	maxCalls       = 256
	maxCallBytes   = 16 << 20
	maxCallBatch   = 64
	callEvery      = 100 * time.Millisecond
	maxCallPayload = 256 << 10
)

// NewKeeper makes the memory; share, 0 to 1, is of the calls that do not fail.
func (s *Service) NewKeeper(share float64) *Keeper {
	return &Keeper{s: s, share: share, buffer: make(chan store.Job, maxCalls)}
}

// Invoke implements Invoker.
func (k *Keeper) Invoke(ctx context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
	res, err := k.s.o.Invoker.Invoke(ctx, inv)
	if err == nil && (res.FunctionError != "" || k.share > 0 && k.s.o.Rand() < k.share) {
		k.keep(inv, res)
	}
	return res, err
}

// keep copies what is kept of a call: its payloads are the caller's.
func (k *Keeper) keep(inv *lambent.Invocation, res *lambent.Result) {
	if len(k.buffer) == cap(k.buffer) || k.bytes.Load() > maxCallBytes {
		k.s.o.Metrics.CallsKept("dropped", 1)
		return
	}
	now := k.s.o.Now()
	began := inv.Arrived
	if began.IsZero() || began.After(now) {
		began = now
	}
	h := head{Qualifier: inv.Qualifier, Context: slices.Clone(inv.ClientContext), Trace: inv.TraceID, Source: inv.Source}
	payload := inv.Payload
	if len(payload) > maxCallPayload {
		h.Omitted, payload = len(payload), nil
	}
	a := attemptOf(res, nil, began, now)
	var st state
	st.add(a)
	j := store.Job{
		ID: inv.RequestID, Lane: laneOf(inv.Namespace, inv.Function), Kind: KindCall, Status: store.JobSucceeded,
		Created: began, Ended: now, Error: word(a.Error), Attempts: 1,
		Body: join(h, payload), State: mustJSON(st), Result: resultOf(res, maxCallPayload),
	}
	if a.Error != "" {
		j.Status = store.JobFailed
	}
	k.bytes.Add(size(j))
	select {
	case k.buffer <- j:
	default:
		k.bytes.Add(-size(j))
		k.s.o.Metrics.CallsKept("dropped", 1)
	}
}

// size is what jobs hold, in bytes.
func size(jobs ...store.Job) (n int64) {
	for i := range jobs {
		n += int64(len(jobs[i].Body) + len(jobs[i].State) + len(jobs[i].Result))
	}
	return n
}

// Run writes the records until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case j := <-k.buffer:
			jobs := []store.Job{j}
			for len(jobs) < min(maxCallBatch, 1+len(k.buffer)) {
				jobs = append(jobs, <-k.buffer) // this is the only reader
			}
			outcome := "kept"
			if err := k.s.o.Jobs.Push(ctx, jobs...); err != nil {
				outcome = "failed"
				k.s.o.Log.Debug("keep calls", "count", len(jobs), "err", err)
			}
			k.s.o.Metrics.CallsKept(outcome, len(jobs))
			k.bytes.Add(-size(jobs...))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(callEvery):
		}
	}
}
