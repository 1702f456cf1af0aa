package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

// crashPoints are the moments of a durable write at which the server ends itself
// with SIGKILL when LAMBENT_CRASH_AT names one; the number after the colon is the
// passage at which it does.
var crashPoints = []string{
	"store.before-commit", "store.after-commit",
	"artifact.after-unpack", "artifact.after-temp", "artifact.before-rename", "artifact.after-rename",
}

// TestKillWhileWriting kills the server at named points and at random moments
// while clients write, and checks after each restart that every acknowledged
// write is there and no half of an unacknowledged one is.
func TestKillWhileWriting(t *testing.T) {
	kills := 60
	if os.Getenv("LAMBENT_TEST_SOAK") != "" {
		kills = 2000
	}
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "sleeper", Timeout: 60})
	writers := make([]*writer, 4)
	for i := range writers {
		writers[i] = &writer{name: fmt.Sprintf("writer-%d", i), random: rand.New(rand.NewPCG(42, uint64(i)))}
	}
	reached := map[string]int{}
	for kill := range kills {
		point := ""
		if kill%2 == 0 {
			point = crashPoints[kill/2%len(crashPoints)]
		}
		if reachedPoint := oneCrash(t, s, writers, point, kill); reachedPoint {
			reached[point]++
		}
		if t.Failed() {
			t.Fatalf("after kill %d at %q\n%s", kill, point, s.Stderr())
		}
	}
	for _, p := range crashPoints {
		if reached[p] == 0 {
			t.Errorf("no kill happened at %s", p)
		}
	}
	writes := 0
	for _, w := range writers {
		writes += w.acknowledged
	}
	t.Logf("%d kills, %d acknowledged writes, at points: %v", kills, writes, reached)
	if writes < kills {
		t.Errorf("only %d writes were acknowledged", writes)
	}
}

// oneCrash restarts the server so that it dies at point, or kills it after a
// random time, and checks what the next one finds.
func oneCrash(t *testing.T, s *harness.Server, writers []*writer, point string, kill int) (reached bool) {
	t.Helper()
	s.Kill()
	s.Setenv("LAMBENT_CRASH_AT", "")
	if point != "" {
		s.Setenv("LAMBENT_CRASH_AT", point+":"+strconv.Itoa(1+kill%7))
	}
	if err := s.Launch(); err != nil {
		t.Fatalf("restart: %v\n%s", err, s.Stderr())
	}
	if left := s.Instances(); len(left) > 0 {
		t.Errorf("sandboxes of the killed server are left: %v", left)
	}
	client := s.Lambda()
	for _, w := range writers {
		w.check(t, client)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { // leaves an orphan behind
		_, _ = client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("sleeper"), Payload: []byte(`{"do":"sleep","n":30000}`)})
	})
	for _, w := range writers {
		wg.Go(func() { w.write(ctx, t, client) })
	}
	after := time.Duration(rand.IntN(120)) * time.Millisecond
	if point != "" {
		after = 3 * time.Second
	}
	select {
	case <-s.Exited():
		reached = true
	case <-time.After(after):
	}
	s.Kill()
	cancel()
	wg.Wait()
	return reached
}

// writer owns one function, and knows what must be there.
type writer struct {
	name   string
	random *rand.Rand
	// sure is the state that was acknowledged last; maybe is what it becomes if
	// the write that was cut off has happened all the same.
	sure, maybe  state
	round        int
	acknowledged int
}

// state of a function, as far as the writer changes it.
type state struct {
	exists   bool
	env      string
	code     string // base64 SHA-256
	versions int
	tag      string
	// changed since the last version was published: publishing then makes a new
	// one. It cannot be read back.
	changed bool
}

func (w *writer) zip(n int) []byte {
	var t testing.T
	return harness.Zip(&t, map[string]string{"bootstrap!": fmt.Sprintf("#!/bin/sh\n# %s %d\n", w.name, n)})
}

func sum(b []byte) string { h := sha256.Sum256(b); return base64.StdEncoding.EncodeToString(h[:]) }

// write changes the function until the server goes away.
func (w *writer) write(ctx context.Context, t *testing.T, c *lambda.Client) {
	for ctx.Err() == nil {
		w.round++
		next := w.sure
		call := w.choose(ctx, c, &next)
		w.maybe = next
		err := call()
		var refused interface{ HTTPStatusCode() int }
		if errors.As(err, &refused) && refused.HTTPStatusCode() > 0 {
			if refused.HTTPStatusCode() == 409 {
				w.maybe = w.sure
				continue // an update is still being applied
			}
			t.Errorf("%s: %v", w.name, err)
			return
		}
		if err != nil {
			return // cut off: either state may be there
		}
		w.sure = next
		w.acknowledged++
	}
}

