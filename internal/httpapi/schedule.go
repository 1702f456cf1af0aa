package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// Schedules keeps schedules and tells when they are due.
type Schedules interface {
	Create(ctx context.Context, s lambent.Schedule) (*lambent.Schedule, error)
	Update(ctx context.Context, s lambent.Schedule) (*lambent.Schedule, error)
	Delete(ctx context.Context, namespace, group, name string) error
	// Schedules lists those of a group whose name has a prefix; all where both are "".
	Schedules(namespace, group, prefix string) []*lambent.Schedule
	Schedule(namespace, group, name string) (*lambent.Schedule, error)
	// Times are the next n times, and the last one that was called for.
	Times(namespace, group, name string, n int) (next []time.Time, last time.Time)
}

// Bounds of a request with a schedule, in bytes, and of the times that are told.
const (
	maxSchedule = 2 << 20
	nextTimes   = 3
)

// scheduleRoutes is the part of the dialect about what calls at set times.
func (a *api) scheduleRoutes() {
	a.route("GET", "/v1/schedules", mayRead, maxControlBody, a.listSchedules)
	a.route("POST", "/v1/schedules", mayWrite, maxSchedule, a.createSchedule)
	a.route("GET", "/v1/schedules/{group}/{name}", mayRead, maxControlBody, a.getSchedule)
	a.route("PUT", "/v1/schedules/{group}/{name}", mayWrite, maxSchedule, a.replaceSchedule)
	a.route("DELETE", "/v1/schedules/{group}/{name}", mayWrite, maxControlBody, a.deleteSchedule)
}

// schedule is a schedule as it is told.
func (a *api) schedule(s *lambent.Schedule) client.Schedule {
	out := client.Schedule{
		Name: s.Name, Group: s.Group, Function: s.Function, Expression: s.Expression, Timezone: s.Timezone, Description: s.Description,
		Input: s.Input, Start: s.Start, End: s.End, Disabled: s.Disabled, DeleteAfter: s.DeleteAfter,
		FlexibleMinutes: int(s.Flexible.Minutes()), MaxRetries: &s.MaxRetries, MaxAgeSeconds: int(s.MaxAge.Seconds()),
		DeadLetter: s.DeadLetter, Created: s.Created, Modified: s.Modified,
	}
	if s.Qualifier != "" {
		out.Function += ":" + s.Qualifier
	}
	out.Next, out.Last = a.o.Schedules.Times(s.Namespace, s.Group, s.Name, nextTimes)
	return out
}

// readSchedule reads one from the body. Its function has to exist.
func (c *call) readSchedule(a *api) (lambent.Schedule, error) {
	var in client.Schedule
	if err := c.read(&in); err != nil {
		return lambent.Schedule{}, err
	}
	function, qualifier, _ := strings.Cut(in.Function, ":")
	if _, err := a.o.Catalog.Get(c.id.AccountID, function, qualifier); err != nil {
		return lambent.Schedule{}, err
	}
	s := lambent.Schedule{
		Namespace: c.id.AccountID, Group: in.Group, Name: in.Name, Description: in.Description,
		Expression: in.Expression, Timezone: in.Timezone, Start: in.Start, End: in.End,
		Flexible: time.Duration(in.FlexibleMinutes) * time.Minute, Disabled: in.Disabled, DeleteAfter: in.DeleteAfter,
		Target: lambent.FunctionARN(a.o.Region, c.id.AccountID, function, qualifier), Input: in.Input,
		DeadLetter: in.DeadLetter, MaxRetries: lambent.MaxScheduleRetries, MaxAge: time.Duration(in.MaxAgeSeconds) * time.Second,
	}
	if in.MaxRetries != nil {
		s.MaxRetries = *in.MaxRetries
	}
	return s, nil
}

func (a *api) listSchedules(c *call) error {
	out := client.ScheduleList{Schedules: []client.Schedule{}}
	for _, s := range a.o.Schedules.Schedules(c.id.AccountID, c.URL.Query().Get("group"), "") {
		out.Schedules = append(out.Schedules, a.schedule(s))
	}
	return c.answer(http.StatusOK, out)
}

func (a *api) createSchedule(c *call) error {
	s, err := c.readSchedule(a)
	if err != nil {
		return err
	}
	made, err := a.o.Schedules.Create(c.Context(), s)
	if err != nil {
		return err
	}
	return c.answer(http.StatusCreated, a.schedule(made))
}

func (a *api) getSchedule(c *call) error {
	s, err := a.o.Schedules.Schedule(c.id.AccountID, c.PathValue("group"), c.PathValue("name"))
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, a.schedule(s))
}

func (a *api) replaceSchedule(c *call) error {
	s, err := c.readSchedule(a)
	if err != nil {
		return err
	}
	s.Group, s.Name = c.PathValue("group"), c.PathValue("name")
	changed, err := a.o.Schedules.Update(c.Context(), s)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, a.schedule(changed))
}

func (a *api) deleteSchedule(c *call) error {
	if err := a.o.Schedules.Delete(c.Context(), c.id.AccountID, c.PathValue("group"), c.PathValue("name")); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
