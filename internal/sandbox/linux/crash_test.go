package linux

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// The test binary is its own victim: with these set it is a server that starts
// instances and waits to be killed.
const (
	victimData = "LAMBENT_TEST_VICTIM_DATA"
	victimCode = "LAMBENT_TEST_VICTIM_CODE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimData); dir != "" {
		victim(dir, os.Getenv(victimCode))
		return
	}
	os.Exit(m.Run())
}

func victim(dir, code string) {
	d, err := New(Options{DataDir: dir})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for n := range 2 {
		i, err := d.Start(context.Background(), sandboxtest.Spec(fmt.Sprintf("orphan-%d", n), code, &sandboxtest.Lines{}))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if r, err := i.Init(context.Background()); err != nil || r.Failure != nil {
			fmt.Println(r.Failure, err)
			os.Exit(1)
		}
	}
	if err := reserveOfVictim(d, dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// reserveOfVictim has a zygote and a blank, if there is a Python.
func reserveOfVictim(d *Driver, dir string) error {
	c, err := runtimes.Open(context.Background(), runtimes.Options{DataDir: dir})
	if err != nil {
		return err
	}
	rt, err := c.Resolve(&lambent.Version{Runtime: "python3.12", MemoryMB: 128})
	if err != nil || rt.Blank == nil {
		return nil //nolint:nilerr // without one there is no reserve to leave behind
	}
	d.Expect(rt)
	for range 1000 {
		if blanks, zygotes := d.reserve.pids(); len(blanks) > 0 && len(zygotes) > 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the reserve stays empty")
}

// TestKilledServer: a server that is killed leaves nothing that the next one on
// its directory does not clear away.
func TestKilledServer(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	before := traces(t, dir)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimData+"="+dir, victimCode+"="+sandboxtest.Probe(t))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if line != "ready\n" {
		t.Fatalf("the victim says %q", line)
	}

	d := newDriver(t, Options{DataDir: dir})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if n, err := d.Recover(ctx); n != 2 || err != nil {
		t.Errorf("recovered %d, %v; want 2", n, err)
	}
	l := sandboxtest.Start(t, d, sandboxtest.Spec("orphan-0", sandboxtest.Probe(t), nil))
	if got := l.Do("echo", 0, "x"); got != `["x"]` {
		t.Errorf("after the recovery: %s", got)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		more := subtract(traces(t, dir), before)
		if len(more) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %q", more)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func subtract(list, from []string) []string {
	have := map[string]bool{}
	for _, s := range from {
		have[s] = true
	}
	var rest []string
	for _, s := range list {
		if !have[s] {
			rest = append(rest, s)
		}
	}
	return rest
}
