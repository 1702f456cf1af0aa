// Package harness starts real lambent servers for tests: the built binary, as a
// process of its own, on free ports and a temporary data directory. It knows how
// to stop, kill and restart one, how to make zips, and how to reach it with the
// AWS SDK. It holds no assertions about lambent's behaviour but one: a server
// that was stopped leaves nothing on the host.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// Region that every test server has.
const Region = "us-east-1"

// servers numbers the servers of this test process.
var servers atomic.Int64

// Options of a test server.
type Options struct {
	// Args are added to the serve command.
	Args []string
	// Env is added to the server's environment.
	Env []string
	// Config is written as the server's configuration file when it is not empty.
	Config string
	// Data is the data directory; a temporary one when empty.
	Data string
	// Under is a command that becomes the server, whose own command is added to it.
	Under []string
}

// Server is one running lambent.
type Server struct {
	t      testing.TB
	opts   Options
	binary string
	cgroup string // name of the server's own control groups

	Data    string
	API     string // "http://127.0.0.1:port"
	Gateway string

	cmd    *exec.Cmd
	exited chan struct{}
	err    error
	stderr lockedBuffer
}

// lambent is what is tested.
var lambent = GoProgram("cmd/lambent")

// Binary builds lambent once for this test process and returns its path.
func Binary(t testing.TB) string { t.Helper(); return lambent.Path(t) }

// Root is the repository's root. It is found from the working directory, which go test
// makes that of the package: a program that was built with -trimpath does not know
// where its sources are.
func Root() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "LICENSE")); err == nil {
			return dir
		}
		if dir == "/" {
			panic("the working directory is not in the repository")
		}
	}
}

// CacheDir is where tests keep what is slow to make between runs: it is ignored
// by git and may be deleted at any time. LAMBENT_TEST_CACHE overrides it.
func CacheDir() string {
	dir := os.Getenv("LAMBENT_TEST_CACHE")
	if dir == "" {
		dir = filepath.Join(Root(), ".cache", "test")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		panic(err)
	}
	return dir
}

// Start starts a server and stops it at the end of the test. It skips the test
// where sandboxes cannot work: without root, or with -short.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a server with real sandboxes")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := &Server{t: t, opts: o, binary: Binary(t), Data: o.Data}
	if s.Data == "" {
		s.Data = t.TempDir()
	}
	s.cgroup = fmt.Sprintf("lambent-test-%d-%d", os.Getpid(), servers.Add(1))
	t.Cleanup(func() {
		s.end()
		// The kernel takes namespaces apart a moment after their last process.
		left := s.Leftovers()
		for deadline := time.Now().Add(3 * time.Second); len(left) > 0 && time.Now().Before(deadline); left = s.Leftovers() {
			time.Sleep(50 * time.Millisecond)
		}
		if len(left) > 0 {
			t.Errorf("the server left something behind:\n%s", strings.Join(left, "\n"))
		}
	})
	if err := s.Launch(); err != nil {
		t.Fatalf("%v\n%s", err, s.Stderr())
	}
	return s
}

// startTimeout is for an emulated machine; nobody waits that long elsewhere.
const startTimeout = 2 * time.Minute

// Launch starts the process and waits until it is ready.
func (s *Server) Launch() error {
	args := append([]string{"serve", "--data", s.Data, "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"}, s.opts.Args...)
	if s.opts.Config != "" {
		file := filepath.Join(s.Data, "lambent.yaml")
		if err := os.WriteFile(file, []byte(s.opts.Config), 0o600); err != nil {
			return err
		}
		args = append(args, "--config", file)
	}
	endpoints := filepath.Join(s.Data, "endpoints.json")
	_ = os.Remove(endpoints)
	command := append(append(slices.Clone(s.opts.Under), s.binary), args...)
	s.cmd = exec.Command(command[0], command[1:]...)
	s.cmd.Env = append(append(os.Environ(), "LAMBENT_SANDBOX_CGROUP_ROOT="+s.cgroup), s.opts.Env...)
	s.cmd.Stderr, s.cmd.Stdout = &s.stderr, &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) { s.err = cmd.Wait(); close(exited) }(s.cmd, s.exited)
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-s.exited:
			return fmt.Errorf("server exited: %w", s.err)
		default:
		}
		if body, err := os.ReadFile(endpoints); err == nil {
			var e struct{ API, Gateway string }
			if err := json.Unmarshal(body, &e); err != nil {
				return err
			}
			s.API, s.Gateway = e.API, e.Gateway
			return nil
		}
	}
	return errors.New("server is not ready after " + startTimeout.String())
}

