package httpapi

import (
	"context"
	"io"
	"net/http"

	"lambent.dev/lambent"
)

// Backup writes all that the server keeps, with the logs of functions on request.
type Backup func(ctx context.Context, to io.Writer, logs bool) error

// backup answers with an archive. When that fails on the way the connection is
// cut, so that nobody takes the part for the whole.
func (a *api) backup(c *call) error {
	if a.o.Backup == nil {
		return lambent.Errorf(lambent.CodeUnsupported, "this server makes no backups")
	}
	out := &begun{c: c}
	err := a.o.Backup(c.Context(), out, c.URL.Query().Get("logs") == "true")
	if err != nil && out.yes {
		a.o.Log.ErrorContext(c.Context(), "backup failed", "inv", c.requestID, "err", err)
		panic(http.ErrAbortHandler)
	}
	return err
}

// begun writes the head of the answer before its first bytes.
type begun struct {
	c   *call
	yes bool
}

func (b *begun) Write(p []byte) (int, error) {
	if !b.yes {
		b.yes = true
		b.c.w.Header().Set("Content-Type", "application/x-tar")
		b.c.w.WriteHeader(http.StatusOK)
	}
	return b.c.w.Write(p)
}
