// Command files serves the files of its directory, and changes them, for tests of
// images: what it may do there, and as whom, is what it answers with.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) > 1 { // as another user
		fmt.Printf("%d:%d %v", os.Getuid(), os.Getgid(), os.WriteFile("/tmp/of-"+os.Args[1], nil, 0o600))
		return
	}
	go func() {
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGUSR1)
		<-end
		fmt.Println("asked to end")
		os.Exit(0)
	}()
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), http.HandlerFunc(serve)))
}

// serve answers for /NAME with a file, for /write/NAME with what it made of it, for
// /env/NAME with a variable, for
// /sum/N with the sum of the files data/0 to N, and for /as/UID as that user.
func serve(w http.ResponseWriter, r *http.Request) {
	path, _ := url.PathUnescape(r.URL.EscapedPath())
	path = strings.TrimPrefix(path, "/")
	verb, rest, _ := strings.Cut(path, "/")
	var answer string
	var err error
	switch verb {
	case "as":
		answer, err = as(rest)
	case "env":
		answer = os.Getenv(rest)
	case "sum":
		if answer, err = sum(rest); err != nil {
			fmt.Println("cannot read:", err)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
	case "write":
		answer, err = write(rest)
	default:
		var content []byte
		if content, err = os.ReadFile(path); err != nil {
			answer, err = "no file", nil
		} else {
			answer = string(content)
		}
	}
	if err != nil {
		answer = err.Error()
	}
	_, _ = io.WriteString(w, answer)
}

func as(user string) (string, error) {
	id, err := strconv.Atoi(user)
	if err != nil {
		return "", err
	}
	cmd := exec.Command("/proc/self/exe", user)
	if id != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(id), Gid: uint32(id)}}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func sum(last string) (string, error) {
	n, err := strconv.Atoi(last)
	if err != nil {
		return "", err
	}
	h, total := sha256.New(), int64(0)
	for i := range n + 1 {
		f, err := os.Open("data/" + strconv.Itoa(i))
		if err != nil {
			return "", err
		}
		copied, err := io.Copy(h, f)
		_ = f.Close()
		if err != nil {
			return "", err
		}
		total += copied
	}
	return fmt.Sprintf("%d %x", total, h.Sum(nil)), nil
}

func write(name string) (string, error) {
	if err := os.WriteFile(name, []byte("changed"), 0o644); err != nil {
		return "", err
	}
	if err := os.WriteFile("/etc/made", nil, 0o644); err != nil {
		return "", err
	}
	content, err := os.ReadFile(name)
	return string(content), err
}