// end stops the server for good. One that was killed is started again first: what
// it left is its successor's to remove.
func (s *Server) end() {
	select {
	case <-s.exited:
		s.opts.Env = nil
		if err := s.Launch(); err != nil {
			s.t.Errorf("start after a kill: %v\n%s", err, s.Stderr())
			return
		}
	default:
	}
	s.Stop()
}

// Exited is closed when the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// PID of the server process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stderr is what the server has logged so far.
func (s *Server) Stderr() string { return s.stderr.String() }

// Stop ends the server in the ordinary way.
func (s *Server) Stop() {
	select {
	case <-s.exited:
		return
	default:
	}
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-s.exited:
	case <-time.After(30 * time.Second):
		s.t.Errorf("server does not stop:\n%s", s.Stderr())
		s.Kill()
	}
}

// Kill ends the server with SIGKILL and waits for it.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// Restart stops the server and starts it on the same data.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.Launch(); err != nil {
		s.t.Fatalf("restart: %v\n%s", err, s.Stderr())
	}
}

// AWSEnv is what an AWS client needs in its environment to reach the server.
func (s *Server) AWSEnv() []string {
	return []string{
		"AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(s.Data, "credentials"),
		"AWS_CONFIG_FILE=/dev/null",
		"AWS_ENDPOINT_URL=" + s.API,
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// Config is an SDK configuration for the server.
func (s *Server) Config() aws.Config {
	cfg, err := awsconfig.LoadDefaultConfig(context.Background(),
		awsconfig.WithRegion(Region),
		awsconfig.WithBaseEndpoint(s.API),
		awsconfig.WithSharedCredentialsFiles([]string{filepath.Join(s.Data, "credentials")}),
		awsconfig.WithSharedConfigFiles([]string{}),
		awsconfig.WithRetryMaxAttempts(1),
	)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.HTTPClient = patient{cfg.HTTPClient}
	return cfg
}

// Lambda is an SDK client that does not retry.
func (s *Server) Lambda() *lambda.Client { return lambda.NewFromConfig(s.Config()) }

// CLI runs a lambent command against the server and returns its output.
func (s *Server) CLI(stdin string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.Command(s.binary, append([]string{"--data", s.Data}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// Setenv changes the environment of the next Launch.
func (s *Server) Setenv(name, value string) {
	s.opts.Env = append(slices.DeleteFunc(s.opts.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") }), name+"="+value)
}

// Instances lists the control groups of the server's live sandboxes.
func (s *Server) Instances() []string {
	var found []string
	for _, pattern := range []string{"memory/" + s.cgroup, s.cgroup} {
		_ = filepath.WalkDir(filepath.Join("/sys/fs/cgroup", pattern), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && instanceID.MatchString(d.Name()) {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}

// Processes are the first processes of the server's live sandboxes.
func (s *Server) Processes() []int {
	var pids []int
	for _, group := range s.Instances() {
		text, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err != nil { // it is gone
			continue
		}
		if fields := strings.Fields(string(text)); len(fields) > 0 {
			if pid, err := strconv.Atoi(fields[0]); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// instanceID is what the groups of instances are named.
var instanceID = regexp.MustCompile("^[0-9a-f]{32}$")

// Leftovers lists what the server has on this host besides its data directory:
// control groups, mounts, loop devices. A stopped server has none.
func (s *Server) Leftovers() []string {
	var left []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), s.cgroup) {
			left = append(left, "cgroup "+path)
			return fs.SkipDir
		}
		return nil
	})
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		// The directory itself may be a mount of the test's.
		if strings.Contains(line, s.Data) && !strings.Contains(line, " "+s.Data+" ") {
			left = append(left, "mount "+strings.TrimSpace(line))
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range loops {
		if body, err := os.ReadFile(file); err == nil && strings.Contains(string(body), s.Data) {
			left = append(left, "loop "+strings.TrimSpace(string(body)))
		}
	}
	return left
}

type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

var _ io.Writer = (*lockedBuffer)(nil)

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
