package httpapi

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
)

// What a function asks to be kept ready: its settings and its provisioned
// concurrency.

func settings(f *lambent.Function) client.Settings {
	s := f.Settings
	out := client.Settings{
		Reserve: new(!s.NoReserve), Prediction: new(!s.NoPrediction), MinInstances: s.MinInstances, Scaling: s.Scaling.Texts(),
		Concurrency: f.Reserved,
	}
	if s.AsyncTimeout > 0 {
		out.AsyncTimeoutSeconds = new(s.AsyncTimeout.Seconds())
	}
	if s.AllowLoops {
		out.AllowLoops = new(true)
	}
	if s.HoldEvents {
		out.HoldEvents = new(true)
	}
	return out
}

func (a *api) getSettings(c *call) error {
	entry, err := a.entry(c)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, settings(entry.Function))
}

func (a *api) putSettings(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	var in client.Settings
	if err := c.read(&in); err != nil {
		return err
	}
	if n := in.Concurrency; n != nil { // first, because others may have left too little
		if *n < 0 {
			n = nil
		}
		if err := a.o.Catalog.SetReserved(c.Context(), c.id.AccountID, name, n); err != nil {
			return err
		}
	}
	_, err = a.o.Catalog.SetSettings(c.Context(), c.id.AccountID, name, func(s *lambent.Settings) error {
		if in.Reserve != nil {
			s.NoReserve = !*in.Reserve
		}
		if in.Prediction != nil {
			s.NoPrediction = !*in.Prediction
		}
		if in.AsyncTimeoutSeconds != nil {
			s.AsyncTimeout = time.Duration(max(min(*in.AsyncTimeoutSeconds, 1e8), -1) * float64(time.Second))
		}
		if in.AllowLoops != nil {
			s.AllowLoops = *in.AllowLoops
		}
		if in.HoldEvents != nil {
			s.HoldEvents = *in.HoldEvents
		}
		if s.MinInstances == nil {
			s.MinInstances = map[string]int{}
		}
		maps.Copy(s.MinInstances, in.MinInstances)
		for _, member := range slices.Sorted(maps.Keys(in.Scaling)) {
			if err := s.Scaling.Set(member, in.Scaling[member]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.getSettings(c)
}

// read reads the body as one JSON object without unknown members.
func (c *call) read(into any) error {
	body, err := auth.Body(c.Request)
	if err != nil {
		return err
	}
	return readStrict(body, into)
}

func (a *api) listProvisioned(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	items, _, err := a.o.Catalog.ListProvisioned(c.id.AccountID, name, "", 0)
	if err != nil {
		return err
	}
	out := client.ProvisionedList{Provisioned: []client.Provisioned{}}
	for _, p := range items {
		out.Provisioned = append(out.Provisioned, a.provisioned(p))
	}
	return c.answer(http.StatusOK, out)
}

func (a *api) getProvisioned(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	p, err := a.o.Catalog.Provisioned(c.id.AccountID, name, c.PathValue("qualifier"))
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, a.provisioned(p))
}

func (a *api) putProvisioned(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	var in client.Provision
	if err := c.read(&in); err != nil {
		return err
	}
	put := catalog.PutProvisioned{
		Namespace: c.id.AccountID, Function: name, Qualifier: c.PathValue("qualifier"),
		Requested: in.Count,
	}
	if put.Windows, err = windows(in.Windows); err != nil {
		return err
	}
	p, err := a.o.Catalog.PutProvisioned(c.Context(), put)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, a.provisioned(p))
}

// windows reads windows; the catalog checks what they say.
func windows(in *[]client.Window) (*[]lambent.Window, error) {
	if in == nil {
		return nil, nil
	}
	out := make([]lambent.Window, 0, len(*in))
	for i, w := range *in {
		seconds := w.DurationSeconds
		if !(seconds > 0 && seconds < 1e9) { // so that NaN is refused too
			return nil, lambent.Errorf(lambent.CodeInvalid, "window %d: %v is no number of seconds", i+1, seconds)
		}
		out = append(out, lambent.Window{Start: w.Start, Duration: time.Duration(seconds * float64(time.Second)), Count: w.Count})
	}
	return &out, nil
}

func (a *api) deleteProvisioned(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	if err := a.o.Catalog.DeleteProvisioned(c.Context(), c.id.AccountID, name, c.PathValue("qualifier")); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// provisioned is p in our dialect, with how far it has come.
func (a *api) provisioned(p *lambent.Provisioned) client.Provisioned {
	out := client.Provisioned{
		Qualifier: p.Qualifier, Count: p.Requested, Wanted: p.Requested,
		Status: client.ProvisionInProgress, LastModified: p.LastModified,
	}
	for _, w := range p.Windows {
		out.Windows = append(out.Windows, client.Window{Start: w.Start, DurationSeconds: w.Duration.Seconds(), Count: w.Count})
	}
	if a.o.Provisioner == nil {
		return out
	}
	now, known := a.o.Provisioner.Allocation(p)
	if !known {
		return out
	}
	out.Wanted, out.Allocated, out.Available, out.Failure = now.Wanted, now.Allocated, now.Available, now.Failure
	switch {
	case now.Failure != "":
		out.Status = client.ProvisionFailed
	case now.Available >= now.Wanted:
		out.Status = client.ProvisionReady
	}
	return out
}
