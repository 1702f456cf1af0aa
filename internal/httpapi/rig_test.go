package httpapi

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/store"
)

// spine answers instead of a function.
type spine struct {
	answer func(inv *lambent.Invocation) (*lambent.Result, error)
}

func (s *spine) Invoke(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
	return s.answer(inv)
}

// shelf has one runtime ready and one to install.
type shelf struct{}

func (shelf) List() []runtimes.Info {
	return []runtimes.Info{
		{Name: "python3.12", State: runtimes.StateReady, Version: "3.12.1", Where: "/usr/bin/python3.12"},
		{Name: "nodejs22.x", State: runtimes.StateInstallable, Note: "can be installed"},
		{Name: "dotnet8", State: runtimes.StateUnsupported},
	}
}

func (shelf) Check(name, _ string) (string, error) {
	if name == "python3.12" {
		return "", nil
	}
	if name == "python9" {
		return "", lambent.Errorf(lambent.CodeInvalid, "Member must satisfy enum value set").WithReason("UnknownRuntime")
	}
	return "", lambent.Errorf(lambent.CodeInvalid, "%s is not installed: run `lambent runtime install %s`", name, name).WithReason("RuntimeNotInstalled")
}

func (shelf) Install(_ context.Context, name string, progress func(string)) error {
	progress("fetching " + name)
	if name == "dotnet8" {
		return lambent.Errorf(lambent.CodeUnsupported, "dotnet8 cannot run here")
	}
	progress("unpacking")
	return nil
}

// paper keeps log lines in memory. more is closed to let followers go on.
type paper struct {
	mu     sync.Mutex // guards events
	events []logs.Event
	more   chan logs.Event
}

func (p *paper) Events(_ context.Context, q logs.Query) iter.Seq2[logs.Event, error] {
	p.mu.Lock()
	events := slices.Clone(p.events)
	p.mu.Unlock()
	return func(yield func(logs.Event, error) bool) {
		if events == nil { // nothing was ever logged
			yield(logs.Event{}, lambent.Errorf(lambent.CodeNotFound, "there is no log group %s", q.Group))
			return
		}
		for _, e := range events {
			if (q.RequestID == "" || e.RequestID == q.RequestID) && !e.Time.Before(q.From) && !yield(e, nil) {
				return
			}
		}
	}
}

func (p *paper) Follow(ctx context.Context, q logs.Query) iter.Seq2[logs.Event, error] {
	return func(yield func(logs.Event, error) bool) {
		for {
			select {
			case <-ctx.Done():
				yield(logs.Event{}, ctx.Err())
				return
			case e, ok := <-p.more:
				if !ok {
					yield(logs.Event{}, errors.New("the disk broke after "+q.After))
					return
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

func (p *paper) Groups(context.Context, string, string) ([]logs.Group, error) {
	return []logs.Group{{Name: "/aws/lambda/gone"}, {Name: "/aws/lambda/gone-too"}}, nil
}

func (p *paper) Streams(context.Context, string, string, string) ([]logs.StreamInfo, error) {
	return nil, nil
}

// rig is a whole server of this dialect, with a fake spine, and a client for it.
type rig struct {
	*client.Client
	url     string
	target  client.Target
	catalog *catalog.Catalog
	spine   *spine
	paper   *paper
	log     *bytes.Buffer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigWith(t, func(*Options) {})
}

// newRigWith is newRig with more rooms behind the door.
func newRigWith(t *testing.T, edit func(*Options)) *rig {
	t.Helper()
	dir := t.TempDir()
	artifacts, err := artifact.Open(artifact.Options{Dir: filepath.Join(dir, "artifacts"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Open(t.Context(), catalog.Options{Records: store.NewMemory(), Artifacts: artifacts, Runtimes: shelf{}, Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = cat.Run(ctx) }) // the cleanup waits for it
	keys, err := auth.Open(dir, auth.Options{Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{spine: &spine{}, paper: &paper{more: make(chan logs.Event)}, log: &bytes.Buffer{}}
	o := Options{Catalog: cat, Invoker: r.spine, Logs: r.paper, Runtimes: shelf{}, Region: "us-east-1", Log: slog.New(slog.NewTextHandler(r.log, nil))}
	edit(&o)
	door := New(o)
	r.catalog = cat
	srv := httptest.NewServer(keys.Middleware(door, auth.MiddlewareOptions{Region: "us-east-1"}))
	t.Cleanup(func() {
		srv.Close()
		cancel()
		run.Wait()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	own, err := config.ReadKeys(filepath.Join(dir, "credentials"), "default")
	if err != nil {
		t.Fatal(err)
	}
	r.url, r.target = srv.URL, client.Target{Endpoint: srv.URL, Keys: own}
	r.Client = client.New(r.target, nil)
	return r
}

func code(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("app.py")
	if err == nil {
		_, err = io.WriteString(f, text)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func p[T any](v T) *T { return &v }
