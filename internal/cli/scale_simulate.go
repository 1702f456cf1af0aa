package cli

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/chart"
	"lambent.dev/lambent/internal/predict"
	"lambent.dev/lambent/internal/scale/decide"
)

// maxDecisions bounds a replay, which keeps each of its decisions: 23 days of one every
// two seconds.
const maxDecisions = 1_000_000

// scaleSimulation is what the command line says of a replay.
type scaleSimulation struct {
	set         []string
	concurrency int
	cold, took  time.Duration
	every       time.Duration
	period      time.Duration
	function    string
	decided     bool
	svg         string
	seed        uint64
}

func (a *app) scaleSimulateCommand() *cobra.Command {
	var s scaleSimulation
	cmd := a.jsonFlag(&cobra.Command{
		Use:   "simulate TRACE",
		Short: "Replay a load against other settings: instances, queue and waiting",
		Long: `Replay a load, without a server, through the autoscaler as it would have decided: with the default
settings, with those of --set, and with what the days before would have let it expect. It draws the instances, the
queue and how long requests have waited.

The trace is one that "lambent scale record" has written, or a CSV file in a format of the public Azure Functions
traces; of several functions the busiest is taken. "-" reads standard input.`,
		Example: "  lambent scale simulate shop.trace --set target=20 --set down-delay=5m --cold 800ms --svg shop.svg",
		Args:    exactly(1, "a trace file"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.scaleSimulate(args[0], s) },
	})
	f := cmd.Flags()
	f.StringArrayVar(&s.set, "set", nil, "setting to try, `NAME=VALUE` as of lambent set without scale.")
	f.IntVar(&s.concurrency, "concurrency", 10, "requests that an instance takes at the same time")
	f.DurationVar(&s.cold, "cold", 500*time.Millisecond, "what the start of an instance takes")
	f.DurationVar(&s.took, "took", 100*time.Millisecond, "what a request takes, where the trace does not say")
	f.DurationVar(&s.every, "every", 2*time.Second, "time between two decisions")
	f.DurationVar(&s.period, "period", 24*time.Hour, "after which the load comes again, for what is expected")
	f.StringVar(&s.function, "function", "", "function of the trace, instead of the busiest")
	f.BoolVar(&s.decided, "decided", false, "requests that wait start no instance themselves")
	f.StringVar(&s.svg, "svg", "", "file to draw a picture into")
	f.Uint64Var(&s.seed, "seed", 1, "of the requests' places within their minute")
	return cmd
}

func (a *app) scaleSimulate(path string, s scaleSimulation) error {
	own, err := parseScaling(s.set)
	switch {
	case err != nil:
		return err
	case s.concurrency < 1 || s.concurrency > lambent.MaxConcurrency:
		return usageError{fmt.Errorf("--concurrency: want a number from 1 to %d", lambent.MaxConcurrency)}
	case s.every < 100*time.Millisecond || s.cold < 0 || s.took < 0 || s.period < time.Minute:
		return usageError{errors.New("want --every of at least 100ms, --period of at least 1m, and no negative times")}
	}
	load, err := a.loadOf(path, s)
	if err != nil {
		return err
	}
	if lasts := predict.Length(load.Calls); lasts/s.every > maxDecisions {
		return usageError{fmt.Errorf("the calls of %s take %s, which is %d decisions, and at most %d are replayed: want --every of at least %s",
			printable(load.Function), shortDuration(lasts.Round(time.Second)), lasts/s.every, maxDecisions, shortDuration((lasts/maxDecisions).Truncate(time.Second)+time.Second))}
	}
	stop := a.spin("replaying " + filepath.Base(path))
	runs := s.replay(load, own)
	stop()
	if s.svg != "" {
		if err := a.drawReplays(s.svg, load, runs); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(replaysJSON(runs))
	}
	return a.printReplays(load, runs)
}

// loadOf reads the load of one function of a trace. It begins with its first call.
func (a *app) loadOf(path string, s scaleSimulation) (predict.Load, error) {
	trace, err := a.openTrace(path)
	if err != nil {
		return predict.Load{}, err
	}
	defer func() { _ = trace.Close() }() // only read
	var load predict.Load
	var names []string
	err = predict.ReadLoads(trace, predict.TraceOptions{Took: s.took, Rand: rand.New(rand.NewPCG(s.seed, 0))}, func(l predict.Load) {
		if len(l.Calls) > 0 && len(names) < 5 {
			names = append(names, l.Function)
		}
		if s.function == "" && len(l.Calls) > len(load.Calls) || s.function != "" && l.Function == s.function {
			load = l
		}
	})
	if err == nil && len(load.Calls) == 0 && len(names) > 0 {
		err = lambent.Errorf(lambent.CodeInvalid, "replay %s: there is no call of %s in it, but of %s and maybe others", path, s.function, strings.Join(names, ", "))
	}
	if err == nil && len(load.Calls) == 0 {
		err = lambent.Errorf(lambent.CodeInvalid, "replay %s: there is no call in it", path)
	}
	if err != nil {
		return load, err
	}
	first := load.Calls[0].At.Truncate(time.Minute)
	for i := range load.Calls {
		load.Calls[i].At -= first
	}
	return load, nil
}

