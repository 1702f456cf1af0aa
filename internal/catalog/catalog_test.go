package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ns     = "111111111111"
	region = "us-east-1"
)

// hashes takes any bytes for code: unpacked they are ten times as large, and
// "big:" ones 150 MB.
type hashes struct{}

func (hashes) Put(_ context.Context, src artifact.Source) (artifact.Info, error) {
	sum := sha256.Sum256(src.Zip)
	info := artifact.Info{Digest: lambent.Digest(hex.EncodeToString(sum[:])), Size: int64(len(src.Zip)), Unpacked: int64(10 * len(src.Zip))}
	switch {
	case strings.HasPrefix(string(src.Zip), "bad"):
		return artifact.Info{}, lambent.Errorf(lambent.CodeInvalid, "Could not unzip uploaded file. Please check your file, then try to upload again.")
	case strings.HasPrefix(string(src.Zip), "big:"):
		info.Unpacked = 150_000_000
	}
	return info, nil
}

// names knows two Python versions, the older with a warning.
type names struct{}

const oldWarning = "python3.8 is served by a newer interpreter."

func (names) Check(name, _ string) (string, error) {
	switch name {
	case "python3.12", "java21":
		return "", nil
	case "python3.8":
		return oldWarning, nil
	}
	return "", lambent.Errorf(lambent.CodeInvalid, "Value %s at 'runtime' failed", name).WithReason("UnknownRuntime")
}

// fixture is a catalog that is checked against its store when the test ends:
// a catalog opened anew on the same store must hold the same.
type fixture struct {
	*Catalog
	t       *testing.T
	options Options
	clock   atomic.Int64
	ids     atomic.Int64
	changes []string
	wants   []string // functions that OnWanted was called for
}

func open(t *testing.T) *fixture {
	t.Helper()
	return openOn(t, store.NewMemory())
}

func openOn(t *testing.T, records store.Records) *fixture {
	t.Helper()
	x := &fixture{t: t}
	x.options = Options{
		Records: records, Artifacts: hashes{}, Runtimes: names{}, Region: region,
		Now:      func() time.Time { return time.Unix(1_700_000_000+x.clock.Add(1), 0).UTC() },
		NewID:    func() string { return fmt.Sprintf("rev-%d", x.ids.Add(1)) },
		OnChange: func(ns, function, number string) { x.changes = append(x.changes, function+":"+number) },
		OnWanted: func(_, function string) { x.wants = append(x.wants, function) },
	}
	c, err := Open(t.Context(), x.options)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	x.Catalog = c
	t.Cleanup(func() { x.same() })
	return x
}

// same fails the test unless a catalog opened on the store holds what x does.
func (x *fixture) same() {
	x.t.Helper()
	again, err := Open(context.Background(), x.options)
	if err != nil {
		x.t.Errorf("open again: %v", err)
		return
	}
	x.settleAll()
	if len(x.usage) == 0 { // nothing was ever written
		return
	}
	for k, f := range x.functions.all {
		if got, want := written(functionOps(k, nil, again.functions.get(k))), written(functionOps(k, nil, f)); got != want {
			x.t.Errorf("function %v after a restart:\n got %s\nwant %s", k, got, want)
		}
	}
	for k := range again.functions.all {
		if x.functions.get(k) == nil {
			x.t.Errorf("function %v is there after a restart", k)
		}
	}
	for k, l := range x.layers.all {
		if got, want := written(layerOps(k, nil, again.layers.get(k))), written(layerOps(k, nil, l)); got != want {
			x.t.Errorf("layer %v after a restart:\n got %s\nwant %s", k, got, want)
		}
	}
	for name, u := range x.usage {
		if again.usage[name] != u {
			x.t.Errorf("usage after a restart: got %+v, want %+v", again.usage[name], u)
		}
	}
}

// written is all that a function or a layer is, as its records.
func written(ops []store.Op, err error) string {
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintf(&b, "%s %s\n", op.Key, op.Value)
	}
	return fmt.Sprint(b.String(), err)
}

// settleAll does what Run does, now.
func (x *fixture) settleAll() {
	for k := range x.takeDue() {
		x.settle(context.Background(), k)
	}
}

