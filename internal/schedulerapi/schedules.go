package schedulerapi

import (
	"cmp"
	"encoding/json"
	"math"
	"time"

	"lambent.dev/lambent"
)

// schedule is the request of CreateSchedule and UpdateSchedule, and the answer of
// GetSchedule.
type schedule struct {
	Arn                        string   `json:",omitempty"`
	Name                       string   `json:",omitempty"`
	GroupName                  string   `json:",omitempty"`
	Description                string   `json:",omitempty"`
	ScheduleExpression         string   `json:",omitempty"`
	ScheduleExpressionTimezone string   `json:",omitempty"`
	StartDate                  *seconds `json:",omitempty"`
	EndDate                    *seconds `json:",omitempty"`
	FlexibleTimeWindow         *window  `json:",omitempty"`
	State                      string   `json:",omitempty"`
	ActionAfterCompletion      string   `json:",omitempty"`
	KmsKeyArn                  string   `json:",omitempty"`
	Target                     *target  `json:",omitempty"`
	ClientToken                string   `json:",omitempty"`
	CreationDate               *seconds `json:",omitempty"`
	LastModificationDate       *seconds `json:",omitempty"`
}

type window struct {
	Mode                   string
	MaximumWindowInMinutes *int `json:",omitempty"`
}

type target struct {
	Arn              string
	RoleArn          string       `json:",omitempty"`
	Input            string       `json:",omitempty"`
	RetryPolicy      *retryPolicy `json:",omitempty"`
	DeadLetterConfig *deadLetter  `json:",omitempty"`
	// Of targets that functions are not.
	EcsParameters, EventBridgeParameters, KinesisParameters json.RawMessage `json:",omitempty"`
	SageMakerPipelineParameters, SqsParameters              json.RawMessage `json:",omitempty"`
}

type retryPolicy struct {
	MaximumEventAgeInSeconds *int `json:",omitempty"`
	MaximumRetryAttempts     *int `json:",omitempty"`
}

type deadLetter struct {
	Arn string `json:",omitempty"`
}

// summary is a schedule in a list.
type summary struct {
	Arn, Name, GroupName, State string
	CreationDate                *seconds
	LastModificationDate        *seconds
	Target                      struct{ Arn string }
}

// seconds since 1970, in which the protocol writes times.
type seconds float64

// latest bounds times that are read, in seconds: the year 5138.
const latest = 1e11

func secondsOf(t time.Time) *seconds {
	if t.IsZero() {
		return nil
	}
	return new(seconds(float64(t.UnixMilli()) / 1000))
}

// time is the zero time for nil.
func (s *seconds) time() (time.Time, error) {
	if s == nil {
		return time.Time{}, nil
	}
	if math.Abs(float64(*s)) > latest {
		return time.Time{}, invalid("A date is out of range.")
	}
	return time.UnixMilli(int64(math.Round(float64(*s) * 1000))).UTC(), nil
}

// choice reads a member that is one of two words; "" is the first.
func choice(member, value, first, second string) (isSecond bool, err error) {
	switch value {
	case "", first:
		return false, nil
	case second:
		return true, nil
	}
	return false, invalid("1 validation error detected: Value '" + clip(value) + "' at '" + member +
		"' failed to satisfy constraint: Member must satisfy enum value set: [" + first + ", " + second + "]")
}

// clip keeps a value short in a message.
func clip(s string) string { return s[:min(len(s), 100)] }

// null is the error of a required member that is absent.
func null(member string) error {
	return invalid("1 validation error detected: Value null at '" + member + "' failed to satisfy constraint: Member must not be null")
}

// request reads a schedule from the body.
func (c *call) request() (s lambent.Schedule, err error) {
	in, err := decoded(c.Request)
	if err != nil {
		return s, err
	}
	switch {
	case in.ScheduleExpression == "":
		return s, null("scheduleExpression")
	case in.FlexibleTimeWindow == nil || in.FlexibleTimeWindow.Mode == "":
		return s, null("flexibleTimeWindow")
	case in.Target == nil || in.Target.Arn == "":
		return s, null("target")
	case in.Target.RoleArn == "":
		return s, null("target.roleArn")
	}
	s = lambent.Schedule{
		Namespace: c.namespace, Group: in.GroupName, Name: c.PathValue("name"), Description: in.Description,
		Expression: in.ScheduleExpression, Timezone: in.ScheduleExpressionTimezone, KMSKey: in.KmsKeyArn, Token: in.ClientToken,
	}
	if s.Start, err = in.StartDate.time(); err != nil {
		return s, err
	}
	if s.End, err = in.EndDate.time(); err != nil {
		return s, err
	}
	if s.Disabled, err = choice("state", in.State, "ENABLED", "DISABLED"); err != nil {
		return s, err
	}
	if s.DeleteAfter, err = choice("actionAfterCompletion", in.ActionAfterCompletion, "NONE", "DELETE"); err != nil {
		return s, err
	}
	if s.Flexible, err = in.FlexibleTimeWindow.length(); err != nil {
		return s, err
	}
	return s, in.Target.into(&s)
}

// length is 0 for no window.
func (w *window) length() (time.Duration, error) {
	flexible, err := choice("flexibleTimeWindow.mode", w.Mode, "OFF", "FLEXIBLE")
	switch minutes := w.MaximumWindowInMinutes; {
	case err != nil:
		return 0, err
	case !flexible && minutes == nil:
		return 0, nil
	case !flexible:
		return 0, invalid("MaximumWindowInMinutes must not be set when the mode is OFF.")
	case minutes == nil:
		return 0, invalid("MaximumWindowInMinutes must be set when the mode is FLEXIBLE.")
	case *minutes < 1 || *minutes > int(lambent.MaxFlexible/time.Minute):
		return 0, invalid("MaximumWindowInMinutes is from 1 to 1440.")
	default:
		return time.Duration(*minutes) * time.Minute, nil
	}
}

