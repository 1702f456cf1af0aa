package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

func (a *app) reservesCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "reserves",
		Short: "Show what is kept ready for the next cold starts",
		Long: "Show the instances that wait without a function, by runtime: how many are ready and how\n" +
			"many there should be, their memory, the cold starts that found one (hits) and that did\n" +
			"not (misses). Below a runtime are its warm interpreters, with the modules that each has\n" +
			"loaded beyond its parent because functions were seen to import them.",
		Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.reserves(cmd) },
	})
}

func (a *app) reserves(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	r, err := c.Reserves(cmd.Context())
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(r)
	}
	if len(r.Reserves) == 0 {
		a.note("there are no reserves: %s", emptyBecause(r))
		return nil
	}
	rows := [][]string{{"RUNTIME", "READY", "WANTED", "MEMORY", "HITS", "MISSES", "DIED"}}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, s := range byRuntime(r.Reserves) {
		rows = append(rows, []string{
			s.Runtime, strconv.Itoa(s.Ready), strconv.Itoa(s.Wanted), bytesText(s.MemoryBytes),
			number(s.Hits), number(s.Misses), number(s.Died),
		})
		for i, n := range s.Nodes {
			rows = append(rows, []string{"  " + modulesText(n.Modules, i == 0), strconv.Itoa(n.Ready), "-", bytesText(n.MemoryBytes), "-", "-", "-"})
		}
	}
	if err := a.table(rows); err != nil {
		return err
	}
	return a.printf("%s of %s\n", bytesText(r.MemoryBytes), bytesText(r.BudgetBytes))
}

// byRuntime has one reserve for each runtime: those of functions that start it with other
// options are reserves of their own, which only their keys in JSON tell apart.
func byRuntime(reserves []client.Reserve) (merged []client.Reserve) {
	for _, s := range reserves {
		i := slices.IndexFunc(merged, func(m client.Reserve) bool { return m.Runtime == s.Runtime })
		if i < 0 {
			merged = append(merged, s)
			continue
		}
		m := &merged[i]
		m.Ready, m.Wanted, m.MemoryBytes = m.Ready+s.Ready, m.Wanted+s.Wanted, m.MemoryBytes+s.MemoryBytes
		m.Hits, m.Misses, m.Died = m.Hits+s.Hits, m.Misses+s.Misses, m.Died+s.Died
		m.Nodes = slices.Concat(m.Nodes, s.Nodes)
	}
	return merged
}

func emptyBecause(r client.Reserves) string {
	if r.BudgetBytes == 0 {
		return "instances.reserve is 0, or the sandbox driver keeps none"
	}
	return "they appear with the first cold start of a runtime"
}

// modulesText names the modules of a warm interpreter, a few of them.
func modulesText(modules []string, root bool) string {
	const shown = 4
	switch {
	case len(modules) == 0 && root:
		return "base"
	case len(modules) == 0:
		return "-"
	case len(modules) > shown:
		return fmt.Sprintf("+ %s and %d more", strings.Join(modules[:shown], " "), len(modules)-shown)
	}
	return "+ " + strings.Join(modules, " ")
}

func (a *app) setCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "set FUNCTION[:QUALIFIER] [NAME=VALUE]...",
		Short: "Show or change how a function is kept ready",
		Long: "Show a function's settings, or change them:\n" +
			"  reserve=on|off        start its instances from the reserves and from what is prepared, or each from nothing\n" +
			"  prediction=on|off     start instances ahead on a guess, or never\n" +
			"  async-timeout=TIME    how long an asynchronous call may run, such as 2h; 0 is the function's timeout\n" +
			"  loops=on|off          let chains of calls come back to it more than 16 times\n" +
			"  hold-events=on|off    let its asynchronous calls wait, such as while a database that it needs is away\n" +
			"  min-instances=N       keep N initialised instances of the version or alias\n" +
			"  concurrency=N|off     reserve N calls at the same time for it, and let no more run; 0 lets none\n" +
			"and how the number of instances follows the load, where `default` is as the server has it:\n" +
			"  scale.mode=MODE       by concurrency, rps, cpu or memory\n" +
			"  scale.target=N        of that per instance, scale.utilisation=0.7 of it at the most\n" +
			"  scale.max=N  scale.initial=N  scale.grace=TIME  scale.stable=TIME  scale.panic=TIME\n" +
			"  scale.panic-threshold=N  scale.up-rate=N  scale.down-rate=N  scale.down-delay=TIME\n" +
			"  scale.forecast=on|off  scale.factor=N",
		Example:           "  lambent set hello\n  lambent set hello reserve=off\n  lambent set hello:live min-instances=2\n  lambent set shop scale.target=20 scale.max=10",
		Args:              atLeastOne("the name of a function"),
		ValidArgsFunction: a.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.set(cmd, args[0], args[1:]) },
	})
}

