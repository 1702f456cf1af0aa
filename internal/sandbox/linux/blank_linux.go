package linux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Patience with a blank: until it has started, and until it has become a
// function's. Long, because the machine may be busy with better things.
const (
	bootPatience  = 30 * time.Second
	hurryPatience = 3 * time.Second // while a cold start waits
	turnDeadline  = 3 * time.Second
)

// blank is a guest without a function: a runtime that has started in a sandbox of
// its own, which lacks what belongs to a function (code, layers, /tmp, limits,
// somebody who reads what it prints). It becomes one instance, or nothing.
type blank struct {
	*guest
	shell   *shell        // its thread has ended: the process holds the namespaces
	tree    *os.File      // its mount namespace
	edition int           // of its root
	node    *node         // whose idle blank it is
	cost    int64         // memory, in bytes
	bare    bool          // a fork that has not gone over its start
	taken   chan struct{} // closed when it is no longer idle
}

// reservePrefix starts the names of the groups of what belongs to the reserve, or
// came from it. No instance's id has a dot.
const reservePrefix = "reserve."

// blankLog takes what a blank prints, which is nothing if all is well.
type blankLog struct {
	log *slog.Logger
	key string
}

// WriteLine logs a line.
func (l blankLog) WriteLine(_ time.Time, p []byte) {
	l.log.Debug("a runtime without a function prints", "key", l.key, "line", string(p[:min(len(p), 1024)]))
}

// blankSpec says what blank to make.
type blankSpec struct {
	name string // of its cgroup
	rt   sandbox.Runtime
	from *zygote // the interpreter that forks it; nil starts it from nothing
	// hurry is for a cold start that waits.
	hurry bool
	// bare has a fork not go over its start, for which it would need more memory.
	bare bool
	late <-chan struct{} // closed when one has come to wait meanwhile
}

// newBlank starts a runtime without a function and waits until it is up.
func (d *Driver) newBlank(ctx context.Context, s blankSpec) (*blank, error) {
	patience := bootPatience
	if s.hurry {
		patience = hurryPatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.rt.Control = true
	b := &builder{driver: d, spec: sandbox.Spec{Runtime: s.rt}, stage: time.Now()}
	bl, err := b.blank(ctx, s)
	if err == nil {
		b.shell = nil // it goes on without its thread
	}
	b.closeStartOnly()
	if err != nil {
		b.undo()
		return nil, fmt.Errorf("start a blank of %s: %w", s.rt.Blank.Key, err)
	}
	bl.watch()
	if err := bl.boot(ctx, s.late); err != nil {
		bl.discard(d.opts.Log)
		return nil, fmt.Errorf("wait for a blank of %s: %w", s.rt.Blank.Key, err)
	}
	bl.group.settle()
	bl.shell.endThread()
	return bl, nil
}

// boot waits until the blank is up.
func (bl *blank) boot(ctx context.Context, late <-chan struct{}) error {
	defer bl.hasten(late)()
	deadline, _ := ctx.Deadline()
	// Closing counts for a blank that is not yet anybody's.
	defer context.AfterFunc(ctx, bl.kill)()
	_, err := bl.control.await(deadline, saidBlank)
	return err
}

// blank makes the process. What was made before an error is in b.cleanup.
func (b *builder) blank(ctx context.Context, s blankSpec) (*blank, error) {
	rt := b.spec.Runtime
	base, edition, err := b.driver.roots.get(rt.Mounts)
	if err != nil {
		return nil, err
	}
	defer func() { _ = base.Close() }()
	if s.hurry {
		b.shell = b.driver.shells.take(usual.network)
	}
	if b.shell == nil {
		if b.shell, err = b.driver.newShell(usual, b.done); err != nil {
			return nil, err
		}
	}
	b.defers(b.shell.discard)
	// It starts in the time that nobody else wants, but no slower than a function
	// would; and with that limit it stays until it has one of its own.
	if err := b.makeGroup(s.name, limits{cpus: b.driver.opts.InitCPUs, pids: maxProcesses, spare: !s.hurry}); err != nil {
		return nil, err
	}
	if err := b.openPipes(blankLog{b.driver.opts.Log, rt.Blank.Key}); err != nil {
		return nil, err
	}
	var thread int
	b.shell.run(func() {
		thread, err = unix.Gettid(), enterOwn(base)
		if err == nil && s.from != nil { // others may leave files there while they boot
			err = b.shell.layTmp()
		}
	})
	if err != nil {
		return nil, err
	}
	tree, err := os.Open("/proc/self/task/" + strconv.Itoa(thread) + "/ns/mnt")
	if err != nil {
		return nil, err
	}
	b.defers(func() { _ = tree.Close() })
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.from != nil {
		err = b.fork(ctx, s.from, s.hurry || s.bare)
	} else {
		env := append(append([]string{}, rt.Blank.Env...), controlVariable, blankVariable)
		b.shell.run(func() { err = b.spawn(spawnSpec{command: rt.Blank.Command, env: env}) })
	}
	if err != nil {
		return nil, err
	}
	if f := b.process.entry; f != nil {
		return nil, errors.New(f.Message)
	}
	return &blank{guest: b.guest(), shell: b.shell, tree: tree, edition: edition, bare: s.from != nil && s.bare}, nil
}

// discard ends a blank that did not become an instance, and gives everything
// back.
func (bl *blank) discard(log *slog.Logger) {
	bl.kill()
	bl.shell.finish()
	_ = bl.tree.Close()
	bl.work.Wait()
	if err := bl.teardown(); err != nil {
		log.Error("a sandbox without a function is left behind", "err", err)
	}
}

// fromReserve makes an instance of a blank. It is nil when there is none, or when
// it failed before anything of the function ran: the start then goes on as if
// there were no reserve.
func (b *builder) fromReserve(ctx context.Context, edition int) *Instance {
	if b.spec.NoReserve || b.spec.Runtime.Blank == nil || b.spec.Version.Network != usual.network {
		return nil
	}
	leave := b.driver.traffic.enter(ctx)
	defer func() { leave() }()
	bl, origin := b.driver.reserve.take(ctx, b.spec, edition)
	if bl == nil {
		leave() // others need not wait as well
		bl, origin = b.driver.reserve.late(ctx, b.spec, edition)
		leave = b.driver.traffic.enter(ctx)
		if bl == nil {
			return nil
		}
		b.done(lambent.StageRuntime)
	}
	b.done(lambent.StageSandbox)
	i, err := b.specialise(ctx, bl, origin)
	if err == nil {
		b.driver.reserve.served(bl)
		return i
	}
	b.driver.opts.Log.Warn("a runtime from the reserve failed; the function gets one of its own",
		"key", b.spec.Runtime.Blank.Key, "inst", b.spec.ID, "err", err)
	b.closeMounts() // they were in the blank's tree
	b.driver.reserve.bury(bl, ctx.Err() == nil)
	return nil
}

// specialise puts what belongs to the function around the blank, and sends it the
// environment last of all. When it returns, the runtime has turned to the
// function's code, or has failed without having seen anything of it but its
// environment and mounts.
func (b *builder) specialise(ctx context.Context, bl *blank, origin lambent.Origin) (i *Instance, err error) {
	kept, err := b.fitTmp(bl.shell)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && kept != nil {
			bl.shell.tmp, b.spec.Tmp = nil, kept // for the next try
		}
	}()
	b.done(lambent.StageFiles)
	if err := b.fitBlank(bl); err != nil {
		return nil, err
	}
	bl.output.direct(b.spec.Output)
	i = b.instance(bl.guest, origin)
	if err := b.driver.live.Add(i.id, i); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(turnDeadline)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		deadline = at
	}
	if err := b.turn(i, bl, deadline); err != nil {
		b.driver.live.Drop(i.id)
		return nil, err
	}
	i.tmp = bl.shell.takeTmp()
	b.driver.traffic.afterwards(func() { _ = bl.tree.Close() })
	i.run()
	return i, nil
}