// into completes a schedule with its target.
func (t *target) into(s *lambent.Schedule) error {
	for _, other := range []json.RawMessage{t.EcsParameters, t.EventBridgeParameters, t.KinesisParameters, t.SageMakerPipelineParameters, t.SqsParameters} {
		if len(other) > 0 && string(other) != "null" {
			return invalid("The target has parameters of another service; only Lambda functions can be targets here.")
		}
	}
	s.Target, s.Role, s.Input, s.MaxRetries = t.Arn, t.RoleArn, t.Input, lambent.MaxScheduleRetries
	if t.DeadLetterConfig != nil {
		s.DeadLetter = t.DeadLetterConfig.Arn
	}
	if p := t.RetryPolicy; p != nil {
		if p.MaximumRetryAttempts != nil {
			s.MaxRetries = *p.MaximumRetryAttempts
		}
		if age := p.MaximumEventAgeInSeconds; age != nil {
			if *age < int(lambent.MinScheduleAge.Seconds()) || *age > int(lambent.MaxScheduleAge.Seconds()) {
				return invalid("MaximumEventAgeInSeconds is from 60 to 86400.")
			}
			s.MaxAge = time.Duration(*age) * time.Second
		}
	}
	return nil
}

// state is a schedule's as AWS names it.
func state(s *lambent.Schedule) string {
	if s.Disabled {
		return "DISABLED"
	}
	return "ENABLED"
}

// answer is a schedule as GetSchedule shows it.
func (d *door) answer(s *lambent.Schedule) schedule {
	out := schedule{
		Arn: s.ARN(d.o.Region), Name: s.Name, GroupName: s.Group, Description: s.Description,
		ScheduleExpression: s.Expression, ScheduleExpressionTimezone: s.Timezone,
		StartDate: secondsOf(s.Start), EndDate: secondsOf(s.End), State: state(s), ActionAfterCompletion: "NONE", KmsKeyArn: s.KMSKey,
		CreationDate: secondsOf(s.Created), LastModificationDate: secondsOf(s.Modified),
		FlexibleTimeWindow: &window{Mode: "OFF"},
		Target: &target{Arn: s.Target, RoleArn: s.Role, Input: s.Input, RetryPolicy: &retryPolicy{
			MaximumEventAgeInSeconds: new(int(s.MaxAge.Seconds())), MaximumRetryAttempts: &s.MaxRetries,
		}},
	}
	if s.DeleteAfter {
		out.ActionAfterCompletion = "DELETE"
	}
	if s.Flexible > 0 {
		out.FlexibleTimeWindow = &window{"FLEXIBLE", new(int(s.Flexible.Minutes()))}
	}
	if s.DeadLetter != "" {
		out.Target.DeadLetterConfig = &deadLetter{s.DeadLetter}
	}
	return out
}

// named is the answer of operations that tell the ARN of a schedule only.
type named struct{ ScheduleArn string }

func (d *door) createSchedule(c *call) (any, error) {
	s, err := c.request()
	if err != nil {
		return nil, err
	}
	made, err := d.o.Schedules.Create(c.Context(), s)
	if err != nil {
		return nil, err
	}
	return named{made.ARN(d.o.Region)}, nil
}

func (d *door) updateSchedule(c *call) (any, error) {
	s, err := c.request()
	if err != nil {
		return nil, err
	}
	changed, err := d.o.Schedules.Update(c.Context(), s)
	if err != nil {
		return nil, err
	}
	return named{changed.ARN(d.o.Region)}, nil
}

func (d *door) getSchedule(c *call) (any, error) {
	s, err := d.o.Schedules.Schedule(c.namespace, c.query.Get("groupName"), c.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return d.answer(s), nil
}

func (d *door) deleteSchedule(c *call) (any, error) {
	return empty{}, d.o.Schedules.Delete(c.Context(), c.namespace, c.query.Get("groupName"), c.PathValue("name"))
}

func (d *door) listSchedules(c *call) (any, error) {
	group, wanted := c.query.Get("ScheduleGroup"), c.query.Get("State")
	if _, err := choice("state", wanted, "ENABLED", "DISABLED"); err != nil {
		return nil, err
	}
	if _, err := d.o.Groups.Group(c.namespace, cmp.Or(group, lambent.DefaultGroup)); err != nil {
		return nil, err
	}
	var all []*lambent.Schedule
	for _, s := range d.o.Schedules.Schedules(c.namespace, group, c.query.Get("NamePrefix")) {
		if wanted == "" || wanted == state(s) {
			all = append(all, s)
		}
	}
	part, next, err := page(c, all, func(s *lambent.Schedule) string { return s.Group + "/" + s.Name })
	if err != nil {
		return nil, err
	}
	out := struct {
		Schedules []summary
		NextToken string `json:",omitempty"`
	}{make([]summary, 0, len(part)), next}
	for _, s := range part {
		out.Schedules = append(out.Schedules, summary{
			Arn: s.ARN(d.o.Region), Name: s.Name, GroupName: s.Group, State: state(s), Target: struct{ Arn string }{s.Target},
			CreationDate: secondsOf(s.Created), LastModificationDate: secondsOf(s.Modified),
		})
	}
	return out, nil
}
