package lambent

import "time"

// Schedule calls a function at the times that its expression tells, as a schedule of
// Amazon EventBridge Scheduler does. Values that are handed out are shared: they are
// never modified.
type Schedule struct {
	Namespace   string `json:"namespace"`
	Group       string `json:"group"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`

	Expression string `json:"expression"` // cron(...), rate(...) or at(...)
	Timezone   string `json:"timezone"`   // that cron and at are read in, such as "Europe/Berlin"
	// Start and End bound the times, Start included; zero is no bound. They do not
	// concern at(...).
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
	// Flexible is the length of the window after each time in which the call may come;
	// 0 is at once.
	Flexible time.Duration `json:"flexibleNs,omitempty"`
	Disabled bool          `json:"disabled,omitempty"`
	// DeleteAfter has the schedule deleted when its last time has passed.
	DeleteAfter bool `json:"deleteAfter,omitempty"`

	Target     string `json:"target"` // the ARN that the next two are of
	Function   string `json:"function"`
	Qualifier  string `json:"qualifier,omitempty"`
	Role       string `json:"role,omitempty"`  // that the function is called as; "" is the account itself
	Input      string `json:"input,omitempty"` // the event; "" is AWS's own
	KMSKey     string `json:"kmsKey,omitempty"`
	DeadLetter string `json:"deadLetter,omitempty"` // ARN of a queue for events that could not be handed over
	// MaxRetries is how often the hand-over to the queue of asynchronous calls is tried
	// again, and MaxAge for how long: what the function does with the call is up to the
	// [EventConfig].
	MaxRetries int           `json:"maxRetries"`
	MaxAge     time.Duration `json:"maxAgeNs"`

	Token    string    `json:"token,omitempty"` // of the request that made it
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
	// Since is when its times began to count: when it was made or enabled, or the times
	// were changed. A rate without Start counts from here.
	Since time.Time `json:"since"`
}

// ARN is the schedule's ARN.
func (s *Schedule) ARN(region string) string {
	return "arn:aws:scheduler:" + region + ":" + s.Namespace + ":schedule/" + s.Group + "/" + s.Name
}

// ScheduleGroup is a name for schedules that belong together. Every namespace has
// [DefaultGroup].
type ScheduleGroup struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Tags      map[string]string `json:"tags,omitempty"`
	Token     string            `json:"token,omitempty"` // of the request that made it
	Created   time.Time         `json:"created"`
	Modified  time.Time         `json:"modified"`
}

// ARN is the group's ARN.
func (g *ScheduleGroup) ARN(region string) string {
	return "arn:aws:scheduler:" + region + ":" + g.Namespace + ":schedule-group/" + g.Name
}

// Limits and defaults of schedules (EventBridge Scheduler API reference).
const (
	DefaultGroup       = "default"
	DefaultTimezone    = "UTC"
	MaxScheduleName    = 64
	MaxFlexible        = 24 * time.Hour
	MaxScheduleRetries = 185            // and the default
	MaxScheduleAge     = 24 * time.Hour // and the default
	MinScheduleAge     = time.Minute
)

// ValidScheduleName tells whether s can name a schedule or a group: 1 to 64 ASCII
// letters, digits, "-", "_" and ".".
func ValidScheduleName(s string) bool {
	for i := range len(s) {
		if s[i] != '.' && !ValidName(s[i:i+1]) {
			return false
		}
	}
	return s != "" && len(s) <= MaxScheduleName
}
