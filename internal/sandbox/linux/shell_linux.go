package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// shell is what every instance needs whatever the function: a slot, namespaces
// with a thread in them, loopback with the Runtime API's listener, the link to
// the outside, an empty /tmp. Most of a cold start goes into it, so a few are
// made ahead. A shell serves one instance and is never used again.
type shell struct {
	slot     *slot
	network  lambent.Network
	tmp      *volume // nil before it is made and after it was given away
	laid     bool    // a /tmp is mounted already: this one, or the one before it
	listener net.Listener
	link     netlink.Link

	// orders run one by one on the thread that is in the namespaces; the thread
	// ends when it is closed.
	orders  chan func()
	release []func() // what to give back if no instance comes of it
}

// shellKind is what a shell can be made ahead for.
type shellKind struct {
	network lambent.Network
	tmpMB   int
}

// usual is the kind that is kept ready: AWS's defaults.
var usual = shellKind{network: lambent.NetworkOutbound, tmpMB: lambent.DefaultEphemeralMB}

// newShell makes a shell and reports the stages.
func (d *Driver) newShell(kind shellKind, done func(stage string)) (*shell, error) {
	s := &shell{network: kind.network}
	if err := s.make(d, kind, done); err != nil {
		s.discard()
		return nil, err
	}
	return s, nil
}

func (s *shell) make(d *Driver, kind shellKind, done func(stage string)) error {
	slot, err := d.slots.take()
	if err != nil {
		return err
	}
	s.slot = slot
	s.release = append(s.release, func() { d.slots.give(slot) })
	if err := d.slots.open(slot); err != nil {
		return err
	}
	done(lambent.StageSandbox)
	if err := s.makeTmp(d, kind.tmpMB); err != nil {
		return err
	}
	done(lambent.StageFiles)
	s.start()
	s.run(func() {
		// File system attributes as well: a thread that shares them cannot change
		// its mount namespace later.
		err = os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNET|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS))
		unix.Umask(0o022) // the thread's own now, as AWS has it
		if err == nil {
			err = os.NewSyscallError("set host name", unix.Sethostname([]byte(guestHostname)))
		}
	})
	if err != nil {
		return err
	}
	done(lambent.StageSandbox)
	s.run(func() { err = s.makeNetwork(d.network) })
	if err != nil {
		return err
	}
	done(lambent.StageNetwork)
	return nil
}

// start starts the thread. It ends when orders is closed, at the latest by
// discard or finish; the one who closes it does not need to wait.
func (s *shell) start() {
	orders := make(chan func())
	s.orders = orders
	go ownThread(func() {
		for f := range orders {
			f()
		}
	})
}

// run runs f on the shell's thread.
func (s *shell) run(f func()) {
	done := make(chan struct{})
	s.orders <- func() {
		defer close(done)
		f()
	}
	<-done
}

// makeTmp makes /tmp of this size, unless that is what there is.
func (s *shell) makeTmp(d *Driver, mb int) error {
	if s.tmp != nil && s.tmp.mb == mb {
		return nil
	}
	s.closeTmp()
	v, err := d.mountTmp(mb)
	if err != nil {
		return fmt.Errorf("make /tmp: %w", err)
	}
	v.mapTo(s.slot.userns)
	s.tmp = v
	return nil
}

// inheritTmp puts a predecessor's /tmp in place of the empty one.
func (s *shell) inheritTmp(v *volume) error {
	if err := v.remount(); err != nil {
		return fmt.Errorf("mount the kept /tmp: %w", err)
	}
	if v.mapTo(s.slot.userns); !v.mapped {
		return errors.New("mount the kept /tmp: its files would be somebody else's")
	}
	s.closeTmp()
	s.tmp = v
	return nil
}

// layTmp mounts the usual /tmp, which most functions want, in the calling thread's tree.
func (s *shell) layTmp() error {
	if err := attach(s.tmp.fd, "/tmp"); err != nil {
		return fmt.Errorf("mount /tmp: %w", err)
	}
	s.tmp.closeMount()
	s.laid = true
	return nil
}

// takeTmp gives the volume to the instance that it is mounted in.
func (s *shell) takeTmp() *volume {
	v := s.tmp
	s.tmp = nil
	v.closeMount()
	return v
}

