// Command extension is an external extension that tells what it is told. With TELEMETRY
// or LOGS set to types of events and a destination, it subscribes to those and prints
// them. WITNESS says how it behaves otherwise, after "name:" only that of this name.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

var (
	api  = "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API")
	name = filepath.Base(os.Args[0])
)

func main() {
	for _, variable := range []string{"_HANDLER", "LAMBDA_TASK_ROOT", "AWS_LAMBDA_LOG_GROUP_NAME"} {
		if os.Getenv(variable) != "" {
			say("has the runtime's", variable)
		}
	}
	behaves := os.Getenv("WITNESS")
	if whose, how, found := strings.Cut(behaves, ":"); found {
		behaves = ""
		if whose == name {
			behaves = how
		}
	}
	switch behaves {
	case "late":
		time.Sleep(200 * time.Millisecond)
	case "absent":
		stay()
	case "stillborn":
		os.Exit(4)
	}
	listen()
	id := register()
	switch behaves {
	case "init/error":
		giveUp(id, behaves)
	case "mute":
		stay()
	}
	if body := os.Getenv("TELEMETRY"); body != "" {
		say("subscribed:", string(ask(http.MethodPut, "/2022-07-01/telemetry", id, body)))
	}
	if body := os.Getenv("LOGS"); body != "" {
		say("subscribed:", string(ask(http.MethodPut, "/2020-08-15/logs", id, body)))
	}
	for {
		var event struct{ EventType, ShutdownReason string }
		if err := json.Unmarshal(ask(http.MethodGet, "/2020-01-01/extension/event/next", id, ""), &event); err != nil {
			panic(err)
		}
		say(event.EventType, event.ShutdownReason)
		switch {
		case event.EventType == "SHUTDOWN":
			switch behaves {
			case "lingers":
				time.Sleep(700 * time.Millisecond)
			case "stays":
				stay()
			}
			say("at rest", fmt.Sprint(time.Now().UnixMilli()))
			return
		case behaves == "crash":
			os.Exit(3)
		case behaves == "slow":
			time.Sleep(1500 * time.Millisecond)
			say("has come to it")
		case behaves == "works":
			time.Sleep(300 * time.Millisecond)
			say("has done its work")
		case behaves == "exit/error":
			giveUp(id, behaves)
		}
	}
}

func say(words ...string) { fmt.Println(name+":", strings.Join(words, " ")) }

// giveUp reports an error and stays.
func giveUp(id, verb string) {
	req, err := http.NewRequest(http.MethodPost, api+"/2020-01-01/extension/"+verb, strings.NewReader("{}"))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Lambda-Extension-Identifier", id)
	req.Header.Set("Lambda-Extension-Function-Error-Type", "Extension.Boom")
	if _, err := http.DefaultClient.Do(req); err != nil {
		panic(err)
	}
	stay()
}

// stay does nothing for good.
func stay() { time.Sleep(time.Hour) }

// listen prints the events that come: as arrays at port 4243, one by one at 4244.
// Those of its own printing are left out, or there would be no end.
func listen() {
	posts, err := net.Listen("tcp", "sandbox.localdomain:4243")
	if err != nil {
		return // another one does
	}
	go func() {
		panic(http.Serve(posts, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var batch []json.RawMessage
			if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
				panic(err)
			}
			for _, e := range batch {
				show(e)
			}
		})))
	}()
	lines, err := net.Listen("tcp", "sandbox.localdomain:4244")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := lines.Accept()
			if err != nil {
				panic(err)
			}
			go func() {
				for in := json.NewDecoder(c); ; {
					var e json.RawMessage
					if in.Decode(&e) != nil {
						return
					}
					show(e)
				}
			}()
		}
	}()
}

func show(e json.RawMessage) {
	if !strings.Contains(string(e), "told: ") {
		fmt.Printf("told: %s\n", e)
	}
}

func register() string {
	req, err := http.NewRequest(http.MethodPost, api+"/2020-01-01/extension/register", strings.NewReader(`{"events":["INVOKE","SHUTDOWN"]}`))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Lambda-Extension-Name", name)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	say("registered for", string(body))
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
