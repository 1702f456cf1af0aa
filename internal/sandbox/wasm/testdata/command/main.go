// A command: the event is its input, the answer its output.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

var runs int

func main() {
	event, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	runs++
	text := string(event)
	word, rest, _ := strings.Cut(strings.Trim(text, `"`), " ")
	switch word {
	case "exit":
		fmt.Fprintln(os.Stderr, "leaving")
		os.Exit(7)
	case "error":
		fmt.Print(`{"errorType":"Function.Oops","errorMessage":"oh no"}`)
		os.Exit(1)
	case "sleep":
		time.Sleep(time.Hour)
	case "spin":
		for {
			runs++
		}
	case "grow":
		var all [][]byte
		for {
			all = append(all, make([]byte, 1<<20))
		}
	case "runs":
		fmt.Print(runs)
	case "env":
		fmt.Print(strings.Join(os.Environ(), "\n"))
	case "big":
		fmt.Print(strings.Repeat("x", 7<<20))
	case "trap":
		var p *int
		fmt.Print(*p)
	case "log":
		fmt.Fprintln(os.Stderr, rest)
		fmt.Print("null")
	default:
		fmt.Print(text)
	}
}