func (s *shell) closeTmp() {
	if s.tmp != nil {
		_ = s.tmp.Close()
		s.tmp = nil
	}
}

// makeNetwork runs on the shell's thread. [lambent.NetworkNone] is loopback too:
// the Runtime API needs one, and nobody else is on it.
func (s *shell) makeNetwork(n *network) error {
	if err := loopbackUp(); err != nil {
		return err
	}
	l, err := listen(context.Background(), runtimeAPIAddress)
	if err != nil {
		return fmt.Errorf("open the Runtime API: %w", err)
	}
	s.listener = l
	s.release = append(s.release, func() { _ = l.Close() })
	if n == nil || s.network != lambent.NetworkOutbound {
		return nil
	}
	link, err := n.connect(s.slot.n)
	if err != nil {
		return err
	}
	s.link = link
	s.release = append(s.release, func() { _ = n.remove(link) })
	return nil
}

// finish ends the thread and closes what the instance has its own copy of; the
// rest is the instance's now.
func (s *shell) finish() {
	s.endThread()
	s.closeTmp()
}

// endThread ends the thread, unless it has: a process is in the namespaces now.
func (s *shell) endThread() {
	if s.orders != nil {
		close(s.orders)
		s.orders = nil
	}
}

// discard gives everything back.
func (s *shell) discard() {
	s.finish()
	for _, f := range slices.Backward(s.release) {
		f()
	}
}

// shells keeps a few of the usual kind ready.
type shells struct {
	driver *Driver
	ready  chan *shell   // as many as are kept
	kick   chan struct{} // holds a token when one may be missing
	stop   chan struct{}
	work   sync.WaitGroup

	hits, misses atomic.Int64
}

// memory is what the shells that are kept hold, in bytes.
func (s *shells) memory() int64 { return int64(cap(s.ready)) * slotMemory }

// shellsKey names them among the reserves.
const shellsKey = "sandbox"

// describe lists them as a reserve for whatever runtime, if any are kept.
func (s *shells) describe() []sandbox.Reserve {
	if cap(s.ready) == 0 {
		return nil
	}
	ready := len(s.ready)
	return []sandbox.Reserve{{Runtime: "any", Key: shellsKey, Ready: ready, Wanted: cap(s.ready),
		MemoryBytes: int64(ready) * slotMemory, Hits: s.hits.Load(), Misses: s.misses.Load()}}
}

func newShells(d *Driver, keep int) *shells {
	s := &shells{driver: d, ready: make(chan *shell, keep), kick: make(chan struct{}, 1), stop: make(chan struct{})}
	if keep > 0 {
		s.kick <- struct{}{}
		s.work.Go(s.run)
	}
	return s
}

// take gives a shell that was made ahead, or nil.
func (s *shells) take(network lambent.Network) *shell {
	if network != usual.network {
		return nil
	}
	select {
	case sh := <-s.ready:
		s.hits.Add(1)
		return sh
	default:
		s.misses.Add(1)
		return nil
	}
}

// refill makes up for what was taken, in the background. It is called when a
// start is through, so as not to take the processor from it.
func (s *shells) refill() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *shells) run() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.kick:
		}
		for len(s.ready) < cap(s.ready) {
			s.driver.traffic.wait(s.stop)
			sh, err := s.driver.newShell(usual, func(string) {})
			if err != nil {
				// Not lost: the next start makes its own and tells what is wrong.
				if !errors.Is(err, errNoSlot) {
					s.driver.opts.Log.Warn("cannot prepare a sandbox ahead", "err", err)
				}
				break
			}
			s.ready <- sh // has room: nobody else puts any in
			if s.pause() {
				return
			}
		}
	}
}

// pause leaves the processor to starts for a moment; true means stop.
func (s *shells) pause() bool {
	select {
	case <-s.stop:
		return true
	case <-time.After(2 * time.Millisecond):
		return false
	}
}

// close ends the making and gives back what is ready.
func (s *shells) close() {
	close(s.stop)
	s.work.Wait()
	close(s.ready)
	for sh := range s.ready {
		sh.discard()
	}
}
