package e2e

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"lambent.dev/lambent/test/harness"
)

// deployHeavy deploys the probe with a load of files that take time to unpack.
func deployHeavy(t *testing.T, s *harness.Server, name string) {
	t.Helper()
	binary := probe.Content(t)
	noise := make([]byte, 24<<20)
	r := rand.NewChaCha8([32]byte{7})
	_, _ = r.Read(noise) // never fails
	s.Create(t, harness.Function{Name: name, Runtime: "provided.al2023",
		Zip: harness.Zip(t, map[string]string{"bootstrap!": binary, "noise": string(noise)})})
}

// trees are the unpacked code that the server has.
func trees(t *testing.T, s *harness.Server) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.Data, "artifacts", "trees", "*", strings.Repeat("[0-9a-f]", 64)))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// codeStage makes a cold start and returns the milliseconds of its code stage.
func codeStage(t *testing.T, s *harness.Server, name string) (ms float64) {
	t.Helper()
	stdout, stderr, err := s.CLI("", "coldstart", name, "--fresh", "--json")
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	var out struct {
		ColdStarts []struct {
			Stages []struct {
				Name string
				MS   float64
			}
		}
	}
	if err := json.Unmarshal([]byte(stdout), &out); err != nil || len(out.ColdStarts) == 0 {
		t.Fatalf("%v: %s", err, stdout)
	}
	for _, span := range out.ColdStarts[len(out.ColdStarts)-1].Stages {
		if span.Name == "code" {
			ms += span.MS
		}
	}
	return ms
}

// TestCodeIsUnpackedOnce reads from the stages that only the first cold start of
// code that the cache has lost unpacks it.
func TestCodeIsUnpackedOnce(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployHeavy(t, s, "heavy")
	s.Stop()
	for _, tree := range trees(t, s) {
		if err := os.RemoveAll(tree); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	first := codeStage(t, s, "heavy")
	second := codeStage(t, s, "heavy")
	if n := len(trees(t, s)); n != 1 {
		t.Errorf("%d unpacked trees, want 1", n)
	}
	// Twenty-four megabytes take tens of milliseconds, a look into a map none.
	if second > first/5 {
		t.Errorf("the code stage took %.2f ms and then %.2f ms: unpacked twice?", first, second)
	}
}

// TestDamagedCodeIsRebuilt changes a byte of what the cache has unpacked.
func TestDamagedCodeIsRebuilt(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployHeavy(t, s, "hurt")
	want := s.Invoke(t, "hurt", `{"do":"echo"}`).Payload
	s.Stop()
	found := trees(t, s)
	if len(found) != 1 {
		t.Fatalf("unpacked trees: %v", found)
	}
	program := filepath.Join(found[0], "bootstrap")
	code, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte("#!/bin/false"), code[12:]...)
	if err := os.WriteFile(program, damaged, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	out := s.Invoke(t, "hurt", `{"do":"echo"}`)
	if out.FunctionError != nil || string(out.Payload) != string(want) {
		t.Errorf("after the damage: %s, want %s", out.Payload, want)
	}
	if !strings.Contains(s.Stderr(), "unpacked code is damaged") {
		t.Errorf("the damage is not in the server's log: %s", s.Stderr())
	}
}

// TestLostCodeSaysWhatToDo takes the stored code away, or damages it, with what was
// unpacked of it: the caller is told to deploy it again, and that helps.
func TestLostCodeSaysWhatToDo(t *testing.T) {
	for name, damage := range map[string]func(blob string) error{
		"lost": os.Remove,
		"cut":  func(blob string) error { return os.Truncate(blob, 100) },
		"changed": func(blob string) error {
			info, err := os.Stat(blob)
			if err != nil {
				return err
			}
			return os.WriteFile(blob, make([]byte, info.Size()), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := harness.Start(t, harness.Options{})
			deploy := []string{"deploy", filepath.Join("..", "..", "examples", "hello-python"), "--name", "hurt"}
			if _, stderr, err := s.CLI("", deploy...); err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			s.Stop()
			blobs, err := filepath.Glob(filepath.Join(s.Data, "artifacts", "blobs", "*"))
			if err != nil || len(blobs) != 1 {
				t.Fatalf("stored code: %v, %v", blobs, err)
			}
			for _, tree := range trees(t, s) {
				if err := os.RemoveAll(tree); err != nil {
					t.Fatal(err)
				}
			}
			if err := damage(blobs[0]); err != nil {
				t.Fatal(err)
			}
			if err := s.Launch(); err != nil {
				t.Fatal(err)
			}
			_, err = s.TryInvoke("hurt", "{}")
			var api smithy.APIError
			if !errors.As(err, &api) || api.ErrorCode() != "ServiceException" || !strings.Contains(api.ErrorMessage(), "deploy it again") {
				t.Errorf("a client is told: %v", err)
			}
			if _, stderr, err := s.CLI("", "invoke", "hurt"); err == nil || !strings.Contains(stderr, "deploy it again") || strings.Contains(stderr, "lambent list") {
				t.Errorf("the command says: %v %s", err, stderr)
			}
			if _, stderr, err := s.CLI("", deploy...); err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			if out, err := s.TryInvoke("hurt", "{}"); err != nil || out.FunctionError != nil {
				t.Errorf("deployed again: %+v, %v", out, err)
			}
		})
	}
}
