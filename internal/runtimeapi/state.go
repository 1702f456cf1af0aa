package runtimeapi

// state is where the runtime stands in the protocol.
type state uint8

// The states, named in refusals as AWS names them. expired and exited are ours:
// AWS ends the process and with it the conversation, but a child of a dead
// runtime, or a runtime that is about to be ended, can still speak.
const (
	starting   state = iota // the process exists and has not asked for anything
	initFailed              // it has reported an init error: there is no way back
	ready                   // it waits in /next
	running                 // it has the event
	responding              // its answer is being received
	reporting               // its error is being received
	answered                // the answer is here, it may do what is left before /next
	expired                 // the caller has given the event up
	exited                  // the process is gone
	states
)

// step is what a runtime can ask for that moves it.
type step uint8

const (
	stepNext      step = iota // GET  /runtime/invocation/next
	stepResponse              // POST /runtime/invocation/{id}/response
	stepError                 // POST /runtime/invocation/{id}/error
	stepInitError             // POST /runtime/init/error
	steps
)

// stateNames are AWS's names of the states, for refusals.
var stateNames = [states]string{
	starting:   "Started",
	initFailed: "InitError",
	ready:      "Ready",
	running:    "Running",
	responding: "InvocationResponse",
	reporting:  "InvocationErrorResponse",
	answered:   "ResponseSent",
	expired:    "Expired",
	exited:     "Exited",
}

// targets are the states that steps lead to, where they are allowed.
var targets = [steps]state{
	stepNext:      ready,
	stepResponse:  responding,
	stepError:     reporting,
	stepInitError: initFailed,
}

// allowed is the whole protocol: which step may be taken in which state.
//
// A /next while running asks for the same event again, which a client does when
// its connection broke before it had read all of it. A /next while expired is
// let in to wait for an event that will not come, so that a runtime whose answer
// was too late sees no second error before it is ended.
var allowed = [states][steps]bool{
	starting:   {stepNext: true, stepInitError: true},
	initFailed: {},
	ready:      {stepNext: true},
	running:    {stepNext: true, stepResponse: true, stepError: true},
	responding: {},
	reporting:  {},
	answered:   {stepNext: true},
	expired:    {stepNext: true},
	exited:     {},
}

// after is the state that step leads to from s; ok is false where the protocol
// forbids it, and the state then stays s.
func (s state) after(t step) (next state, ok bool) {
	if !allowed[s][t] {
		return s, false
	}
	if t == stepNext && (s == running || s == expired) {
		return s, true
	}
	return targets[t], true
}

func (s state) String() string { return stateNames[s] }

// refusal is the message of AWS's InvalidStateTransition.
func (s state) refusal(t step) string {
	return "State transition from " + s.String() + " to " + targets[t].String() +
		" failed for runtime. Error: State transition is not allowed"
}
