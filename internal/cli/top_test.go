package cli

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/client"
)

func TestTopOf(t *testing.T) {
	before := []client.Scale{
		{Function: "a", Version: "1", Calls: 10, Failed: 1},
		{Function: "b", Version: "1", Calls: 10, Failed: 10},
		{Function: "c", Version: "1", Calls: 500},
	}
	now := []client.Scale{
		{Function: "a", Version: "1", Calls: 14, Failed: 2},
		{Function: "b", Version: "1", Calls: 6, Failed: 4}, // forgotten, and called again
		{Function: "c", Version: "1", Calls: 500, MemoryBytes: 1},
		{Function: "d", Version: "2", Calls: 40},
	}
	want := map[string][2]float64{"d": {20, 0}, "b": {3, 2}, "a": {2, .5}, "c": {0, 0}}
	var order []string
	for _, v := range topOf(before, now, nil, 2*time.Second) {
		order = append(order, v.Function)
		if got := [2]float64{v.CallsPerSecond, v.FailedPerSecond}; got != want[v.Function] {
			t.Errorf("%s: %v", v.Function, got)
		}
	}
	if !reflect.DeepEqual(order, []string{"d", "b", "a", "c"}) {
		t.Error(order)
	}
	if got := topOf(before, now, []string{"c"}, time.Second); len(got) != 1 || got[0].Function != "c" {
		t.Error(got)
	}
}

// A terminal gets each look in place of the last one, and no more than fits.
func TestTopOnTerminal(t *testing.T) {
	out := &bytes.Buffer{}
	a := &app{State: &State{Stdout: out, StdoutTerminal: true}}
	lines := make([]topLine, 100)
	for n := range lines {
		lines[n].Function = fmt.Sprint("f", n)
	}
	if err := a.showTop(lines); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if !strings.HasPrefix(text, "\x1b[H\x1b[J") || !strings.Contains(text, "the busiest 30 of 100 versions\n") {
		t.Errorf("%.200q", text)
	}
	if n := strings.Count(text, "\n"); n != topRows+2 {
		t.Errorf("%d lines", n)
	}
}
