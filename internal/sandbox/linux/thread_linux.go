package linux

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs f on an operating system thread that f may change for good
// (namespaces, working directory, cgroup): the thread ends with f. It returns
// when f has.
func onOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ownThread(f)
	}()
	<-done
}

// ownThread runs on a goroutine that ends right after, without unlocking.
func ownThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The process's first thread never ends; Go would park it, changed, for
		// ever. Hold it while another one does the work.
		onOwnThread(f)
		runtime.UnlockOSThread()
		return
	}
	f()
}
