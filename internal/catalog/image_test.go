package catalog

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/store"
)

// shelf has images whose digest is made of their reference. Pulling waits for the
// gate and fails for references with an error.
type shelf struct {
	mu     sync.Mutex // guards the rest
	gate   chan struct{}
	errors map[string]error
	pulled []string
}

func (s *shelf) Resolve(_ context.Context, reference, _ string) (*lambent.Image, error) {
	if strings.HasPrefix(reference, "none") {
		return nil, lambent.Errorf(lambent.CodeInvalid, "Source image %s does not exist. Provide a valid source image.", reference)
	}
	return &lambent.Image{Reference: reference, Digest: "sha256:" + hash(reference), Layers: []lambent.Digest{lambent.Digest(hash("layer of " + reference))},
		EntryPoint: []string{"/bin/run"}, Directory: "/"}, nil
}

func hash(text string) string {
	info, _ := hashes{}.Put(context.Background(), artifact.Source{Zip: []byte(text)})
	return string(info.Digest)
}

func (s *shelf) Pull(ctx context.Context, i *lambent.Image) error {
	s.mu.Lock()
	gate, err := s.gate, s.errors[i.Reference]
	s.pulled = append(s.pulled, i.Reference)
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// imageFixture is a catalog with a shelf of images.
func imageFixture(t *testing.T, records store.Records) (*fixture, *shelf) {
	t.Helper()
	s := &shelf{errors: map[string]error{}}
	x := openOn(t, records)
	x.o.Images, x.options.Images = s, s
	x.o.OnChange, x.o.OnWanted = nil, nil // the fixture's are for one goroutine
	return x, s
}

func (x *fixture) fromImage(name, reference string) *lambent.Version {
	x.t.Helper()
	v, err := x.CreateFunction(x.t.Context(), CreateFunction{
		Version: lambent.Version{Namespace: ns, Function: name, PackageType: PackageImage, Role: "role"}, Image: reference,
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return v
}

// run lets Run work until done says so.
func (x *fixture) run(done func(v *lambent.Version) bool) *lambent.Version {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), 10*time.Second)
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = x.Run(ctx) }() // ends with ctx
	defer func() { cancel(); <-stopped }()
	for ctx.Err() == nil {
		if e, err := x.Get(ns, "f", ""); err == nil && done(e.Version) {
			return e.Version
		}
		time.Sleep(time.Millisecond)
	}
	x.t.Fatal("the function does not settle")
	return nil
}

func settledVersion(v *lambent.Version) bool {
	return v.State != lambent.StatePending && v.UpdateStatus != lambent.UpdateInProgress
}

func TestImageIsPendingUntilItIsHere(t *testing.T) {
	x, s := imageFixture(t, store.NewMemory())
	s.gate = make(chan struct{})
	v := x.fromImage("f", "repo/a:1")
	if v.State != lambent.StatePending || v.CodeSHA256() != hash("repo/a:1") || v.Code.Size != 0 {
		t.Errorf("created %s %s", v.State, v.CodeSHA256())
	}
	x.run(func(*lambent.Version) bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.pulled) > 0 })
	if e, _ := x.Get(ns, "f", ""); e.Version.State != lambent.StatePending {
		t.Errorf("%s while the image is on its way", e.Version.State)
	}
	close(s.gate)
	x.wake <- struct{}{}
	x.makeDue(id{ns, "f"})
	if v = x.run(settledVersion); v.State != lambent.StateActive || v.UpdateStatus != lambent.UpdateSuccessful {
		t.Errorf("settled %s %s", v.State, v.UpdateStatus)
	}
	if !x.Digests()[lambent.Digest(hash("layer of repo/a:1"))] {
		t.Error("its layer is not alive")
	}
}

