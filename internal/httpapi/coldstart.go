package httpapi

import (
	"net/http"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/pool"
)

// entry is what the path's name and the qualifier of the query stand for.
func (a *api) entry(c *call) (catalog.Entry, error) {
	name, err := c.function()
	if err != nil {
		return catalog.Entry{}, err
	}
	return a.o.Catalog.Get(c.id.AccountID, name, c.URL.Query().Get("qualifier"))
}

func (a *api) coldStarts(c *call) error {
	entry, err := a.entry(c)
	if err != nil {
		return err
	}
	v := entry.Version
	out := client.ColdStarts{Function: v.Function, Version: v.Number, Runtime: v.Runtime, ColdStarts: []client.ColdStart{}}
	if a.o.Instances != nil {
		for _, s := range a.o.Instances.ColdStarts(v.Namespace, v.Function, v.Number) {
			out.ColdStarts = append(out.ColdStarts, coldStart(s))
		}
	}
	return c.answer(http.StatusOK, out)
}

func coldStart(s pool.ColdStart) client.ColdStart {
	out := client.ColdStart{
		ID: s.ID, Stream: s.Stream, Began: s.Began, TotalMS: ms(s.Total), InitMS: ms(s.Init),
		Origin: string(s.Origin), Ahead: s.Ahead, Failure: s.Failure, Stages: []client.Span{},
	}
	for _, stage := range s.Stages {
		out.Stages = append(out.Stages, client.Span{Name: stage.Name, StartMS: ms(stage.Start.Sub(s.Began)), MS: ms(stage.Took)})
	}
	return out
}

// retire makes the next call of a version a cold start, unless instances of it
// are wanted ahead of calls.
func (a *api) retire(c *call) error {
	entry, err := a.entry(c)
	if err != nil {
		return err
	}
	if a.o.Instances == nil {
		return lambent.Errorf(lambent.CodeUnsupported, "this server has no instances to retire")
	}
	v := entry.Version
	a.o.Instances.Retire(v.Namespace, v.Function, v.Number)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) reserves(c *call) error {
	out := client.Reserves{Reserves: []client.Reserve{}, BudgetBytes: a.o.ReserveBytes}
	if a.o.Reserver == nil {
		return c.answer(http.StatusOK, out)
	}
	for _, r := range a.o.Reserver.Reserves() {
		reserve := client.Reserve{
			Runtime: r.Runtime, Key: r.Key, Ready: r.Ready, Wanted: r.Wanted, MemoryBytes: r.MemoryBytes,
			Hits: r.Hits, Misses: r.Misses, Died: r.Died,
		}
		for _, n := range r.Nodes {
			reserve.Nodes = append(reserve.Nodes, client.ReserveNode{
				Modules: append([]string{}, n.Modules...), Ready: n.Ready, MemoryBytes: n.MemoryBytes,
			})
		}
		out.Reserves = append(out.Reserves, reserve)
		out.MemoryBytes += r.MemoryBytes
	}
	return c.answer(http.StatusOK, out)
}
