package async

import (
	"context"
	"errors"
	"slices"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// ending is what has become of a held job, on its way to the store.
type ending struct {
	h      *held
	change store.Change // without its Token
	push   []store.Job  // what must be there before the job may end
}

// committers write side by side, because a store of several servers puts what comes at
// the same time on the disk together; one that is alone does so better in one piece.
// Bounds of one batch, in jobs and in bytes.
const (
	committers    = 3
	maxBatch      = 512
	maxBatchBytes = 16 << 20
)

// commitRest is how long a committer rests when there is much to do. A transaction
// costs as much as the ends of ten events, the pages that all of them touch are written
// once in each, and nobody waits for an end that is written a little later, but for the
// next event of a key.
const commitRest = 10 * time.Millisecond

// commit writes endings, as many at once as there are, until flush is closed and
// there are no more, or ctx ends.
func (s *Service) commit(ctx context.Context, flush <-chan struct{}) {
	for {
		var first ending
		select {
		case first = <-s.ends:
		case <-ctx.Done():
			return
		case <-flush:
			select {
			case first = <-s.ends:
			default:
				return
			}
		}
		batch, size := []ending{first}, first.bytes()
		for len(batch) < maxBatch && size < maxBatchBytes {
			select {
			case e := <-s.ends:
				batch, size = append(batch, e), size+e.bytes()
				continue
			default:
			}
			break
		}
		s.commitBatch(ctx, batch)
		if len(batch) > 1 && !slices.ContainsFunc(batch, func(e ending) bool { return e.h.job.Key != "" }) {
			select {
			case <-time.After(commitRest):
			case <-ctx.Done():
			case <-flush:
			}
		}
	}
}

func (e *ending) bytes() int {
	n := len(e.change.State) + len(e.change.Result)
	for i := range e.push {
		n += len(e.push[i].Body)
	}
	return n
}

// Waits between the tries to write a batch.
const (
	firstCommitPause = 20 * time.Millisecond
	longCommitPause  = time.Second
)

// commitBatch writes a batch, however long the store takes.
func (s *Service) commitBatch(ctx context.Context, batch []ending) {
	var push []store.Job
	for i := range batch {
		push = append(push, batch[i].push...)
	}
	var errs []error
	for pause := firstCommitPause; ; pause = min(2*pause, longCommitPause) {
		err := s.pushAll(ctx, push)
		if err == nil {
			errs, err = s.o.Jobs.Change(ctx, s.changes(batch)...)
		}
		if err == nil {
			break
		}
		s.o.Log.Warn("write the ends of events", "count", len(batch), "err", err)
		if code := lambent.CodeOf(err); code == lambent.CodeInvalid || code == lambent.CodeTooLarge {
			s.commitEach(ctx, batch)
			return
		}
		select {
		case <-ctx.Done():
			s.committed(batch, nil)
			return
		case <-time.After(pause):
		}
	}
	for i := range push {
		if push[i].Status.Ended() { // it could not go
			s.countEnd(&push[i], push[i].Status)
		} else {
			s.box.fill(push[i].Lane, push[i].Due)
		}
	}
	s.committed(batch, errs)
}

// commitEach writes a batch one by one in which there is something that the store never
// takes: all others would wait for it without end. What that is fails, and of its end no
// more is kept.
func (s *Service) commitEach(ctx context.Context, batch []ending) {
	if len(batch) > 1 {
		for i := range batch {
			s.commitBatch(ctx, batch[i:i+1])
		}
		return
	}
	e := &batch[0]
	if e.change.Error == notKept { // a bug: the next server runs the job again
		s.committed(batch, nil)
		return
	}
	e.change = store.Change{ID: e.change.ID, Status: store.JobFailed, Ended: s.o.Now(), Error: notKept}
	e.push = nil
	s.commitBatch(ctx, batch)
}

// notKept is the error of a job whose end the store did not take.
const notKept = "NotKept"

// changes reads the tokens as late as possible: a lease may have passed, and the
// job been taken here again.
func (s *Service) changes(batch []ending) []store.Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := make([]store.Change, len(batch))
	for i := range batch {
		changes[i] = batch[i].change
		changes[i].Token = batch[i].h.job.Token
	}
	return changes
}

