package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent/internal/chart"
)

// result is one measured figure over all rounds.
type result struct {
	Case   string    `json:"case"`
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
	// Bar is what is asked for; Below tells on which side good is. Zero is none.
	Bar   float64 `json:"bar,omitempty"`
	Below bool    `json:"below,omitempty"`
}

func (r *result) add(v float64) { r.Values = append(r.Values, v) }

func (r result) median() float64 { return median(r.Values) }

func (r result) met() string {
	switch {
	case r.Bar == 0 || len(r.Values) == 0:
		return ""
	case r.Below == (r.median() <= r.Bar):
		return "met"
	}
	return "missed"
}

func (r result) String() string {
	if len(r.Values) == 0 {
		return r.Name + ": not measured"
	}
	s := fmt.Sprintf("%s: %s %s (%s to %s)", r.Name, figure(r.median()), r.Unit,
		figure(slices.Min(r.Values)), figure(slices.Max(r.Values)))
	if r.Bar != 0 {
		s += fmt.Sprintf(", bar %s: %s", figure(r.Bar), r.met())
	}
	return s
}

// because is why something was not measured, in one line.
func because(err error) string {
	return " (" + strings.Join(strings.Fields(err.Error()), " ") + ")"
}

// figure prints three digits that mean something.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// describeHost says what was measured on.
func describeHost(root string) string {
	lines := []string{
		fmt.Sprintf("%s, %d processors, %s", cpuModel(), runtime.NumCPU(), memoryTotal()),
		"kernel " + output("uname", "-r"),
		runtime.Version() + ", " + output(filepath.Join(root, "bin", "lambent"), "version"),
		"python " + output("python3", "--version") + ", node " + output("node", "--version"),
		time.Now().UTC().Format("2006-01-02 15:04 UTC"),
	}
	return strings.Join(lines, "\n")
}

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "(none)"
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first
}

func procLine(file, key string) string {
	body, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(body)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func cpuModel() string    { return procLine("/proc/cpuinfo", "model name") }
func memoryTotal() string { return procLine("/proc/meminfo", "MemTotal") }

// record is what was measured of one case, and on what.
type record struct {
	Host    string   `json:"host"`
	Results []result `json:"results"`
}

// write stores the figures and the report.
func write(root, host string, results []result) error {
	dir := filepath.Join(root, "bench", "results")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	byCase := map[string]record{}
	for _, r := range results {
		byCase[r.Case] = record{Host: host, Results: append(byCase[r.Case].Results, r)}
	}
	var errs []error
	for _, c := range cases {
		name := filepath.Join(dir, c.name)
		now, measured := byCase[c.name]
		if !measured { // it keeps its last figures
			var last record
			if body, err := os.ReadFile(name + ".json"); err == nil && json.Unmarshal(body, &last) == nil {
				byCase[c.name] = last
			}
			continue
		}
		body, err := json.MarshalIndent(now, "", "  ")
		errs = append(errs, err, os.WriteFile(name+".json", append(body, '\n'), 0o644),
			os.WriteFile(name+".svg", []byte(picture(now.Results)), 0o644))
	}
	errs = append(errs, os.WriteFile(filepath.Join(root, "bench", "REPORT.md"), []byte(report(host, byCase)), 0o644))
	return errors.Join(errs...)
}

// other is in one line what was measured on, if that was not the host, by all but the
// time, which comes last.
func (r record) other(host string) string {
	if now := strings.LastIndexByte(host, '\n'); strings.HasPrefix(r.Host, host[:now+1]) {
		return ""
	}
	return strings.ReplaceAll(r.Host, "\n", "; ")
}

func report(host string, byCase map[string]record) string {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nMade by `make bench`. Each figure is the median of its rounds, with the smallest and the largest.\n" +
		"Comparisons alternate between the two sides on the same machine: this one, where a case does not name another.\n\n```\n" + host + "\n```\n")
	for _, c := range cases {
		rs := byCase[c.name].Results
		if len(rs) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n", c.title)
		if other := byCase[c.name].other(host); other != "" {
			fmt.Fprintf(&b, "\nMeasured on %s.\n", other)
		}
		b.WriteString("\n| figure | median | spread | bar | |\n|---|---|---|---|---|\n")
		for _, r := range rs {
			if len(r.Values) == 0 {
				fmt.Fprintf(&b, "| %s | not measured | | | |\n", r.Name)
				continue
			}
			bar := ""
			if r.Bar != 0 {
				bar = map[bool]string{true: "at most ", false: "at least "}[r.Below] + figure(r.Bar)
			}
			fmt.Fprintf(&b, "| %s | %s %s | %s to %s | %s | %s |\n", r.Name, figure(r.median()), r.Unit,
				figure(slices.Min(r.Values)), figure(slices.Max(r.Values)), bar, r.met())
		}
		fmt.Fprintf(&b, "\n![%s](results/%s.svg)\n", c.title, c.name)
	}
	return b.String()
}

// picture draws each figure as a bar with its spread, and the bar it should reach
// as a line.
func picture(rs []result) string {
	const width, row, left = 760, 44, 20
	c := chart.New(width, row*len(rs)+10)
	for i, r := range rs {
		if len(r.Values) == 0 {
			continue
		}
		y := float64(i*row + 8)
		scale := float64(width-2*left) / max(slices.Max(r.Values), r.Bar)
		color := map[string]string{"": "#5b8def", "met": "#3fa66b", "missed": "#d9534f"}[r.met()]
		c.Text(left, y+10, "", r.Name+": "+figure(r.median())+" "+r.Unit)
		c.Rect(left, y+16, r.median()*scale, 12, color)
		c.Line(left+slices.Min(r.Values)*scale, y+22, left+slices.Max(r.Values)*scale, y+22, "black", "")
		if r.Bar != 0 {
			c.Line(left+r.Bar*scale, y+12, left+r.Bar*scale, y+32, "#222", "3 2")
		}
	}
	return c.String()
}
