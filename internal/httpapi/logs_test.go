package httpapi

import (
	"context"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/logs"
)

// between writes a line when the lines that there are have been read.
type between struct {
	*logs.Store
	write func()
}

func (b between) Events(ctx context.Context, q logs.Query) iter.Seq2[logs.Event, error] {
	return func(yield func(logs.Event, error) bool) {
		b.Store.Events(ctx, q)(yield)
		b.write()
	}
}

// A line that comes between what was there and what is followed is not missed.
func TestFollowMissesNothing(t *testing.T) {
	store, err := logs.Open(logs.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stopping := make(chan struct{})
	write := func() {
		stream := store.Open("000000000000", "group", "stream")
		stream.WriteLine(time.Now(), []byte("between"))
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	w := &lineWriter{ResponseRecorder: httptest.NewRecorder(), seen: cancel}
	a := &api{o: Options{Logs: between{store, write}, Stopping: stopping}}
	a.stream(&call{Request: httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil), w: w}, logs.Query{Namespace: "000000000000", Group: "group"}, true)
	if !strings.Contains(w.Body.String(), "between") {
		t.Errorf("followed %q", w.Body)
	}
}

// lineWriter tells when something was written.
type lineWriter struct {
	*httptest.ResponseRecorder
	seen func()
}

func (w *lineWriter) Write(p []byte) (int, error) {
	defer w.seen()
	return w.ResponseRecorder.Write(p)
}
