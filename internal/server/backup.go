package server

import (
	"context"
	"io"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/backup"
	"lambent.dev/lambent/internal/telemetry"
)

// backup writes all that the server keeps, while it goes on.
func (s *Server) backup(ctx context.Context, to io.Writer, logs bool) error {
	from, ok := s.records.(backup.Snapshotter)
	if !ok {
		return lambent.Errorf(lambent.CodeUnsupported, "back up: the store takes no snapshots")
	}
	source := backup.Source{Data: s.config.Data, Store: from, Version: telemetry.ReadBuild().Version, Now: time.Now()}
	return source.Write(ctx, to, logs)
}