// A server that ended while an image was on its way goes on with it.
func TestImageAfterARestart(t *testing.T) {
	records := store.NewMemory()
	x, _ := imageFixture(t, records)
	x.fromImage("f", "repo/a:1") // Run never runs
	y, s := imageFixture(t, records)
	if v := y.run(settledVersion); v.State != lambent.StateActive || len(s.pulled) != 1 {
		t.Errorf("after a restart %s, pulled %v", v.State, s.pulled)
	}
	x.Catalog = y.Catalog
}

func TestImageThatCannotBePulled(t *testing.T) {
	x, s := imageFixture(t, store.NewMemory())
	s.errors["repo/a:1"] = lambent.Errorf(lambent.CodeDenied, "no way").WithReason("ImageAccessDenied")
	x.fromImage("f", "repo/a:1")
	if v := x.run(settledVersion); v.State != lambent.StateFailed || v.StateReason != "no way" || v.StateReasonCode != "ImageAccessDenied" {
		t.Errorf("settled %s %q %s", v.State, v.StateReason, v.StateReasonCode)
	}
	// Another image mends it.
	if _, err := x.UpdateCode(t.Context(), UpdateCode{Namespace: ns, Function: "f", Image: "repo/b:1"}); err != nil {
		t.Fatal(err)
	}
	if v := x.run(settledVersion); v.State != lambent.StateActive || v.Image.Reference != "repo/b:1" || v.StateReason != "" {
		t.Errorf("mended %s %s, %q", v.State, v.Image.Reference, v.StateReason)
	}
	// A failed update leaves what there is.
	s.errors["repo/c:1"] = lambent.Errorf(lambent.CodeInvalid, "bad layer").WithReason("InvalidLayer")
	shown, err := x.UpdateCode(t.Context(), UpdateCode{Namespace: ns, Function: "f", Image: "repo/c:1"})
	if err != nil {
		t.Fatal(err)
	}
	if shown.CodeSHA256() != hash("repo/c:1") || shown.UpdateStatus != lambent.UpdateInProgress {
		t.Errorf("shown %s %s", shown.CodeSHA256(), shown.UpdateStatus)
	}
	if v, err := x.Resolve(ns, "f", ""); err != nil || v.Image.Reference != "repo/b:1" {
		t.Errorf("called meanwhile: %v, %v", v.Image.Reference, err)
	}
	v := x.run(settledVersion)
	if v.State != lambent.StateActive || v.UpdateStatus != lambent.UpdateFailed || v.UpdateReasonCode != "InvalidImage" || v.Image.Reference != "repo/b:1" {
		t.Errorf("after a failed update %s %s %s %s", v.State, v.UpdateStatus, v.UpdateReasonCode, v.Image.Reference)
	}
	if _, err := x.UpdateCode(t.Context(), UpdateCode{Namespace: ns, Function: "f", Image: "none"}); lambent.CodeOf(err) != lambent.CodeInvalid {
		t.Errorf("update to nothing: %v", err)
	}
}

// A published version has the new image, and is not called before it is here.
func TestImageUpdateThatPublishes(t *testing.T) {
	x, _ := imageFixture(t, store.NewMemory())
	x.fromImage("f", "repo/a:1")
	x.run(settledVersion)
	v, err := x.UpdateCode(t.Context(), UpdateCode{Namespace: ns, Function: "f", Image: "repo/b:1", Publish: true})
	if err != nil || v.Number != "1" || v.State != lambent.StatePending || v.Image.Reference != "repo/b:1" {
		t.Fatalf("published %+v, %v", v, err)
	}
	x.run(settledVersion)
	for _, number := range []string{"", "1"} {
		if e, err := x.Get(ns, "f", number); err != nil || e.Version.State != lambent.StateActive || e.Version.Image.Reference != "repo/b:1" {
			t.Errorf("version %q: %s %s, %v", number, e.Version.State, e.Version.Image.Reference, err)
		}
	}
	// Nothing has changed since.
	if again, err := x.PublishVersion(t.Context(), PublishVersion{Namespace: ns, Function: "f"}); err != nil || again.Number != "1" {
		t.Errorf("published again: %v, %v", again, err)
	}
}