// create makes a function that is Active.
func (x *fixture) create(name string) *lambent.Version {
	x.t.Helper()
	v, err := x.CreateFunction(x.t.Context(), input(name))
	x.ok(err)
	x.settleAll()
	return v
}

func input(name string) CreateFunction {
	return CreateFunction{
		Version: lambent.Version{Namespace: ns, Function: name, Runtime: "python3.12", Handler: "index.handler", Role: "arn:aws:iam::111111111111:role/r"},
		Source:  artifact.Source{Zip: []byte("code of " + name)},
	}
}

func (x *fixture) ok(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatalf("unexpected error: %v", err)
	}
}

// refused fails the test unless err has the code and the message.
func (x *fixture) refused(err error, code lambent.Code, message string) {
	x.t.Helper()
	if err == nil {
		x.t.Fatalf("no error, want %q", message)
	}
	message = strings.ReplaceAll(message, "A:", "arn:aws:lambda:us-east-1:111111111111:")
	if lambent.CodeOf(err) != code || err.Error() != message {
		x.t.Errorf("error\n  got %s %q\n want %s %q", lambent.CodeOf(err), err, code, message)
	}
}

// head is what GetFunction shows.
func (x *fixture) head(name string) *lambent.Version {
	x.t.Helper()
	e, err := x.Get(ns, name, "")
	x.ok(err)
	return e.Version
}

func (x *fixture) publishVersion(name string) *lambent.Version {
	x.t.Helper()
	v, err := x.PublishVersion(x.t.Context(), PublishVersion{Namespace: ns, Function: name})
	x.ok(err)
	return v
}

// describe changes the description of the head, and waits.
func (x *fixture) describe(name, description string) {
	x.t.Helper()
	_, err := x.UpdateConfig(x.t.Context(), UpdateConfig{Namespace: ns, Function: name, Apply: func(v *lambent.Version) { v.Description = description }})
	x.ok(err)
	x.settleAll()
}

func ptr[T any](v T) *T { return &v }

func TestOpenRefusesMissingParts(t *testing.T) {
	if _, err := Open(t.Context(), Options{}); lambent.CodeOf(err) != lambent.CodeInternal {
		t.Errorf("error = %v", err)
	}
}

func TestOpenRefusesDamagedRecords(t *testing.T) {
	for key, value := range map[string]string{
		"function/" + ns + "/f":              "{}", // without a head
		"function/" + ns + "/g":              "{",
		"version/" + ns + "/f/1":             "{}", // without a function
		"alias/" + ns + "/f/live":            "{}",
		"provisioned/" + ns + "/f/live":      "{}",
		"policy/" + ns + "/function/f/-":     "{}",
		"policy/" + ns + "/layer/f/.1":       "{}",
		"layer/" + ns + "/deps/1":            "{}",
		"function/" + ns + "/f/what/is/this": "{}",
	} {
		records := store.NewMemory()
		if _, err := records.Commit(t.Context(), store.Op{Key: key, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
		o := Options{Records: records, Artifacts: hashes{}, Runtimes: names{}, Region: region}
		if _, err := Open(t.Context(), o); lambent.CodeOf(err) != lambent.CodeInternal {
			t.Errorf("record %s: error = %v", key, err)
		}
	}
}

// TestRun is about who does the settling, and that it ends.
func TestRun(t *testing.T) {
	x := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- x.Run(ctx) }() // waited for below
	for i := range 20 {
		name := fmt.Sprintf("f%d", i)
		v, err := x.CreateFunction(ctx, input(name))
		x.ok(err)
		if v.State != lambent.StatePending || v.StateReasonCode != "Creating" || v.UpdateStatus != "" {
			t.Fatalf("created %+v", v)
		}
		for deadline := time.Now().Add(10 * time.Second); x.head(name).State != lambent.StateActive; {
			if time.Now().After(deadline) {
				t.Fatalf("%s is not Active", name)
			}
			time.Sleep(time.Millisecond)
		}
		if h := x.head(name); h.UpdateStatus != lambent.UpdateSuccessful || h.RevisionID == v.RevisionID || h.StateReason != "" {
			t.Fatalf("settled %+v", h)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
}
