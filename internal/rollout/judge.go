package rollout

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// condition is one that ends a rollout.
type condition struct {
	text   string
	figure string  // errors, p50, p95 or p99
	share  float64 // the limit of errors; 0 is none
	most   time.Duration
	times  float64 // the limit against the old version; 0 is none
}

// leastErrors is what the old version counts with at least where errors are compared
// with its own: one failure after none is not infinitely worse.
const leastErrors = 0.005

// parse reads a condition: a figure, > and a limit in percent, in time or in times
// of the old version's.
func parse(text string) (condition, error) {
	wrong := func(why string) (condition, error) {
		return condition{}, lambent.Errorf(lambent.CodeInvalid, "condition %q: %s", text, why)
	}
	figure, limit, ok := strings.Cut(strings.ReplaceAll(text, " ", ""), ">")
	c := condition{text: text, figure: figure}
	if !ok {
		return wrong("want FIGURE>LIMIT, such as errors>1% or p99>2x")
	}
	times, isTimes := strings.CutSuffix(limit, "x")
	switch figure {
	case "errors", "p50", "p95", "p99":
	default:
		return wrong("want errors, p50, p95 or p99")
	}
	var err error
	switch {
	case isTimes:
		if c.times, err = strconv.ParseFloat(times, 64); err != nil || !(c.times >= 1 && c.times <= 1000) {
			return wrong("want a number of times from 1x to 1000x")
		}
	case figure == "errors":
		percent, ok := strings.CutSuffix(limit, "%")
		if c.share, err = strconv.ParseFloat(percent, 64); !ok || err != nil || !(c.share >= 0 && c.share <= 100) {
			return wrong("want a limit such as 1% or 2x")
		}
		c.share /= 100
	default:
		if c.most, err = time.ParseDuration(limit); err != nil || c.most <= 0 {
			return wrong("want a limit such as 200ms or 2x")
		}
	}
	return c, nil
}

func parseAll(texts []string) ([]condition, error) {
	all := make([]condition, 0, len(texts))
	var errs []error
	for _, t := range texts {
		c, err := parse(t)
		all, errs = append(all, c), append(errs, err)
	}
	return all, errors.Join(errs...)
}

// broken says how figures break the condition; "" is that they do not. What the old
// version does not show cannot be compared with.
func (c condition) broken(was, is lambent.RolloutFigures) string {
	if c.figure == "errors" {
		limit := c.share
		if c.times > 0 {
			limit = c.times * max(was.Errors(), leastErrors)
		}
		if is.Errors() <= limit {
			return ""
		}
		return fmt.Sprintf("%s: %d of %d calls have failed (%s), of the old version %d of %d (%s)", c.text,
			is.Failed, is.Calls, percent(is.Errors()), was.Failed, was.Calls, percent(was.Errors()))
	}
	took, before := quantile(is, c.figure), quantile(was, c.figure)
	limit := c.most
	if c.times > 0 {
		limit = time.Duration(c.times * float64(before))
	}
	if limit == 0 || took <= limit {
		return ""
	}
	return fmt.Sprintf("%s: %s is %s, of the old version %s", c.text, c.figure, took, before)
}

func quantile(f lambent.RolloutFigures, name string) time.Duration {
	switch name {
	case "p50":
		return f.P50
	case "p95":
		return f.P95
	}
	return f.P99
}

func percent(share float64) string { return strconv.FormatFloat(100*share, 'g', 3, 64) + " %" }
