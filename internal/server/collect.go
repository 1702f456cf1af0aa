package server

import (
	"context"
	"errors"
	"time"
)

// trimEvery is how often the unpacked code is held against its bound, and
// collectEvery how often code that nothing refers to is looked for; collectAge is
// how old that must be, so that an upload whose function is being created is never
// taken. With each collection as many bytes of unpacked code as scrubBytes are
// compared with what was unpacked.
const (
	trimEvery    = time.Minute
	collectEvery = 15 * time.Minute
	collectAge   = time.Hour
	scrubBytes   = 256 << 20
)

// collect keeps the data directory in bounds until ctx ends. What fails is tried
// again at the next turn.
func (s *Server) collect(ctx context.Context) error {
	trim, collect := time.NewTicker(trimEvery), time.NewTicker(collectEvery)
	defer trim.Stop()
	defer collect.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-trim.C:
			s.report(ctx, "drop unpacked code", s.trimCode)
			s.report(ctx, "keep unpacked layers", func(ctx context.Context) (int64, error) { return 0, s.artifacts.Keep(ctx, trimEvery) })
		case <-collect.C:
			s.report(ctx, "collect unused code", s.collectCode)
			s.report(ctx, "check unpacked code", func(ctx context.Context) (int64, error) {
				return 0, s.artifacts.Scrub(ctx, scrubBytes)
			})
		}
	}
}

// report does a step of the housekeeping and logs what came of it.
func (s *Server) report(ctx context.Context, what string, step func(context.Context) (freed int64, err error)) {
	freed, err := step(ctx)
	if err != nil && ctx.Err() == nil {
		s.log.Error(what, "err", err)
	}
	if freed > 0 {
		s.log.Info(what, "bytes", freed)
	}
}

func (s *Server) trimCode(ctx context.Context) (int64, error) {
	limit := int64(s.config.Artifacts.Cache)
	if limit == 0 {
		return 0, nil
	}
	return s.artifacts.Trim(ctx, limit)
}

func (s *Server) collectCode(ctx context.Context) (int64, error) {
	alive := s.catalog.Digests()
	freed, err := s.artifacts.Collect(ctx, alive, collectAge)
	made, perr := s.prepare.Collect(alive)
	return freed + made, errors.Join(err, perr)
}
