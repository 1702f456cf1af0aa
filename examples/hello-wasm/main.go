// Answers with a greeting: the event comes on standard input, the answer goes to
// standard output.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	event := struct {
		Name string `json:"name"`
	}{Name: "stranger"}
	if err := json.NewDecoder(os.Stdin).Decode(&event); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answer := map[string]string{"message": "Hello, " + event.Name + "!", "platform": "wasm"}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		os.Exit(1)
	}
}