// replay runs the load under each policy.
func (s scaleSimulation) replay(load predict.Load, own lambent.Scaling) []*decide.Replayed {
	options := func(name string, set lambent.Scaling) decide.ReplayOptions {
		all := decide.Settings{Scaling: set.Over(decide.Defaults())}
		all.Target = cmp.Or(all.Target, all.Mode.DefaultTarget(s.concurrency))
		all.Grace = cmp.Or(all.Grace, 5*time.Minute)
		return decide.ReplayOptions{Name: name, Settings: all, Capacity: s.concurrency, Cold: s.cold, Every: s.every, OnDemand: !s.decided}
	}
	runs := []*decide.Replayed{decide.Replay(load.Calls, options("default", lambent.Scaling{}))}
	name := "default"
	if own != (lambent.Scaling{}) {
		name = "as set"
		runs = append(runs, decide.Replay(load.Calls, options(name, own)))
	}
	foreseeing := options(name+" + forecast", own)
	foreseeing.Forecast = predict.NewForecast(predict.ForecastOptions{Period: s.period, Bin: min(time.Minute, s.period/60), Window: min(30*time.Minute, s.period/8)})
	return append(runs, decide.Replay(load.Calls, foreseeing))
}

// late is how long a request may wait without being late.
const late = 100 * time.Millisecond

type replayJSON struct {
	Policy        string  `json:"policy"`
	Calls         int     `json:"calls"`
	InstanceHours float64 `json:"instanceHours"`
	Starts        int     `json:"starts"`
	Changes       int     `json:"changes"`
	WaitP50MS     float64 `json:"waitP50Ms"`
	WaitP99MS     float64 `json:"waitP99Ms"`
	WaitMaxMS     float64 `json:"waitMaxMs"`
	Late          float64 `json:"lateShare"`
}

func replaysJSON(runs []*decide.Replayed) []replayJSON {
	var out []replayJSON
	for _, r := range runs {
		toMS := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		out = append(out, replayJSON{
			Policy: r.Name, Calls: r.Calls, InstanceHours: r.InstanceTime.Hours(), Starts: r.Starts, Changes: r.Actions,
			WaitP50MS: toMS(r.Wait(.5)), WaitP99MS: toMS(r.Wait(.99)), WaitMaxMS: toMS(r.Wait(1)), Late: r.Late(late),
		})
	}
	return out
}

func (a *app) printReplays(load predict.Load, runs []*decide.Replayed) error {
	if err := a.printf("%d calls of %s\n\n", len(load.Calls), printable(load.Function)); err != nil {
		return err
	}
	p := a.painter(1)
	for _, r := range runs {
		if err := a.printf("%s\n", r.Name); err != nil {
			return err
		}
		for _, d := range diagrams(r) {
			line, most := chart.Spark(d.values, p.width, p.plain)
			if err := a.printf("%-*s %-*s %s\n", labelWidth+2, d.title, p.width, line, d.unit(most)); err != nil {
				return err
			}
		}
	}
	rows := [][]string{{"", "INSTANCE HOURS", "STARTS", "CHANGES", "WAIT P50", "P99", "LONGEST", "LATE (OVER 100 MS)"}}
	for _, x := range replaysJSON(runs) {
		rows = append(rows, []string{
			x.Policy, strconv.FormatFloat(x.InstanceHours, 'f', 2, 64), strconv.Itoa(x.Starts), strconv.Itoa(x.Changes),
			millis(x.WaitP50MS), millis(x.WaitP99MS), millis(x.WaitMaxMS), percent(x.Late),
		})
	}
	if err := a.printf("\n"); err != nil {
		return err
	}
	return a.table(rows)
}

// diagram is one row of a replay's picture.
type diagram struct {
	title  string
	values []float64
	unit   func(float64) string
}

func diagrams(r *decide.Replayed) []diagram {
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', 3, 64) }
	all := []diagram{{"instances", nil, number}, {"running", nil, number}, {"queue", nil, number}, {"waiting", nil, millis}}
	for _, p := range r.Points {
		for i, v := range []float64{float64(p.Ready + p.Starting), float64(p.Running), float64(p.Waiting), float64(p.Wait) / float64(time.Millisecond)} {
			all[i].values = append(all[i].values, v)
		}
	}
	return all
}

// colours of the policies in a picture.
var colours = []string{"#5b8def", "#d9534f", "#3fa66b"}

// drawReplays draws all policies into the same diagrams.
func (a *app) drawReplays(path string, load predict.Load, runs []*decide.Replayed) error {
	titles := []string{"instances", "requests at a time", "queue", "longest waiting, ms"}
	panels := make([]chart.Panel, len(titles))
	var xs []float64
	for _, p := range runs[0].Points {
		xs = append(xs, p.At.Seconds())
	}
	for i, r := range runs {
		for j, d := range diagrams(r) {
			panels[j].Title = titles[j]
			values := make([]float64, len(xs)) // the last instances may go at another time
			copy(values, d.values)
			panels[j].Series = append(panels[j].Series, chart.Series{Name: r.Name, Color: colours[i%len(colours)], Values: values})
		}
	}
	panels[0].Title = load.Function + ": " + panels[0].Title
	label := func(x float64) string { return shortDuration(time.Duration(x) * time.Second) }
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.Dir, path)
	}
	return os.WriteFile(path, []byte(chart.Stack(xs, label, panels...)), 0o644) //nolint:gosec // a picture for others, too
}