// choose picks the next write and makes next what it leads to.
func (w *writer) choose(ctx context.Context, c *lambda.Client, next *state) func() error {
	value := strconv.Itoa(w.round)
	if !w.sure.exists {
		code := w.zip(w.round)
		*next = state{exists: true, env: value, code: sum(code), tag: value, changed: true}
		return func() error {
			_, err := c.CreateFunction(ctx, &lambda.CreateFunctionInput{FunctionName: &w.name, Runtime: types.RuntimeProvidedal2023,
				Handler: aws.String("bootstrap"), Role: aws.String(harness.Role), Code: &types.FunctionCode{ZipFile: code},
				Environment: &types.Environment{Variables: map[string]string{"ROUND": value}}, Tags: map[string]string{"n": value}})
			return err
		}
	}
	next.changed = true
	choice := w.random.IntN(10)
	if choice == 4 && !w.sure.changed {
		choice = 9
	}
	switch choice {
	case 0:
		*next = state{}
		return func() error {
			_, err := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &w.name})
			return err
		}
	case 1, 2, 3:
		code := w.zip(w.round)
		next.code = sum(code)
		return func() error {
			_, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: &w.name, ZipFile: code})
			return err
		}
	case 4:
		next.versions++
		next.changed = false
		return func() error {
			_, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: &w.name, Description: &value})
			return err
		}
	case 5:
		next.tag = value
		next.changed = w.sure.changed
		return func() error {
			_, err := c.TagResource(ctx, &lambda.TagResourceInput{Resource: aws.String("arn:aws:lambda:us-east-1:000000000000:function:" + w.name),
				Tags: map[string]string{"n": value}})
			return err
		}
	}
	next.env = value
	return func() error {
		_, err := c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: &w.name,
			Environment: &types.Environment{Variables: map[string]string{"ROUND": value}}})
		return err
	}
}

// check compares the function with what it may be and goes on from what it is.
func (w *writer) check(t *testing.T, c *lambda.Client) {
	t.Helper()
	got, err := w.read(c)
	if err != nil {
		t.Errorf("read %s: %v", w.name, err)
		return
	}
	switch {
	case got.same(w.sure):
		got.changed = w.sure.changed
	case got.same(w.maybe):
		got.changed = w.maybe.changed
	default:

		t.Errorf("%s is %+v\nacknowledged    %+v\nor, if cut off, %+v", w.name, got, w.sure, w.maybe)
	}
	w.sure, w.maybe = got, got
}

// same compares what can be read back.
func (s state) same(other state) bool {
	other.changed = s.changed
	return s == other
}

func (w *writer) read(c *lambda.Client) (state, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &w.name})
	var missing *types.ResourceNotFoundException
	if errors.As(err, &missing) {
		return state{}, nil
	}
	if err != nil {
		return state{}, err
	}
	resp, err := http.Get(*out.Code.Location)
	if err != nil {
		return state{}, fmt.Errorf("download code: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	code, err := io.ReadAll(resp.Body)
	if err != nil {
		return state{}, fmt.Errorf("download code: %w", err)
	}
	if sum(code) != *out.Configuration.CodeSha256 {
		return state{}, fmt.Errorf("the code is not what the record says: %d bytes", len(code))
	}
	versions, err := c.ListVersionsByFunction(ctx, &lambda.ListVersionsByFunctionInput{FunctionName: &w.name})
	if err != nil {
		return state{}, err
	}
	st := state{exists: true, code: sum(code), versions: len(versions.Versions) - 1, tag: out.Tags["n"]}
	if out.Configuration.Environment != nil {
		st.env = out.Configuration.Environment.Variables["ROUND"]
	}
	return st, nil
}

// TestOrphansAreEnded kills a server with busy sandboxes and looks whether the
// next one ends them.
func TestOrphansAreEnded(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "sleeper", Timeout: 60})
	for range 3 {
		go func() { _, _ = s.TryInvoke("sleeper", `{"do":"loop"}`) }()
	}
	for deadline := time.Now().Add(10 * time.Second); len(s.Instances()) < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("sandboxes: %v, want 3", s.Instances())
		}
	}
	s.Kill()
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	if left := s.Instances(); len(left) > 0 {
		t.Errorf("orphans after a restart: %v", left)
	}
	if !strings.Contains(s.Stderr(), "ended sandboxes of an earlier server") {
		t.Errorf("the server does not say that it ended orphans:\n%s", s.Stderr())
	}
	wantPayload(t, s.Invoke(t, "sleeper", `{"do":"echo"}`), `{"do":"echo"}`)
}