func (a *app) set(cmd *cobra.Command, name string, assignments []string) error {
	name, qualifier, err := named(name, "")
	if err != nil {
		return err
	}
	change, err := settings(qualifier, assignments)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	var s client.Settings
	if len(assignments) == 0 {
		s, err = c.Settings(cmd.Context(), name)
	} else {
		s, err = c.SetSettings(cmd.Context(), name, change)
	}
	if err != nil {
		return a.missing(err, name)
	}
	if a.json {
		return a.printJSON(s)
	}
	text := []string{"reserve=" + onOff(s.Reserve), "prediction=" + onOff(s.Prediction)}
	for _, q := range slices.Sorted(maps.Keys(s.MinInstances)) {
		text = append(text, fmt.Sprintf("%s:min-instances=%d", printable(q), s.MinInstances[q]))
	}
	if s.Concurrency != nil {
		text = append(text, fmt.Sprintf("concurrency=%d", *s.Concurrency))
	}
	if t := s.AsyncTimeoutSeconds; t != nil {
		text = append(text, "async-timeout="+shortDuration(time.Duration(*t*float64(time.Second))))
	}
	if s.AllowLoops != nil {
		text = append(text, "loops=on")
	}
	if s.HoldEvents != nil {
		text = append(text, "hold-events=on")
	}
	for _, member := range lambent.ScalingNames() {
		if value, ok := s.Scaling[member]; ok {
			text = append(text, "scale."+member+"="+printable(value))
		}
	}
	return a.printf("%s  %s\n", name, strings.Join(text, "  "))
}

// settings reads NAME=VALUE pairs.
func settings(qualifier string, assignments []string) (client.Settings, error) {
	var s client.Settings
	for _, text := range assignments {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return s, usageError{fmt.Errorf("%s: want NAME=VALUE", text)}
		}
		var err error
		if member, ok := strings.CutPrefix(key, "scale."); ok {
			key = "scale"
			err = new(lambent.Scaling).Set(member, value)
			if s.Scaling == nil {
				s.Scaling = map[string]string{}
			}
			s.Scaling[member] = value
		}
		switch key {
		case "scale":
		case "reserve":
			s.Reserve, err = parseSwitch(value)
		case "prediction":
			s.Prediction, err = parseSwitch(value)
		case "loops":
			s.AllowLoops, err = parseSwitch(value)
		case "hold-events":
			s.HoldEvents, err = parseSwitch(value)
		case "async-timeout":
			var d time.Duration
			if d, err = time.ParseDuration(value); err != nil || d < 0 {
				err = errors.New("want a time such as 2h")
			}
			s.AsyncTimeoutSeconds = new(d.Seconds())
		case "min-instances":
			var n int
			if n, err = strconv.Atoi(value); err != nil || n < 0 {
				err = errors.New("want a number from 0 on")
			}
			s.MinInstances = map[string]int{cmp.Or(qualifier, lambent.Latest): n}
		case "concurrency":
			n := -1
			if value != "off" {
				if n, err = strconv.Atoi(value); err != nil || n < 0 {
					err = errors.New("want a number from 0 on, or off")
				}
			}
			s.Concurrency = &n
		default:
			err = errors.New("there is no such setting: want reserve, prediction, min-instances, concurrency, async-timeout, loops, hold-events or scale.NAME")
		}
		if err == nil && key != "min-instances" && qualifier != "" {
			err = fmt.Errorf("it is a setting of the whole function: leave out :%s", qualifier)
		}
		if err != nil {
			return s, usageError{fmt.Errorf("%s: %w", text, err)}
		}
	}
	return s, nil
}

func parseSwitch(value string) (*bool, error) {
	switch value {
	case "on", "true":
		return new(true), nil
	case "off", "false":
		return new(false), nil
	}
	return nil, errors.New("want on or off")
}

func onOff(b *bool) string {
	if b != nil && !*b {
		return "off"
	}
	return "on"
}

// provisionFlags are the choices of `lambent provision`.
type provisionFlags struct {
	windows   []string
	noWindows bool
	wait      bool
}

func (a *app) provisionCommand() *cobra.Command {
	var f provisionFlags
	cmd := &cobra.Command{
		Use:   "provision FUNCTION[:QUALIFIER [N|off]]",
		Short: "Show or set provisioned concurrency",
		Long: "Keep N initialised instances of a published version or an alias, end that with off, or show\n" +
			"what there is. A window is a time that comes again, in UTC, in which another number is\n" +
			"kept: its start as five fields of cron or AWS's cron(...) or rate(...), its duration and\n" +
			"its count. Windows stay until others are given.",
		Example: "  lambent provision hello\n  lambent provision hello:live 2\n" +
			"  lambent provision hello:live 1 --window 'cron(0 8 ? * MON-FRI *)=9h:5'\n  lambent provision hello:live off",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 && len(args) != 2 {
				return usageError{fmt.Errorf("want a function and a number: see `%s --help`", cmd.CommandPath())}
			}
			return nil
		},
		ValidArgsFunction: a.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.provision(cmd, args, f) },
	}
	cmd.Flags().StringArrayVar(&f.windows, "window", nil, "START=DURATION:COUNT; may be repeated")
	cmd.Flags().BoolVar(&f.noWindows, "no-windows", false, "take all windows away")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until the instances are there")
	return a.jsonFlag(cmd)
}

