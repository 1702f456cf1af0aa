package httpapi

import (
	"fmt"
	"net/http"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/scale"
)

// Scaler decides how many instances there are, and remembers why.
type Scaler interface {
	Status(namespace string) []scale.Status
	StatusOf(k pool.Key) scale.Status
	Decisions(k pool.Key) []scale.Made
	Record(k pool.Key) bool
	Recorded(k pool.Key) (scale.Recording, bool)
}

func (a *api) scaleRoutes() {
	a.route("GET", "/v1/scale", mayRead, maxControlBody, a.listScale)
	a.route("GET", "/v1/functions/{name}/scale", mayRead, maxControlBody, a.getScale)
	a.route("POST", "/v1/functions/{name}/recording", mayWrite, maxControlBody, a.startRecording)
	a.route("DELETE", "/v1/functions/{name}/recording", mayWrite, maxControlBody, a.endRecording)
	a.route("GET", "/v1/functions/{name}/aliases", mayRead, maxControlBody, a.listAliases)
	a.route("PUT", "/v1/functions/{name}/aliases/{alias}", mayWrite, maxControlBody, a.putAlias)
	a.route("DELETE", "/v1/functions/{name}/aliases/{alias}", mayWrite, maxControlBody, a.deleteAlias)
	a.route("GET", "/v1/functions/{name}/rollouts", mayRead, maxControlBody, a.listRollouts)
	a.route("PUT", "/v1/functions/{name}/rollouts/{alias}", mayWrite, maxControlBody, a.startRollout)
	a.route("DELETE", "/v1/functions/{name}/rollouts/{alias}", mayWrite, maxControlBody, a.abortRollout)
}

func (a *api) listScale(c *call) error {
	out := client.ScaleList{Versions: []client.Scale{}}
	if a.o.Scaler != nil {
		for _, s := range a.o.Scaler.Status(c.id.AccountID) {
			v := scaleOf(s)
			if s.Last.Times > 0 {
				v.Decisions = append(v.Decisions, decision(&s.Last))
			}
			out.Versions = append(out.Versions, v)
		}
	}
	return c.answer(http.StatusOK, out)
}

func (a *api) getScale(c *call) error {
	k, err := a.versionKey(c)
	if err != nil {
		return err
	}
	if a.o.Scaler == nil {
		return c.answer(http.StatusOK, client.Scale{Function: k.Function, Version: k.Number, Decisions: []client.Decision{}})
	}
	out := scaleOf(a.o.Scaler.StatusOf(k))
	made := a.o.Scaler.Decisions(k)
	for i := range made {
		out.Decisions = append(out.Decisions, decision(&made[i]))
	}
	return c.answer(http.StatusOK, out)
}

// versionKey is the key of what the path and the qualifier stand for.
func (a *api) versionKey(c *call) (pool.Key, error) {
	entry, err := a.entry(c)
	if err != nil {
		return pool.Key{}, err
	}
	return pool.KeyOf(entry.Version), nil
}

func scaleOf(s scale.Status) client.Scale {
	return client.Scale{
		Function: s.Key.Function, Version: s.Key.Number, Ready: s.Pool.Ready, Busy: s.Pool.Busy, Draining: s.Pool.Draining + s.Pool.Surplus,
		Starting: s.Pool.Starting, Frozen: s.Pool.Frozen, Waiting: s.Pool.Waiting, Running: s.Running, MemoryBytes: s.Memory,
		Calls: s.Total.Ended, Failed: s.Total.Failed, P50MS: ms(s.Total.Took.Quantile(.5)), P99MS: ms(s.Total.Took.Quantile(.99)),
		Trouble: s.Pool.Trouble, Held: held(s.Pool.Held), Decisions: []client.Decision{},
	}
}

// held tells of starts that had to wait; "" if none had to.
func held(h pool.Held) string {
	if h.Times == 0 {
		return ""
	}
	rate := ""
	if h.PerSecond > 0 {
		rate = fmt.Sprintf(", when there were %.1f per second", h.PerSecond)
	}
	return fmt.Sprintf("starts had to wait %d times, last at %s%s: %s.", h.Times, h.Last.UTC().Format(time.RFC3339), rate, h.Why)
}

func decision(m *scale.Made) client.Decision {
	return client.Decision{
		Since: m.Since, At: m.At, Times: m.Times, Desired: m.Desired, Rule: string(m.Rule), Sentence: m.Sentence(),
		Mode: string(m.Settings.Mode), Ready: m.Ready, Waiting: m.Waiting, Stable: m.Stable, Panic: m.Panic, Expected: m.Expected,
		PerInstance: m.PerInstance, Panicking: m.Panicking, IdleSeconds: m.Idle.Seconds(), Settings: m.Settings.Texts(),
	}
}

func (a *api) startRecording(c *call) error {
	k, err := a.versionKey(c)
	switch {
	case err != nil:
		return err
	case a.o.Scaler == nil:
		return lambent.Errorf(lambent.CodeUnsupported, "this server measures no load")
	case !a.o.Scaler.Record(k):
		return lambent.Errorf(lambent.CodeConflict, "too many versions are recorded already")
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) endRecording(c *call) error {
	k, err := a.versionKey(c)
	if err != nil {
		return err
	}
	if a.o.Scaler != nil {
		if r, ok := a.o.Scaler.Recorded(k); ok {
			return c.answer(http.StatusOK, recording(k, r))
		}
	}
	return lambent.Errorf(lambent.CodeNotFound, "%s:%s is not being recorded", k.Function, k.Number)
}

func recording(k pool.Key, r scale.Recording) client.Recording {
	out := client.Recording{Function: k.Function, Version: k.Number, From: r.From, Cut: r.Cut, Calls: make([]client.RecordedCall, len(r.Calls))}
	for i, call := range r.Calls {
		out.Calls[i] = client.RecordedCall{AtMS: ms(call.At), TookMS: ms(call.Took)}
	}
	return out
}