// turn tells the blank what function it is, and waits until it turns to its code.
func (b *builder) turn(i *Instance, bl *blank, deadline time.Time) error {
	r, rt := b.driver.reserve, b.spec.Runtime
	say, name := told{fits: rt.Blank.Fits, brief: r.knows(b.spec)}, ""
	if rt.Blank.Zygote != nil {
		say.had, say.serves = rt.Blank.Env, true
	}
	if rt.Blank.Zygote != nil && b.spec.Version.Code.Digest != "" {
		name = codeKey(b.spec.Version)
		say.code = r.compiled(rt.Blank.Key, name)
		say.asks = say.code == nil
	}
	if err := bl.control.send(b.environment(), say, deadline); err != nil {
		return err
	}
	b.done(lambent.StageFiles)
	i.began = b.stage
	at, code, err := bl.control.turn(say.asks, deadline)
	if err != nil {
		return err
	}
	i.turnedAt(at)
	if code != nil {
		r.keepCode(rt.Blank.Key, name, code)
	}
	if len(say.code) > 0 {
		i.doubt = func() { r.keepCode(rt.Blank.Key, name, []byte{}) }
	}
	if say.brief {
		i.hangUp(say.serves) // it has said all that it will
		i.control = nil
		return nil
	}
	i.serves = say.serves
	i.learn = r.learner(b.spec, bl.node.modules)
	return nil
}

// fitBlank gives a blank the function's mounts and limits.
func (b *builder) fitBlank(bl *blank) (err error) {
	b.shell = bl.shell
	err = inTree(bl.tree, b.fitMounts)
	b.shell = nil
	if err != nil {
		return err
	}
	b.done(lambent.StageNetwork)
	l := b.limits()
	if l.pids = 0; l.cpus == b.driver.opts.InitCPUs {
		l.cpus = 0 // it has them
	}
	if err := bl.group.limit(l); err != nil {
		return err
	}
	b.done(lambent.StageSandbox)
	return nil
}
