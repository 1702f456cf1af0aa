package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lambent.dev/lambent/internal/store/storetest/postgres"
)

// TestBackups runs scripts that start servers of their own, which is what
// backups are of.
func TestBackups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	if testing.Short() {
		t.Skip("starts servers")
	}
	pg, err := postgres.New()
	if err != nil && !errors.Is(err, postgres.ErrNotInstalled) {
		t.Fatal(err)
	}
	if pg != nil {
		t.Cleanup(func() {
			if err := pg.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/backup", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Values["servers"] = map[string]*exec.Cmd{}
			if pg != nil {
				env.Setenv("PG1", pg.URL("one"))
			}
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "postgres" {
				return false, errors.New("unknown condition")
			}
			return pg != nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"serve": serveScript, "halt": haltScript, "cut": cutScript, "clerk": clerkScript},
	})
}

// serveScript starts a server on a data directory and waits until it is ready.
func serveScript(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	program, err := exec.LookPath("lambent")
	ts.Check(err)
	cmd := exec.Command(program, "serve", "--data", dir, "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0",
		"--set", "instances.reserve=0", "--set", "store.url="+ts.Getenv("LAMBENT_STORE_URL"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	log, err := os.Create(dir + ".log")
	ts.Check(err)
	cmd.Stderr = log
	ts.Check(cmd.Start())
	servers := ts.Value("servers").(map[string]*exec.Cmd)
	servers[args[0]] = cmd
	ts.Defer(func() {
		if servers[args[0]] != nil { // the script has failed
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			text, _ := os.ReadFile(log.Name())
			ts.Logf("%s", text)
		}
		_ = log.Close()
	})
	for range 300 {
		if _, err := os.Stat(filepath.Join(dir, "endpoints.json")); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("the server on %s does not get ready", args[0])
}

// haltScript ends a server in the ordinary way; testscript has a stop of its own.
func haltScript(ts *testscript.TestScript, _ bool, args []string) {
	servers := ts.Value("servers").(map[string]*exec.Cmd)
	cmd := servers[args[0]]
	ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	ts.Check(cmd.Wait())
	delete(servers, args[0])
}

// cutScript copies the first half of a file.
func cutScript(ts *testscript.TestScript, _ bool, args []string) {
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data[:len(data)/2], 0o600))
}
