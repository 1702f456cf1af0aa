package artifact_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

// The crash test runs this binary again as the server that is killed.
const (
	childDir   = "ARTIFACT_TEST_DIR"   // artifacts folder; set in the child
	childPoint = "ARTIFACT_TEST_POINT" // where it kills itself in its third Put
	childCode  = "ARTIFACT_TEST_CODE"  // folder with the zips to put, in order
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		crashingChild(dir)
		os.Exit(1) // it should be dead by now
	}
	goleak.VerifyTestMain(m)
}

func crashingChild(dir string) {
	passed := 0
	s, err := artifact.Open(artifact.Options{Dir: dir, Point: func(name string) {
		if name != os.Getenv(childPoint) {
			return
		}
		if passed++; passed == 3 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until the signal is there
		}
	}})
	if err != nil {
		fmt.Println("fault", err)
		return
	}
	for i := range 5 {
		code, err := os.ReadFile(filepath.Join(os.Getenv(childCode), fmt.Sprint(i)))
		if err == nil {
			var info artifact.Info
			if info, err = s.Put(context.Background(), artifact.Source{Zip: code}); err == nil {
				fmt.Println("ack", info.Digest)
			}
		}
		if err != nil {
			fmt.Println("fault", err)
		}
	}
}

// A server is killed within a Put. What was acknowledged before is there and
// whole, what was not is there whole or not at all, and opening the store again
// leaves nothing else.
func TestKilledPutLeavesNoHalves(t *testing.T) {
	codes := t.TempDir()
	for i := range 5 {
		code := build(t, file{name: "dir/a", body: fmt.Sprint("code ", i)}, file{name: "b", body: strings.Repeat("b", 100_000)})
		if err := os.WriteFile(filepath.Join(codes, fmt.Sprint(i)), code, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, point := range []string{
		"artifact.after-unpack", "artifact.after-temp", "artifact.before-rename", "artifact.after-rename",
	} {
		t.Run(point, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "artifacts")
			acked := life(t, dir, codes, point)
			if len(acked) != 2 {
				t.Errorf("%d puts were acknowledged, want 2", len(acked))
			}
			s := open(t, artifact.Options{Dir: dir})
			if left := tree(t, filepath.Join(dir, "temp")); len(left) != 0 {
				t.Errorf("%q is left", left)
			}
			wantWhole(t, dir)
			for _, d := range acked {
				root, release := mustUse(t, s, d)
				if got := tree(t, root); len(got) != 3 {
					t.Errorf("the tree of %s has %q", d, got)
				}
				release()
			}
			for i := range 5 { // and it goes on
				code, err := os.ReadFile(filepath.Join(codes, fmt.Sprint(i)))
				if err != nil {
					t.Fatal(err)
				}
				mustPut(t, s, code)
			}
		})
	}
}

func life(t *testing.T, dir, codes, point string) (acked []lambent.Digest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = []string{childDir + "=" + dir, childPoint + "=" + point, childCode + "=" + codes}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if d, ok := strings.CutPrefix(lines.Text(), "ack "); ok {
			acked = append(acked, lambent.Digest(d))
		} else {
			t.Errorf("the server says %q", lines.Text())
		}
	}
	_ = cmd.Wait() // killed
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || ctx.Err() != nil {
		t.Fatalf("the server ended with %v", cmd.ProcessState)
	}
	return acked
}

// wantWhole compares every blob with its name.
func wantWhole(t *testing.T, dir string) {
	t.Helper()
	for _, name := range tree(t, filepath.Join(dir, "blobs")) {
		data, err := os.ReadFile(filepath.Join(dir, "blobs", name))
		if sum := sha256.Sum256(data); err != nil || hex.EncodeToString(sum[:]) != name {
			t.Errorf("blob %s is not what its name says: %v", name, err)
		}
	}
}

// On a full disk a Put fails with one line and leaves room for the next.
func TestFullDisk(t *testing.T) {
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mount, 0); err != nil {
			t.Errorf("unmount %s: %v", mount, err)
		}
	})
	dir := filepath.Join(mount, "artifacts")
	s := open(t, artifact.Options{Dir: dir})
	for name, code := range map[string][]byte{
		"tree": deflated(t, "big", 1<<20),                                                            // the blob would fit
		"blob": build(t, file{name: "big", body: strings.Repeat("b", 300<<10)}, file{name: "small"}), // the tree does
	} {
		_, err := s.Put(testContext(t), artifact.Source{Zip: code})
		if lambent.ReasonOf(err) != artifact.ReasonDiskFull || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: put on a full disk: %v (%v)", name, err, errors.Unwrap(err))
		}
		wantClean(t, dir)
	}
	mustPut(t, s, build(t, file{name: "a", body: "a"}))
	if err := syscall.Mount("", mount, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(testContext(t), artifact.Source{Zip: build(t, file{name: "b"})}); lambent.ReasonOf(err) != artifact.ReasonReadOnly {
		t.Errorf("put on a read-only disk: %v", err)
	}
}
