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
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// peer is one way to start a handler and have its answer.
type peer struct {
	result
	once func(round int) (time.Duration, error)
	took []float64
}

// peers starts the same handlers by lambent, by their interpreters alone, and by
// others where they are installed (scripts/bench-deps.sh): container runtimes for
// the Python handler, workerd for the JavaScript one. All take turns; who cannot
// start here leaves, and the report says why.
func peers(ctx context.Context, b *bed) ([]result, error) {
	var all []*peer
	add := func(name string, once func(int) (time.Duration, error)) {
		all = append(all, &peer{result: result{Name: name + ", p50", Unit: "ms"}, once: once})
	}
	for i, s := range subjects[:3] {
		name := fmt.Sprintf("peer-%d", i)
		raw, err := s.deploy(ctx, b, name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			all = append(all, &peer{result: result{Name: s.name + because(err)}})
			continue
		}
		t, err := b.signed(ctx, name, event)
		if err != nil {
			return nil, err
		}
		add(s.name+": lambent, cold", func(round int) (time.Duration, error) { return b.cold(ctx, name, round, t) })
		add(s.name+": "+filepath.Base(raw.args[0])+" alone", func(int) (time.Duration, error) { return raw.once(ctx) })
		switch i {
		case 0:
			add(s.name+": runc run", func(round int) (time.Duration, error) { return b.container(ctx, []string{"runc"}, round) })
			add(s.name+": crun run", func(round int) (d time.Duration, err error) {
				inner := withoutHybrid(func() { d, err = b.container(ctx, []string{"crun", "--cgroup-manager", "cgroupfs"}, round) })
				return d, errors.Join(inner, err)
			})
		case 1:
			add("JavaScript that echoes: workerd", func(int) (time.Duration, error) { return b.workerd(ctx) })
		}
	}
	for round := range b.colds + 1 {
		for _, p := range all {
			if p.once == nil {
				continue
			}
			time.Sleep(settle)
			if err := p.turn(round, b.colds); err != nil {
				p.Name += because(err)
				p.once = nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	results := make([]result, len(all))
	for i, p := range all {
		results[i] = p.result
	}
	return results, nil
}

// turn takes one start's time; round 0 is for the caches.
func (p *peer) turn(round, rounds int) error {
	d, err := p.once(round)
	if err != nil || round == 0 {
		return err
	}
	p.took = append(p.took, millis(d))
	if len(p.took) == batch || round == rounds {
		p.add(median(p.took))
		p.took = nil
	}
	return nil
}

// withoutHybrid calls f on a thread that does not see version 2 of cgroups beside
// version 1, as crun refuses to run then; nor do the processes that f starts. The
// thread ends with it.
func withoutHybrid(f func()) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: the thread is not as the others are
		const unified = "/sys/fs/cgroup/unified"
		if _, absent := os.Stat(unified); absent == nil {
			err = unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
			if err == nil {
				err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
			}
			if err == nil {
				err = unix.Unmount(unified, unix.MNT_DETACH)
			}
			if err != nil && !errors.Is(err, unix.EINVAL) { // which is no mount
				return
			}
			err = nil
		}
		f()
	}()
	<-done
	return err
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
	for _, dir := range []string{"code", "rootfs/dev"} {
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
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
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
	begin := time.Now()
	cmd, addr, err := b.startWorkerd(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	return answered(begin, func() (*http.Response, error) {
		return http.Post("http://"+addr+"/", "application/json", bytes.NewReader(event))
	})
}

func (b *bed) startWorkerd(ctx context.Context) (cmd *exec.Cmd, addr string, err error) {
	program, err := exec.LookPath("workerd")
	if err != nil {
		program = filepath.Join(b.root, ".cache", "bench", "node_modules", ".bin", "workerd")
		if _, statErr := os.Stat(program); statErr != nil {
			return nil, "", err
		}
	}
	if addr, err = freeAddress(); err != nil {
		return nil, "", err
	}
	config := filepath.Join(b.data, "workerd.capnp")
	if err := os.WriteFile(config, fmt.Appendf(nil, workerdConfig, addr), 0o644); err != nil {
		return nil, "", err
	}
	cmd = exec.CommandContext(ctx, program, "serve", config)
	return cmd, addr, cmd.Start()
}

// worker starts workerd with a JavaScript handler that echoes, for as long as the
// bed lives, and returns a request to it.
func (b *bed) worker(ctx context.Context) (target, error) {
	cmd, addr, err := b.startWorkerd(ctx)
	if err != nil {
		return target{}, err
	}
	b.began = append(b.began, cmd)
	_, err = answered(time.Now(), func() (*http.Response, error) {
		return http.Post("http://"+addr+"/", "application/json", bytes.NewReader(event))
	})
	if err != nil {
		return target{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/", bytes.NewReader(event))
	if err != nil {
		return target{}, err
	}
	return newTarget(r)
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
