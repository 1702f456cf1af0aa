package client

import (
	"context"
	"encoding/json"
	"net/url"
	"time"
)

// Schedule calls a function at set times.
type Schedule struct {
	Name  string `json:"name"`
	Group string `json:"group,omitempty"` // "default" where it is absent
	// Function is the function's name, and a version or an alias after a colon.
	Function    string `json:"function"`
	Expression  string `json:"expression"` // cron(...), rate(...) or at(...)
	Timezone    string `json:"timezone,omitempty"`
	Description string `json:"description,omitempty"`
	// Input is the event, a text of JSON in which <aws.scheduler.scheduled-time> and
	// the like are filled in; AWS's own event where it is absent.
	Input       string    `json:"input,omitempty"`
	Start       time.Time `json:"start,omitzero"`
	End         time.Time `json:"end,omitzero"`
	Disabled    bool      `json:"disabled,omitempty"`
	DeleteAfter bool      `json:"deleteAfter,omitempty"`
	// FlexibleMinutes is the length of the window in which the call may come.
	FlexibleMinutes int `json:"flexibleMinutes,omitempty"`
	// MaxRetries and MaxAgeSeconds are of the hand-over to the queue.
	MaxRetries    *int   `json:"maxRetries,omitempty"`
	MaxAgeSeconds int    `json:"maxAgeSeconds,omitempty"`
	DeadLetter    string `json:"deadLetter,omitempty"`

	// Of answers only.
	Created  time.Time   `json:"created,omitzero"`
	Modified time.Time   `json:"modified,omitzero"`
	Next     []time.Time `json:"next,omitempty"` // the next three times
	Last     time.Time   `json:"last,omitzero"`  // the last time that it has called for
}

// ScheduleList is what schedules there are.
type ScheduleList struct {
	Schedules []Schedule `json:"schedules"`
}

// Schedules asks for the schedules of a group, or of all where it is "".
func (c *Client) Schedules(ctx context.Context, group string) ([]Schedule, error) {
	var out ScheduleList
	r := request{method: "GET", path: "/v1/schedules"}
	if group != "" {
		r.query = url.Values{"group": {group}}
	}
	err := c.call(ctx, r, &out)
	return out.Schedules, err
}

// Schedule asks for one schedule.
func (c *Client) Schedule(ctx context.Context, group, name string) (Schedule, error) {
	var out Schedule
	err := c.call(ctx, request{method: "GET", path: schedulePath(group, name)}, &out)
	return out, err
}

// CreateSchedule makes a schedule.
func (c *Client) CreateSchedule(ctx context.Context, s Schedule) (Schedule, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return Schedule{}, err
	}
	var out Schedule
	err = c.call(ctx, request{method: "POST", path: "/v1/schedules", body: body}, &out)
	return out, err
}

// ReplaceSchedule makes another one of a schedule that there is.
func (c *Client) ReplaceSchedule(ctx context.Context, s Schedule) (Schedule, error) {
	var out Schedule
	err := c.put(ctx, schedulePath(s.Group, s.Name), s, &out)
	return out, err
}

// DeleteSchedule deletes a schedule.
func (c *Client) DeleteSchedule(ctx context.Context, group, name string) error {
	return c.call(ctx, request{method: "DELETE", path: schedulePath(group, name)}, nil)
}

func schedulePath(group, name string) string {
	if group == "" {
		group = "default"
	}
	return "/v1/schedules/" + url.PathEscape(group) + "/" + url.PathEscape(name)
}
