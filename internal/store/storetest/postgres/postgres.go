// Package postgres runs a PostgreSQL server of one's own: for tests, and for the bench,
// which is no test and links nothing that only those need.
package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// ErrNotInstalled means that the distribution's PostgreSQL is not installed;
// scripts/test-deps.sh does that.
var ErrNotInstalled = errors.New("PostgreSQL is not installed")

// Server is a server on a Unix socket. PostgreSQL refuses to run as root: then it is the
// user postgres's, or nobody's.
type Server struct {
	bin, dir   string
	settings   []string            // "name=value"
	credential *syscall.Credential // nil is the caller's
	process    *exec.Cmd
	exited     chan struct{} // closed when the process has ended
	log        *os.File      // what the programs say
}

// WithoutFsync is for who does not take the machine's power away: what is committed
// outlives the server all the same.
const WithoutFsync = "fsync=off"

// New makes a database cluster in a new directory and serves it, with
// PostgreSQL's defaults but for the settings.
func New(settings ...string) (*Server, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return nil, ErrNotInstalled
	}
	p := &Server{bin: filepath.Dir(found[len(found)-1]), settings: append(settings, "max_connections=200")}
	if p.dir, err = os.MkdirTemp("", "lambent-pg"); err != nil { // short: a socket's path has 107 bytes
		return nil, err
	}
	if p.log, err = os.Create(filepath.Join(p.dir, "log")); err == nil {
		err = p.own()
	}
	if err == nil {
		err = p.command("initdb", "-D", p.data(), "-U", "lambent", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync").Run()
	}
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		said, _ := os.ReadFile(filepath.Join(p.dir, "log")) // only for the message
		return nil, errors.Join(fmt.Errorf("start PostgreSQL: %w: %s", err, said), p.log.Close(), os.RemoveAll(p.dir))
	}
	return p, nil
}

// own gives the directory to the user that the server runs as.
func (p *Server) own() error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	p.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(p.dir, int(uid), int(gid))
}

func (p *Server) data() string { return filepath.Join(p.dir, "data") }

func (p *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, p.log, p.log // files: nothing of ours copies
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential}
	return cmd
}

// Start serves the cluster, and returns when it takes connections.
func (p *Server) Start() error {
	args := []string{"-D", p.data(), "-k", p.dir, "-h", ""}
	for _, s := range p.settings {
		args = append(args, "-c", s)
	}
	p.process = p.command("postgres", args...)
	if err := p.process.Start(); err != nil {
		return err
	}
	process, exited := p.process, make(chan struct{})
	p.exited = exited
	go func() { // end waits for it
		defer close(exited)
		_ = process.Wait() // it was ended by a signal
	}()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if p.command("pg_isready", "-q", "-h", p.dir).Run() == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.Join(errors.New("it does not get ready"), p.Kill())
}

// URL is that of the database, with the tables in a schema of the given name.
func (p *Server) URL(schema string) string {
	return fmt.Sprintf("postgres://lambent@/postgres?host=%s&search_path=%s", p.dir, schema)
}

// Dir is where the socket is.
func (p *Server) Dir() string { return p.dir }

// Bin is where PostgreSQL's programs are.
func (p *Server) Bin() string { return p.bin }

// Stop ends the server as an operator does who cannot wait: its connections are
// cut.
func (p *Server) Stop() error { return p.end(syscall.SIGINT) }

// Kill ends the server as a crash does: it recovers at the next start.
func (p *Server) Kill() error { return p.end(syscall.SIGQUIT) }

func (p *Server) end(signal os.Signal) error {
	if err := p.process.Process.Signal(signal); err != nil {
		return err
	}
	<-p.exited
	return nil
}

// Close stops the server and removes its files.
func (p *Server) Close() error {
	return errors.Join(p.Stop(), p.log.Close(), os.RemoveAll(p.dir))
}
