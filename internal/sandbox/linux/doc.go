// Package linux is the sandbox driver of one Linux machine: an instance is a
// process tree in its own mount, pid, network, ipc, uts, cgroup and user
// namespaces, under cgroup limits (v1 or v2), without capabilities and behind a
// seccomp filter. It owns everything an instance has on the host (cgroup, loop
// device, network link, user id range) and gives it back; it refuses to know
// what the function is, where code comes from, or what the Runtime API says:
// that is package runtimeapi, whose Session it serves to each instance. Its main
// type is [Driver].
//
// There is no helper binary, and no init process where the runtime is alone. A
// goroutine on its own thread enters fresh namespaces, forks the runtime from there
// and lets the thread die, so that everything it made lives exactly as long as the
// instance.
//
// A cold start looks for a blank first: a runtime that was started, or forked from
// a warm interpreter, before anybody knew for which function. Its thread is still
// in its namespaces and puts the function's mounts there; limits and the
// environment follow. start_linux.go tells both ways, blank_linux.go what they
// share, reserve_linux.go and nodes_linux.go how many are kept of what. What has
// ever had a function ends with it.
package linux
