// Command probe is a Lambda runtime whose handler does what the event says. It
// runs in the sandbox under test and tries what a function might try: it speaks
// the Runtime API with nothing but the standard library, so that what it can and
// cannot do is the sandbox's doing.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// event is what the test sends.
type event struct {
	Do   string   `json:"do"`
	Args []string `json:"args"`
	N    int      `json:"n"`
}

func main() {
	if len(os.Args) > 1 {
		child(os.Args[1])
		return
	}
	begin()
	switch os.Getenv("PROBE_INIT") {
	case "exit":
		fmt.Println("leaving early")
		os.Exit(3)
	case "sleep":
		time.Sleep(time.Hour)
	case "error":
		post("/init/error", "Function.ProbeInitFailed", []byte(`{"errorType":"Function.ProbeInitFailed","errorMessage":"as asked"}`))
		os.Exit(1)
	}
	for {
		serve()
	}
}

// child is what the probe's own children do.
func child(what string) {
	switch what {
	case "sleep":
		time.Sleep(time.Hour)
	case "write":
		for {
			fmt.Println("still here")
			time.Sleep(time.Millisecond)
		}
	}
}

func base() string { return "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime" }

func serve() {
	resp, err := http.Get(base() + "/invocation/next")
	if err != nil {
		fmt.Println("next:", err)
		os.Exit(10)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		os.Exit(11)
	}
	id := resp.Header.Get("Lambda-Runtime-Aws-Request-Id")
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		fail(id, fmt.Errorf("event: %w", err))
		return
	}
	answer, err := run(e)
	if err != nil {
		fail(id, err)
		return
	}
	out, err := json.Marshal(answer)
	if err != nil {
		fail(id, err)
		return
	}
	post("/invocation/"+id+"/response", "", out)
}

func fail(id string, err error) {
	var typed interface{ errorType() string }
	name := "Function.ProbeError"
	if errors.As(err, &typed) {
		name = typed.errorType()
	}
	b, _ := json.Marshal(map[string]string{"errorType": name, "errorMessage": err.Error()})
	post("/invocation/"+id+"/error", name, b)
}

func post(path, errorType string, body []byte) {
	req, err := http.NewRequest(http.MethodPost, base()+path, bytes.NewReader(body))
	if err != nil {
		os.Exit(12)
	}
	if errorType != "" {
		req.Header.Set("Lambda-Runtime-Function-Error-Type", errorType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Println("post:", err)
		os.Exit(13)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}
