// Command extension is an external extension that tells what it is told.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

var api = "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2020-01-01/extension/"

func main() {
	if os.Getenv("_HANDLER") != "" {
		fmt.Println("witness: has the handler's name")
	}
	id := register()
	for {
		var event struct{ EventType, ShutdownReason string }
		if err := json.Unmarshal(ask(http.MethodGet, "event/next", id, ""), &event); err != nil {
			panic(err)
		}
		fmt.Println("witness:", event.EventType, event.ShutdownReason)
		switch {
		case event.EventType == "SHUTDOWN":
			return
		case os.Getenv("WITNESS") == "crash":
			os.Exit(3)
		}
	}
}

func register() string {
	req, err := http.NewRequest(http.MethodPost, api+"register", strings.NewReader(`{"events":["INVOKE","SHUTDOWN"]}`))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Lambda-Extension-Name", filepath.Base(os.Args[0]))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Printf("witness: registered for %s\n", body)
	return res.Header.Get("Lambda-Extension-Identifier")
}

func ask(method, path, id, body string) []byte {
	req, err := http.NewRequest(method, api+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Lambda-Extension-Identifier", id)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		panic(err)
	}
	return out
}
