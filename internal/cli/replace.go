package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/server"
)

// Replace is how a server gives its place to another one, in the same process:
// the operating system's part.
type Replace struct {
	// Asked delivers the wishes to be replaced, until stop is called.
	Asked func() (wishes <-chan os.Signal, stop func())
	// Check tries the program that would take over with these arguments.
	Check func(ctx context.Context, args []string) error
	// Exec runs it in this process's place, with these sockets open. It returns only
	// when that fails. Again does so with this process's own program.
	Exec, Again func(environ []string, open []*os.File) error
	// Ask sends the wish to another process.
	Ask func(pid int) error
}

// socketsKey is the variable that tells a server which sockets it takes over by
// their file descriptors: "api=3 gateway=4" listen, "api+=7" is a client's
// connection.
const socketsKey = "LAMBENT_SOCKETS"

// checkTimeout bounds the trial of the program that is to take over.
const checkTimeout = 20 * time.Second

// replaceable gives the context of a server that ends with [server.ErrReplaced]
// when there is a wish for that and the program that would take over is sound.
func (a *app) replaceable(ctx context.Context, log *slog.Logger) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	if a.Replace == nil {
		return ctx, func() { end(nil) }
	}
	wishes, stop := a.Replace.Asked()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-wishes:
			}
			if err := a.sound(ctx); err != nil {
				log.Error("the server is not replaced: the other one would not start", "err", err)
				continue
			}
			log.Info("the server is replaced")
			end(server.ErrReplaced)
			return
		}
	}()
	return ctx, func() {
		end(nil)
		<-done
		stop()
	}
}

// sound has the program that would take over read the configuration.
func (a *app) sound(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	at := slices.Index(a.Args, "serve")
	if at < 0 {
		return fmt.Errorf("only `lambent serve` can be replaced")
	}
	args := slices.Concat(a.Args[:at], []string{"config", "check"}, a.Args[at+1:])
	return a.Replace.Check(ctx, args)
}

// become runs the program that takes over. One that cannot be run, because it is being
// changed or has gone since it was looked at, leaves its place to the present one.
func (a *app) become(sockets server.Sockets, log *slog.Logger) error {
	var names []string
	var open []*os.File
	add := func(name string, file *os.File) {
		names = append(names, name+"="+strconv.Itoa(int(file.Fd())))
		open = append(open, file)
	}
	for name, file := range sockets.Listening {
		add(name, file)
	}
	for name, files := range sockets.Resting {
		for _, file := range files {
			add(name+"+", file)
		}
	}
	environ := slices.DeleteFunc(slices.Clone(a.Environ), func(entry string) bool { return strings.HasPrefix(entry, socketsKey+"=") })
	environ = append(environ, socketsKey+"="+strings.Join(names, " "))
	err := a.Replace.Exec(environ, open)
	log.Error("the program that was to take over cannot be run: the present one is started again", "err", err)
	return fmt.Errorf("run the server that takes over: %w", errors.Join(err, a.Replace.Again(environ, open)))
}

// inherited reads what become has written. What makes no sense is left out: the
// address is listened on anew then.
func inherited(text string) server.Sockets {
	out := server.Sockets{Listening: map[string]*os.File{}, Resting: map[string][]*os.File{}}
	for entry := range strings.FieldsSeq(text) {
		name, number, _ := strings.Cut(entry, "=")
		fd, err := strconv.Atoi(number)
		if err != nil || fd <= 2 {
			continue
		}
		file := os.NewFile(uintptr(fd), name)
		if of, ok := strings.CutSuffix(name, "+"); ok {
			out.Resting[of] = append(out.Resting[of], file)
		} else {
			out.Listening[name] = file
		}
	}
	return out
}

// replaceWait is how long `lambent replace` waits beyond the time for draining,
// which it does not know.
const replaceWait = 2 * time.Minute

func (a *app) replaceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "replace",
		Short: "Have the running server replaced by the program that is installed now",
		Long: "Have the running server on this machine run the program that is at its path now, with the\n" +
			"configuration as it is now. Its addresses stay open: who connects meanwhile waits, and calls\n" +
			"that run are finished first. If the new program does not accept the configuration, the old\n" +
			"server goes on. The same as sending it the signal SIGUSR2.",
		Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.replace(cmd.Context()) },
	}
}

func (a *app) replace(ctx context.Context) error {
	at, err := a.target()
	if err != nil {
		return err
	}
	lock, err := os.ReadFile(filepath.Join(at.Data, "lock"))
	if err != nil || a.Replace == nil {
		return fmt.Errorf("a server can only be replaced from the machine that it runs on: name its data directory with --data")
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(lock)))
	if err != nil {
		return fmt.Errorf("read %s: it does not name a process", filepath.Join(at.Data, "lock"))
	}
	endpoints := filepath.Join(at.Data, "endpoints.json")
	before, err := os.Stat(endpoints)
	if err != nil {
		return fmt.Errorf("no server runs on the data directory %s", at.Data)
	}
	if err := a.Replace.Ask(pid); err != nil {
		return fmt.Errorf("ask process %d: %w", pid, err)
	}
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < replaceWait {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if now, err := os.Stat(endpoints); err == nil && !now.ModTime().Equal(before.ModTime()) {
			return a.printf("replaced in %s\n", time.Since(began).Round(time.Millisecond))
		}
	}
	return fmt.Errorf("the server is still the old one after %s: see its log", replaceWait)
}
