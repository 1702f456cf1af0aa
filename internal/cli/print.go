package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"lambent.dev/lambent/internal/client"
)

// printf writes to standard output.
func (a *app) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.Stdout, format, args...)
	return err
}

// note writes to standard error, where it does not get into a pipe.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.Stderr, format+"\n", args...) // there is nowhere to tell it
}

// printJSON writes v as indented JSON.
func (a *app) printJSON(v any) error {
	encoder := json.NewEncoder(a.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// printLine writes v as one line of JSON.
func (a *app) printLine(v any) error {
	encoder := json.NewEncoder(a.Stdout)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// table writes rows in columns. What came from a server is made printable.
func (a *app) table(rows [][]string) error {
	w := tabwriter.NewWriter(a.Stdout, 0, 4, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = printable(row[i])
		}
		if _, err := io.WriteString(w, strings.TrimRight(strings.Join(row, "\t"), "\t")+"\n"); err != nil {
			return err
		}
	}
	return w.Flush()
}

// printable replaces control characters, which could drive a terminal.
func printable(s string) string { return strings.Map(visible, s) }

func visible(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 {
		return '�'
	}
	return r
}

// terminalText is what a function wrote, made harmless for a terminal: only tabs
// and line ends stay of its control characters.
func terminalText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' {
			return r
		}
		return visible(r)
	}, s)
}

// failureText is what a function said when it failed, in lines.
func failureText(e *client.FunctionError) string {
	return terminalText(strings.TrimSpace(strings.TrimSuffix(e.Type+": "+e.Message, ": ")))
}

// sdkHint says what to do about an SDK that AWS's runtimes have and those here have not;
// "" is that the failure is another one.
func sdkHint(e *client.FunctionError) string {
	if e.Type != "Runtime.ImportModuleError" {
		return ""
	}
	for _, sdk := range []struct{ sign, text string }{
		{"No module named 'boto", "boto3 comes with the function, by its requirements.txt, or with the runtime: `lambent runtime install python3.12 --with boto3`, as the function's runtime is called"},
		{"'@aws-sdk/", "the SDK comes with the function: npm install the package that is named, and deploy again"},
		{"aws-sdk", "the SDK comes with the function, or in a layer"},
	} {
		if strings.Contains(e.Message, sdk.sign) {
			return sdk.text
		}
	}
	return ""
}

// ofCalls is what calls took, where there were any.
func ofCalls(calls uint64, ms float64) string {
	if calls == 0 {
		return "-"
	}
	return millis(ms)
}

// millis is a number of milliseconds as a person reads it.
func millis(ms float64) string {
	switch {
	case ms >= 10_000:
		return strconv.FormatFloat(ms/1000, 'f', 1, 64) + " s"
	case ms >= 100:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(ms, 'f', 2, 64) + " ms"
}

// bytesText is a number of bytes as a person reads it.
func bytesText(n int64) string {
	switch {
	case n >= 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	case n >= 1<<10:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	}
	return strconv.FormatInt(n, 10) + " B"
}

// Progress appears after spinDelay, so that quick commands stay quiet.
const (
	spinDelay = time.Second
	spinEvery = 120 * time.Millisecond
)

// spin shows on a terminal that something is under way, until the function it
// returns is called. Elsewhere it does nothing.
func (a *app) spin(label string) (stop func()) {
	if !a.StderrTerminal {
		return func() {}
	}
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() { a.turn(label, quit) }) // stop waits for it
	return sync.OnceFunc(func() {
		close(quit)
		done.Wait()
	})
}

// turn draws the spinner until quit, and then removes it.
func (a *app) turn(label string, quit <-chan struct{}) {
	begin := time.Now()
	select {
	case <-quit:
		return
	case <-time.After(spinDelay):
	}
	tick := time.NewTicker(spinEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		_, _ = fmt.Fprintf(a.Stderr, "\r%c %s %ds ", `|/-\`[i%4], label, int(time.Since(begin).Seconds()))
		select {
		case <-quit:
			_, _ = io.WriteString(a.Stderr, "\r\x1b[K")
			return
		case <-tick.C:
		}
	}
}
