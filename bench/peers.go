package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// peers starts the same handlers by other means, where they are installed
// (scripts/bench-deps.sh): what a container runtime takes for a Python handler,
// and what workerd takes for a JavaScript one.
func peers(ctx context.Context, b *bed) ([]result, error) {
	var results []result
	for _, engine := range [][]string{{"crun", "--cgroup-manager", "disabled"}, {"runc"}} {
		r := result{Name: strings.Join(engine, " ") + " run of the Python handler, p50", Unit: "ms"}
		err := b.repeat(&r, func(i int) (time.Duration, error) { return b.container(ctx, engine, i) })
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			r.Name += because(err)
		}
		results = append(results, r)
	}
	r := result{Name: "workerd, start to the first answer of a JavaScript handler, p50", Unit: "ms"}
	err := b.repeat(&r, func(int) (time.Duration, error) { return b.workerd(ctx) })
	if err != nil {
		r.Name += because(err)
	}
	return append(results, r), ctx.Err()
}

func (b *bed) repeat(r *result, once func(i int) (time.Duration, error)) error {
	var took []float64
	for i := range b.colds {
		d, err := once(i)
		if err != nil {
			return err
		}
		took = append(took, millis(d))
		if len(took) == batch || i+1 == b.colds {
			r.add(median(took))
			took = nil
		}
	}
	return nil
}

// container runs the raw Python start under an OCI runtime, in a bundle that
// binds the host's programs read-only.
func (b *bed) container(ctx context.Context, engine []string, round int) (time.Duration, error) {
	path, err := exec.LookPath(engine[0])
	if err != nil {
		return 0, err
	}
	bundle := filepath.Join(b.data, "bundle")
	if _, err := os.Stat(bundle); err != nil {
		if err := b.makeBundle(ctx, bundle); err != nil {
			return 0, err
		}
	}
	id := fmt.Sprintf("lambent-bench-%d-%d", os.Getpid(), round)
	args := append(append([]string{path}, engine[1:]...), "--root", filepath.Join(b.data, engine[0]), "run", "--bundle", bundle, id)
	return (&rawStart{args: args}).once(ctx)
}

func (b *bed) makeBundle(ctx context.Context, bundle string) error {
	code := filepath.Join(bundle, "code")
	for _, dir := range []string{"code", "rootfs"} {
		if err := os.MkdirAll(filepath.Join(bundle, dir), 0o755); err != nil {
			return err
		}
	}
	_, raw, err := pythonSubject(ctx, b, code)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(raw.args[0], "/usr/") {
		return fmt.Errorf("an interpreter in /usr: %w", errAbsent)
	}
	raw.args[len(raw.args)-1] = "/code"
	mounts := []map[string]any{
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
		{"destination": "/code", "type": "bind", "source": code, "options": []string{"rbind", "ro"}},
	}
	for _, dir := range []string{"/usr", "/lib", "/lib64", "/bin", "/etc/ssl"} {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			mounts = append(mounts, map[string]any{"destination": dir, "type": "bind", "source": real, "options": []string{"rbind", "ro"}})
		}
	}
	config, err := json.Marshal(map[string]any{
		"ociVersion": "1.0.2",
		"process": map[string]any{"terminal": false, "user": map[string]int{"uid": 993, "gid": 990}, "cwd": "/",
			"args": raw.args, "env": []string{"PATH=/usr/bin:/bin"}, "noNewPrivileges": true},
		"root":   map[string]any{"path": "rootfs", "readonly": false},
		"mounts": mounts,
		"linux": map[string]any{"namespaces": []map[string]string{
			{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o644)
}

const workerdConfig = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = (
    compatibilityDate = "2024-01-01",
    modules = [ (name = "main.js", esModule = "export default { async fetch(r) { return new Response(await r.text()); } }") ],
  )) ],
  sockets = [ (name = "http", address = "%s", http = (), service = "main") ],
);
`

// workerd is the time from its start until it has answered.
func (b *bed) workerd(ctx context.Context) (time.Duration, error) {
	program, err := exec.LookPath("workerd")
	if err != nil {
		program = filepath.Join(b.root, ".cache", "bench", "node_modules", ".bin", "workerd")
		if _, statErr := os.Stat(program); statErr != nil {
			return 0, err
		}
	}
	addr, err := freeAddress()
	if err != nil {
		return 0, err
	}
	config := filepath.Join(b.data, "workerd.capnp")
	if err := os.WriteFile(config, fmt.Appendf(nil, workerdConfig, addr), 0o644); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, program, "serve", config)
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	return answered(begin, func() (*http.Response, error) {
		return http.Post("http://"+addr+"/", "application/json", bytes.NewReader(event))
	})
}

// answered asks until somebody listens, and returns the time since begin at which
// the answer was there.
func answered(begin time.Time, ask func() (*http.Response, error)) (time.Duration, error) {
	for time.Since(begin) < time.Minute {
		resp, err := ask()
		if err != nil {
			time.Sleep(200 * time.Microsecond)
			continue
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close() // read to its end
		if resp.StatusCode != http.StatusOK {
			err = errors.Join(err, fmt.Errorf("answered %s: %w", resp.Status, errNoAnswer))
		}
		return time.Since(begin), err
	}
	return 0, fmt.Errorf("within a minute: %w", errNoAnswer)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