// pushAll adds jobs whose ids say what they are: one that is there already is the
// same.
func (s *Service) pushAll(ctx context.Context, jobs []store.Job) error {
	if len(jobs) == 0 {
		return nil
	}
	err := s.o.Jobs.Push(ctx, jobs...)
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	for i := range jobs {
		if err := s.o.Jobs.Push(ctx, jobs[i]); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

// committed lets go of jobs that are in the store. errs is nil when they may not
// be.
func (s *Service) committed(batch []ending, errs []error) {
	s.mu.Lock()
	for i := range batch {
		h := batch[i].h
		h.cancel()
		if s.held[h.job.ID] == h { // it may have been given back and leased again meanwhile
			delete(s.held, h.job.ID)
		}
		s.changed(h.job.ID)
	}
	s.mu.Unlock()
	for i := range batch {
		e := &batch[i]
		if errs == nil || errs[i] != nil {
			if errs != nil {
				s.o.Log.Warn("the end of an event came too late: another has it", "job", e.h.job.ID, "err", errs[i])
			}
			continue
		}
		if e.change.Status.Ended() {
			s.countEnd(&e.h.job, e.change.Status)
		}
		if e.change.Status == store.JobWaiting {
			s.box.fill(e.h.job.Lane, e.change.Due)
		} else if e.h.job.Key != "" { // the next one with its key may go
			s.box.fill(e.h.job.Lane, time.Time{})
		}
	}
	n := len(batch)
	s.box.tell(func(d *dispatcher) { d.uncommitted -= n })
}

func (s *Service) countEnd(j *store.Job, as store.JobStatus) {
	namespace, function := ownerOf(j.Lane)
	s.o.Metrics.EventEnded(namespace, function, string(as))
}

// hold remembers a leased job.
func (s *Service) hold(h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[h.job.ID] = h
	if s.cancels[h.job.ID] > 0 {
		h.cancelled = true
		h.cancel()
	}
}

// known tells whether a job that was just leased is held already, because its
// lease passed unnoticed. It goes on with the new lease. One whose end is on its way
// to the store is not: it was given back there, and comes again.
func (s *Service) known(j *store.Job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.held[j.ID]
	if h == nil || h.ending {
		return false
	}
	h.job.Token, h.lost = j.Token, false
	return true
}

// cutCalls ends the calls that run.
func (s *Service) cutCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.held {
		h.cancel()
	}
}

// longLease is for a server that nobody else takes jobs from: its leases never
// pass, whatever the clock does.
const longLease = 50 * 365 * 24 * time.Hour

func (s *Service) lease() time.Duration {
	if s.o.Alone {
		return longLease
	}
	return s.o.Lease
}

// extendLeases keeps what is held, and writes down how far calls are.
func (d *dispatcher) extendLeases(now time.Time) {
	s := d.s
	until := now.Add(s.lease())
	s.mu.Lock()
	changes := make([]store.Change, 0, len(s.held))
	for id, h := range s.held {
		if s.o.Alone && !h.progress {
			continue
		}
		c := store.Change{ID: id, Token: h.job.Token, Status: store.JobRunning, Lease: until}
		if h.progress {
			h.progress = false
			c.State = mustJSON(h.state)
		}
		changes = append(changes, c)
	}
	s.mu.Unlock()
	if len(changes) == 0 {
		return
	}
	d.work.Go(func() {
		for ; len(changes) > 0; changes = changes[min(len(changes), maxBatch):] {
			part := changes[:min(len(changes), maxBatch)]
			errs, err := s.o.Jobs.Change(d.calls, part...)
			if err != nil {
				s.o.Log.Warn("keep events", "count", len(part), "err", err)
				continue
			}
			s.extended(part, errs)
		}
	})
}

// extended gives up jobs whose lease another has, or that were cancelled there.
func (s *Service) extended(changes []store.Change, errs []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, err := range errs {
		h := s.held[changes[i].ID]
		if err == nil || h == nil || h.job.Token != changes[i].Token || h.ending {
			continue
		}
		h.lost = true
		h.cancel()
	}
}

// looked notes how many events wait.
func (s *Service) looked(lanes []store.Lane, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = waiting
	live := make(map[string]bool, len(lanes))
	for i := range lanes {
		live[lanes[i].Name] = lanes[i].Waiting > 0
	}
	for name := range s.oldest {
		if !live[name] {
			delete(s.oldest, name)
		}
	}
}
