// Probe is a function that misbehaves in the way its event asks for. It speaks
// the Runtime API itself, so that it can break the rules that clients keep.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var api = "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime"

type event struct {
	Do   string
	N    int
	Text string
}

func main() {
	if len(os.Args) > 1 { // a child of the fork bomb
		time.Sleep(time.Hour)
	}
	switch os.Getenv("AT_INIT") {
	case "exit":
		os.Exit(7)
	case "error":
		post("/init/error", `{"errorType":"Probe.InitError","errorMessage":"as asked"}`)
		os.Exit(1)
	case "sleep":
		time.Sleep(time.Hour)
	case "slow":
		time.Sleep(200 * time.Millisecond)
	}
	previous := ""
	for {
		id, body := next()
		var e event
		_ = json.Unmarshal(body, &e)
		answer(id, previous, body, e)
		previous = id
	}
}

func next() (id string, body []byte) {
	resp, err := http.Get(api + "/invocation/next")
	if err != nil {
		fmt.Println("next:", err)
		os.Exit(9)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ = io.ReadAll(resp.Body)
	return resp.Header.Get("Lambda-Runtime-Aws-Request-Id"), body
}

func post(path, body string) string {
	resp, err := http.Post(api+path, "application/json", strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s", resp.StatusCode, bytes.TrimSpace(text))
}

func respond(id, body string) string { return post("/invocation/"+id+"/response", body) }

func answer(id, previous string, body []byte, e event) {
	switch e.Do {
	case "", "echo":
		respond(id, string(body))
	case "error":
		post("/invocation/"+id+"/error", `{"errorType":"Probe.Error","errorMessage":"as asked"}`)
	case "exit":
		os.Exit(e.N)
	case "busy":
		for end := time.Now().Add(time.Duration(e.N) * time.Millisecond); time.Now().Before(end); {
		}
		respond(id, `"busy"`)
	case "loop":
		for {
		}
	case "sleep":
		time.Sleep(time.Duration(e.N) * time.Millisecond)
		respond(id, `"slept"`)
	case "oom":
		eat()
	case "fork":
		respond(id, strconv.Quote(forkBomb()))
	case "filltmp":
		respond(id, strconv.Quote(fillTmp()))
	case "log":
		line := strings.Repeat("x", 99) + "\n"
		block := []byte(strings.Repeat(line, 1000))
		for range e.N * 10 { // MB
			_, _ = os.Stdout.Write(block)
		}
		respond(id, `"logged"`)
	case "closefds":
		for fd := range 1024 {
			_ = syscall.Close(fd)
		}
		time.Sleep(time.Hour)
	case "twice":
		first, second := respond(id, `"first"`), respond(id, `"second"`)
		fmt.Printf("twice: %s / %s\n", first, second)
	case "other":
		wrong := respond("00000000-0000-0000-0000-000000000000", `"stolen"`)
		old := respond(previous, `"late"`)
		respond(id, strconv.Quote(wrong+" / "+old))
	case "nonext":
		respond(id, `"answered"`)
		time.Sleep(time.Hour)
	case "size":
		respond(id, `"`+strings.Repeat("a", e.N-2)+`"`)
	case "garbage":
		garbage(id)
		respond(id, `"survived"`)
	case "count":
		respond(id, strconv.Quote(count()))
	case "print":
		fmt.Println(e.Text)
		respond(id, `"printed"`)
	default:
		respond(id, `"unknown"`)
	}
}

var counted int

// count counts in the process and in a file.
func count() string {
	counted++
	text, _ := os.ReadFile("/tmp/count")
	n, _ := strconv.Atoi(string(text))
	if err := os.WriteFile("/tmp/count", []byte(strconv.Itoa(n+1)), 0o600); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("count %d, file %d", counted, n+1)
}

// eat takes memory until something stops it.
func eat() {
	var hold [][]byte
	for {
		b := make([]byte, 16<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		hold = append(hold, b)
		if len(hold) > 4096 {
			return
		}
	}
}

// forkBomb starts children until that is refused and tells how it ended.
func forkBomb() string {
	for n := range 5000 {
		if err := exec.Command("/proc/self/exe", "child").Start(); err != nil {
			return fmt.Sprintf("stopped after %t: %v", n > 10, err)
		}
	}
	return "never stopped"
}

func fillTmp() string {
	f, err := os.Create("/tmp/fill")
	if err != nil {
		return err.Error()
	}
	defer func() { _ = os.Remove("/tmp/fill") }()
	defer func() { _ = f.Close() }()
	block := make([]byte, 1<<20)
	for n := 0; ; n++ {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return fmt.Sprintf("full after %d", n)
		} else if err != nil {
			return err.Error()
		}
	}
}

// garbage sends what is no HTTP to the Runtime API.
func garbage(id string) {
	for _, text := range []string{
		"\x00\x01\x02\r\n\r\n",
		"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"POST /2018-06-01/runtime/invocation/none-" + id + "/response HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nshort",
		strings.Repeat("A", 1<<20),
	} {
		conn, err := net.Dial("tcp", os.Getenv("AWS_LAMBDA_RUNTIME_API"))
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write([]byte(text))
		_, _ = io.CopyN(io.Discard, conn, 1)
		_ = conn.Close()
	}
}
