package httpapi

import (
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/trigger"
)

func TestSchedules(t *testing.T) {
	room, err := trigger.Open(t.Context(), trigger.Options{Records: store.NewMemory(), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	r, ctx := newRigWith(t, func(o *Options) { o.Schedules = room }), t.Context()
	r.publish(t)
	in := client.Schedule{Name: "s", Function: "hello", Expression: "cron(0 3 1 1 ? *)", Input: `{"a":"<aws.scheduler.execution-id>"}`, FlexibleMinutes: 5}
	made, err := r.CreateSchedule(ctx, in)
	if err != nil || made.Group != lambent.DefaultGroup || len(made.Next) != 3 || !made.Last.IsZero() || made.Input != in.Input ||
		*made.MaxRetries != lambent.MaxScheduleRetries || made.MaxAgeSeconds != 86400 || made.FlexibleMinutes != 5 {
		t.Fatalf("create: %+v %v", made, err)
	}
	if _, err := r.CreateSchedule(ctx, in); lambent.CodeOf(err) != lambent.CodeConflict {
		t.Errorf("create again: %v", err)
	}
	in.Expression, in.Start, in.MaxRetries = "rate(1 hour)", time.Now().Add(time.Hour).Truncate(time.Second), new(0)
	changed, err := r.ReplaceSchedule(ctx, in)
	if err != nil || !changed.Next[0].Equal(in.Start) || *changed.MaxRetries != 0 || !changed.Created.Equal(made.Created) {
		t.Errorf("replace: %+v %v", changed, err)
	}
	if list, err := r.Schedules(ctx, ""); err != nil || len(list) != 1 || list[0].Name != "s" {
		t.Errorf("list: %+v %v", list, err)
	}
	if list, err := r.Schedules(ctx, "other"); err != nil || len(list) != 0 {
		t.Errorf("list of another group: %+v %v", list, err)
	}
	in.Function = "absent"
	if _, err := r.ReplaceSchedule(ctx, in); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("a function that is not there: %v", err)
	}
	if err := r.DeleteSchedule(ctx, "", "s"); err != nil {
		t.Error(err)
	}
	if _, err := r.Schedule(ctx, "", "s"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("get what is gone: %v", err)
	}
}
