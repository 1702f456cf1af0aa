// A function that stays: it does what the event says. Built with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o bootstrap.wasm .
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"
)

//go:wasmimport lambent fail
func lambentFail(kind unsafe.Pointer, kindSize uint32, message unsafe.Pointer, messageSize uint32)

//go:wasmimport lambent context
func lambentContext(buffer unsafe.Pointer, size uint32) uint32

// What the host points to must not be collected.
var event, answer []byte

//go:wasmexport lambent_alloc
func alloc(size uint32) unsafe.Pointer {
	event = make([]byte, size+1)
	return unsafe.Pointer(&event[0])
}

//go:wasmexport lambent_handle
func handle(_ unsafe.Pointer, size uint32) uint64 {
	b, err := run(event[:size])
	if err != nil {
		fail("Function.ProbeError", err.Error())
		return 0
	}
	answer = append(b, 0)
	return uint64(uintptr(unsafe.Pointer(&answer[0])))<<32 | uint64(len(b))
}

func fail(kind, message string) {
	lambentFail(unsafe.Pointer(unsafe.StringData(kind)), uint32(len(kind)), unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
}

func main() {}

func init() {
	switch os.Getenv("PROBE_INIT") {
	case "exit":
		fmt.Println("leaving early")
		os.Exit(3)
	case "error":
		fail("Function.ProbeInitFailed", "the probe does not want to")
	case "sleep":
		time.Sleep(time.Hour)
	}
}

type command struct {
	Do   string
	Args []string
	N    int
}

var (
	kept  [][]byte
	count int
)

func run(event []byte) ([]byte, error) {
	var c command
	if err := json.Unmarshal(event, &c); err != nil {
		return nil, err
	}
	v, err := do(c)
	if raw, ok := v.([]byte); ok && err == nil {
		return raw, nil
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

func do(c command) (any, error) {
	arg := func(i int) string {
		if i < len(c.Args) {
			return c.Args[i]
		}
		return ""
	}
	switch c.Do {
	case "echo":
		return c.Args, nil
	case "error":
		return nil, errors.New(arg(0))
	case "exit":
		os.Exit(c.N)
	case "panic":
		panic(arg(0))
	case "count":
		count++
		return count, nil
	case "sleep":
		time.Sleep(time.Duration(c.N) * time.Millisecond)
		return "slept", nil
	case "spin":
		for n := uint32(0); ; n++ {
			count += int(n)
		}
	case "recurse":
		return recurse(c.N), nil
	case "deep":
		return deep(0), nil
	case "print":
		for range c.N {
			switch {
			case arg(2) == "one megabyte":
				for range 1 << 16 {
					fmt.Print(arg(0))
				}
			default:
				fmt.Println(arg(0))
			}
		}
		if arg(2) == "" {
			fmt.Fprint(os.Stderr, arg(1))
		}
		return nil, nil
	case "allocate":
		b := make([]byte, c.N<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		kept = append(kept, b)
		return c.N, nil
	case "big":
		return []byte(strings.Repeat("x", c.N)), nil
	case "context":
		b := make([]byte, 64<<10)
		return b[:lambentContext(unsafe.Pointer(&b[0]), uint32(len(b)))], nil
	}
	return files(c, arg)
}

func recurse(n int) int {
	if n == 0 {
		return 1
	}
	return recurse(n-1) + recurse(n-1)
}

func deep(n int) int { return deep(n+1) + 1 }

func files(c command, arg func(int) string) (any, error) {
	switch c.Do {
	case "env":
		return os.Environ(), nil
	case "cwd":
		return os.Getwd()
	case "read":
		b, err := os.ReadFile(arg(0))
		return string(b), err
	case "write":
		return nil, os.WriteFile(arg(0), []byte(arg(1)), 0o644)
	case "symlink":
		return nil, os.Symlink(arg(0), arg(1))
	case "remove":
		return nil, os.Remove(arg(0))
	case "rename":
		return nil, os.Rename(arg(0), arg(1))
	case "mkdir":
		return nil, os.Mkdir(arg(0), 0o755)
	case "list":
		entries, err := os.ReadDir(arg(0))
		names := []string{}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names, err
	case "fill":
		f, err := os.Create(arg(0))
		if err != nil {
			return nil, err
		}
		b := make([]byte, 1<<20)
		for n := range c.N {
			if _, err := f.Write(b); err != nil {
				return fmt.Sprint(n, " ", err), nil
			}
		}
		return "all", f.Close()
	case "open":
		for n := range c.N {
			if _, err := os.Open(arg(0)); err != nil {
				return n, nil
			}
		}
		return c.N, nil
	}
	return nil, fmt.Errorf("no such thing to do: %q", c.Do)
}
