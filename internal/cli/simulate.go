package cli

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/predict"
)

// simulation is what the command line says of a replay.
type simulation struct {
	cold, took time.Duration
	memory     string
	fixed      []time.Duration
	seed       uint64
}

func (a *app) simulateCommand() *cobra.Command {
	var s simulation
	cmd := &cobra.Command{
		Use:   "simulate TRACE",
		Short: "Replay a trace of invocations: cold starts and idle memory under several policies",
		Long: `Replay a trace of invocations, without a server, and print for several ways to keep
idle instances how many calls would have met a cold start and how much memory would have waited in vain.

The trace is a CSV file in a format of the public Azure Functions traces: calls per minute
(HashOwner,HashApp,HashFunction,Trigger,1,2,...) or one line per call (app,func,end_timestamp,duration).
"-" reads standard input.`,
		Example: "  lambent simulate invocations_per_function_md.anon.d01.csv --cold 200ms --memory 256MB",
		Args:    exactly(1, "a trace file"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.simulate(args[0], s) },
	}
	f := cmd.Flags()
	f.DurationVar(&s.cold, "cold", 250*time.Millisecond, "what a cold start takes")
	f.StringVar(&s.memory, "memory", "128MB", "what an idle instance holds")
	f.DurationVar(&s.took, "took", 100*time.Millisecond, "what a call takes, where the trace does not say")
	f.DurationSliceVar(&s.fixed, "fixed", []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, time.Hour},
		"fixed keep-alive times to compare with")
	f.Uint64Var(&s.seed, "seed", 1, "of the calls' places within their minute")
	return a.jsonFlag(cmd)
}

func (a *app) simulate(path string, s simulation) error {
	memory, err := config.ParseSize(s.memory)
	if err != nil || memory < 1<<20 {
		return usageError{fmt.Errorf("--memory %q is no size of at least 1MB", s.memory)}
	}
	trace, err := a.openTrace(path)
	if err != nil {
		return err
	}
	defer func() { _ = trace.Close() }() // only read
	var policies []predict.Policy
	for _, d := range s.fixed {
		policies = append(policies, predict.Fixed(d))
	}
	policies = append(policies, predict.Hybrid(), predict.Ours(config.Default().Instances.Idle))
	sim := predict.NewSimulator(predict.Cost{Cold: s.cold, MemoryMB: int(memory >> 20)}, policies...)

	stop := a.spin("replaying " + filepath.Base(path))
	err = predict.ReadTrace(trace, predict.TraceOptions{Took: s.took, Rand: rand.New(rand.NewPCG(s.seed, 0))}, sim.Replay)
	stop()
	if err != nil {
		return err
	}
	if sim.Outcomes()[0].Calls == 0 {
		return lambent.Errorf(lambent.CodeInvalid, "replay %s: there is no call in it", path)
	}
	return a.printOutcomes(sim)
}

func (a *app) openTrace(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.Stdin), nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.Dir, path)
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, lambent.Errorf(lambent.CodeNotFound, "there is no file %s", path)
	}
	return f, err
}

// outcomeJSON is a policy's line with --json.
type outcomeJSON struct {
	Policy    string  `json:"policy"`
	Functions int     `json:"functions"`
	Calls     int     `json:"calls"`
	Cold      int     `json:"coldStarts"`
	Rate      float64 `json:"coldStartRate"`
	Median    float64 `json:"functionMedianRate"`
	Third     float64 `json:"function75thPercentileRate"`
	Wasted    float64 `json:"wastedMegabyteSeconds"`
}

func (a *app) printOutcomes(sim *predict.Simulator) error {
	var list []outcomeJSON
	for _, o := range sim.Outcomes() {
		list = append(list, outcomeJSON{
			Policy: o.Policy, Functions: o.Functions, Calls: o.Calls, Cold: o.Cold, Rate: o.Rate(),
			Median: o.Quantile(.5), Third: o.Quantile(.75), Wasted: o.Wasted,
		})
	}
	if a.json {
		return a.printJSON(list)
	}
	if err := a.printf("%d calls of %d functions\n\n", list[0].Calls, list[0].Functions); err != nil {
		return err
	}
	rows := [][]string{{"KEEPING", "COLD STARTS", "RATE", "OF A FUNCTION (50%, 75%)", "WASTED", "WASTED PER CALL"}}
	for _, o := range list {
		rows = append(rows, []string{
			o.Policy, strconv.Itoa(o.Cold), percent(o.Rate), percent(o.Median) + ", " + percent(o.Third),
			fmt.Sprintf("%.0f GB s", o.Wasted/1024), fmt.Sprintf("%.2f MB s", o.Wasted/float64(o.Calls)),
		})
	}
	return a.table(rows)
}

func percent(f float64) string { return strconv.FormatFloat(100*f, 'f', 2, 64) + " %" }
