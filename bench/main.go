// Bench measures the built lambent beside what it is compared with, on the same
// machine in the same run, and writes bench/results/<case>.json and
// bench/REPORT.md. What it prints are ratios or differences with their spread
// over several rounds that alternate between the two sides, because single
// numbers of a shared machine mean little. It is a program, not a test: nothing
// fails here because a bar is missed, but the report says so.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

// options of a run.
type options struct {
	rounds    int
	last      time.Duration // of one closed loop
	functions int           // registered for the memory case
	colds     int           // cold starts per runtime
	events    int           // that wait in the case of events
	only      string
	root      string // of the repository, which is the working directory
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each comparison")
	flag.DurationVar(&o.last, "time", 2*time.Second, "length of one closed loop")
	flag.IntVar(&o.functions, "functions", 10_000, "functions registered for the memory case")
	flag.IntVar(&o.colds, "colds", 50, "cold starts of each runtime")
	flag.IntVar(&o.events, "events", 50_000, "events that wait in the case of events; the aim is said for 1000000")
	flag.StringVar(&o.only, "only", "", "run only the case of this name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("sandboxes need root")
	}
	if !slices.ContainsFunc(cases, func(c benchmark) bool { return o.only == "" || o.only == c.name }) {
		return fmt.Errorf("there is no case %q", o.only)
	}
	var err error
	if o.root, err = os.Getwd(); err != nil {
		return err
	}
	host := describeHost(o.root)
	fmt.Println(host)
	var results []result
	for _, c := range cases {
		if o.only != "" && o.only != c.name {
			continue
		}
		fmt.Printf("%s ...\n", c.title)
		b, err := newBed(ctx, o)
		if err != nil {
			return err
		}
		rs, err := c.measure(ctx, b)
		b.close()
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		for _, r := range rs {
			r.Case = c.name
			fmt.Println("  " + r.String())
			results = append(results, r)
		}
	}
	return write(o.root, host, results)
}
