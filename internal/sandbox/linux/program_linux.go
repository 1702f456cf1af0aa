package linux

import (
	"fmt"
	"slices"
	"unsafe"
)

// program is a list of system calls, in order. Keeping what a new process does to
// itself as data has two uses: a child that shares the server's memory may run no
// Go code, and a child that another interpreter forks can be told to do the same.
// And it is a list that can be read in order and tested.
type program struct{ list []instruction }

// instruction is one system call. Its arguments are of the types int, descriptor, blob
// and words.
type instruction struct {
	name string
	nr   uintptr
	args []any
	// try marks a call that may fail: what it adds is not there on every host.
	try bool
}

// descriptor is an argument that names an open file of the server's.
type descriptor int

// blob is an argument that points to bytes, which the call may write to. It is not
// empty.
type blob []byte

// words is an argument that points to an array of machine words, each an argument
// of its own.
type words []any

// do appends a call that must succeed.
func (p *program) do(name string, nr uintptr, args ...any) {
	p.list = append(p.list, instruction{name: name, nr: nr, args: args})
}

// try appends a call that may fail.
func (p *program) try(name string, nr uintptr, args ...any) {
	p.list = append(p.list, instruction{name: name, nr: nr, args: args, try: true})
}

// text is a C string.
func text(s string) blob { return append([]byte(s), 0) }

// texts is a NULL-terminated array of C strings.
func texts(list []string) words {
	w := make(words, 0, len(list)+1)
	for _, s := range list {
		w = append(w, text(s))
	}
	return append(w, 0)
}

// plain is the memory of v, which has no pointers.
func plain[T any](v *T) blob { return array(v, 1) }

// array is the memory of the n values that v is the first of.
func array[T any](v *T, n int) blob {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), uintptr(n)*unsafe.Sizeof(*v))
}

// wire is an instruction as a zygote gets it. Arguments are numbers, {"fd":i} with
// i counting the descriptors that come with the message, {"blob":base64} for an
// address of these bytes, and {"ptr":[...]} for that of an array of words.
type wire struct {
	Name string  `json:"name"`
	NR   uintptr `json:"nr"`
	Args []any   `json:"args"`
	Try  bool    `json:"try,omitempty"`
}

type (
	wireFD struct {
		FD int `json:"fd"`
	}
	wireBlob struct {
		Blob []byte `json:"blob"`
	}
	wirePtr struct {
		Ptr []any `json:"ptr"`
	}
)

// wire gives the program and the descriptors that go with it, each once.
func (p *program) wire() (steps []wire, fds []int) {
	var put func(a any) any
	put = func(a any) any {
		switch a := a.(type) {
		case int:
			return a
		case descriptor:
			at := slices.Index(fds, int(a))
			if at < 0 {
				at = len(fds)
				fds = append(fds, int(a))
			}
			return wireFD{at}
		case blob:
			return wireBlob{a}
		case words:
			w := wirePtr{make([]any, len(a))}
			for i := range a {
				w.Ptr[i] = put(a[i])
			}
			return w
		}
		panic(fmt.Sprintf("a system call has an argument of type %T", a))
	}
	for _, in := range p.list {
		w := wire{Name: in.name, NR: in.nr, Try: in.try, Args: make([]any, len(in.args))}
		for i, a := range in.args {
			w.Args[i] = put(a)
		}
		steps = append(steps, w)
	}
	return steps, fds
}
