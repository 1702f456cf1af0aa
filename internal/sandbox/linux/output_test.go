package linux

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

type lines struct {
	mu   sync.Mutex // guards text
	text []string
}

func (l *lines) WriteLine(_ time.Time, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
}

// TestOutputDrain: what was written before a drain has arrived after it, while
// the reader runs, and the end of the writer ends the reader.
func TestOutputDrain(t *testing.T) {
	to := &lines{}
	o, w, err := newOutput(to)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(o.run)
	for n := range 2000 {
		fmt.Fprintf(w, "line %d\n", n)
		o.drain()
		to.mu.Lock()
		got := len(to.text)
		to.mu.Unlock()
		if got != n+1 {
			t.Fatalf("%d lines after %d", got, n+1)
		}
	}
	w.Close()
	wg.Wait()
	o.drain() // harmless afterwards
	o.pipe.Close()
	o.drain()
}