func (a *app) provision(cmd *cobra.Command, args []string, f provisionFlags) error {
	name, qualifier, err := named(args[0], "")
	if err != nil {
		return err
	}
	request, off, err := provisionRequest(qualifier, args[1:], f)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1:
		list, err := c.Provisioned(cmd.Context(), name)
		if err != nil {
			return a.missing(err, name)
		}
		return a.printProvisioned(name, slices.DeleteFunc(list, func(p client.Provisioned) bool { return qualifier != "" && p.Qualifier != qualifier }))
	case off:
		if err := c.Unprovision(cmd.Context(), name, qualifier); err != nil {
			return err
		}
		a.note("%s:%s is not provisioned any more", name, qualifier)
		return nil
	}
	p, err := c.Provision(cmd.Context(), name, qualifier, request)
	if err == nil && f.wait {
		p, err = a.provisioned(cmd.Context(), c, name, p)
	}
	if err != nil {
		return err
	}
	return a.printProvisioned(name, []client.Provisioned{p})
}

// provisionRequest reads what the command line asks for.
func provisionRequest(qualifier string, args []string, f provisionFlags) (p client.Provision, off bool, err error) {
	if len(args) == 0 {
		if len(f.windows) > 0 || f.noWindows {
			return p, false, usageError{errors.New("want a number: the instances outside of the windows")}
		}
		return p, false, nil
	}
	if qualifier == "" {
		return p, false, usageError{errors.New("want FUNCTION:QUALIFIER, a published version or an alias: `lambent publish FUNCTION --alias live` makes both")}
	}
	if args[0] == "off" {
		return p, true, nil
	}
	if p.Count, err = strconv.Atoi(args[0]); err != nil || p.Count < 0 {
		return p, false, usageError{fmt.Errorf("%s: want a number of instances, or off", args[0])}
	}
	if f.noWindows {
		p.Windows = &[]client.Window{}
	}
	for _, text := range f.windows {
		w, err := parseWindow(text)
		if err != nil {
			return p, false, usageError{fmt.Errorf("--window %s: %w", text, err)}
		}
		if p.Windows == nil {
			p.Windows = &[]client.Window{}
		}
		*p.Windows = append(*p.Windows, w)
	}
	return p, false, nil
}

// parseWindow reads START=DURATION:COUNT. Whether START is a schedule is for the
// server to say.
func parseWindow(text string) (client.Window, error) {
	form := errors.New("want START=DURATION:COUNT, such as 0 8 * * 1-5=9h:5")
	at := strings.LastIndexByte(text, '=')
	if at < 1 {
		return client.Window{}, form
	}
	duration, count, ok := strings.Cut(text[at+1:], ":")
	if !ok {
		return client.Window{}, form
	}
	d, err := time.ParseDuration(duration)
	if err != nil || d <= 0 {
		return client.Window{}, fmt.Errorf("%q is not a duration such as 9h or 90m", duration)
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return client.Window{}, fmt.Errorf("%q is not a number of instances", count)
	}
	return client.Window{Start: text[:at], DurationSeconds: d.Seconds(), Count: n}, nil
}

// waitEvery is how often the state is asked for while waiting.
const waitEvery = 100 * time.Millisecond

// provisioned waits until p is ready. That it fails is an error.
func (a *app) provisioned(ctx context.Context, c *client.Client, name string, p client.Provisioned) (client.Provisioned, error) {
	stop := a.spin("provisioning " + name + ":" + p.Qualifier)
	defer stop()
	for p.Status == client.ProvisionInProgress {
		select {
		case <-ctx.Done():
			return p, lambent.Errorf(lambent.CodeCanceled, "wait for %s:%s: %w", name, p.Qualifier, ctx.Err())
		case <-time.After(waitEvery):
		}
		var err error
		if p, err = c.ProvisionedOf(ctx, name, p.Qualifier); err != nil {
			return p, err
		}
	}
	if p.Status == client.ProvisionFailed {
		return p, fmt.Errorf("provision %s:%s: %s", name, p.Qualifier, printable(p.Failure))
	}
	return p, nil
}

func (a *app) printProvisioned(name string, list []client.Provisioned) error {
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		a.note("%s has no provisioned concurrency: `lambent provision %s:VERSION N` sets it", name, name)
		return nil
	}
	rows := [][]string{{"QUALIFIER", "COUNT", "WANTED", "ALLOCATED", "AVAILABLE", "STATUS", "WINDOWS"}}
	for _, p := range list {
		status := p.Status
		if p.Failure != "" {
			status += ": " + p.Failure
		}
		var windows []string
		for _, w := range p.Windows {
			d := time.Duration(w.DurationSeconds * float64(time.Second))
			windows = append(windows, fmt.Sprintf("%s=%s:%d", w.Start, shortDuration(d), w.Count))
		}
		rows = append(rows, []string{
			p.Qualifier, strconv.Itoa(p.Count), strconv.Itoa(p.Wanted), strconv.Itoa(p.Allocated), strconv.Itoa(p.Available),
			status, dash(strings.Join(windows, ", ")),
		})
	}
	return a.table(rows)
}

// shortDuration leaves out the units of a duration that are zero at its end.
func shortDuration(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}
