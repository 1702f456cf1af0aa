package trigger

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// Bounds of what a schedule may say (EventBridge Scheduler API reference), in
// characters; that of the input is the queue's.
const (
	maxDescription = 512
	maxTimezone    = 50
	maxARN         = 1600
	lateStart      = 5 * time.Minute // a start may be so long ago
)

var (
	queueARN = regexp.MustCompile(`^arn:aws(-[a-z]+)?:sqs:[a-z0-9\-]+:\d{12}:[a-zA-Z0-9\-_]+$`)
	roleARN  = regexp.MustCompile(`^arn:aws(-[a-z]+)?:iam::\d{12}:role/[\w+=,.@/-]+$`)
)

func invalid(format string, args ...any) error {
	return lambent.Errorf(lambent.CodeInvalid, format, args...)
}

// check completes s and tells when it is due.
func (r *Room) check(s *lambent.Schedule) (plan, error) {
	if s.Group == "" {
		s.Group = lambent.DefaultGroup
	}
	if s.Timezone == "" {
		s.Timezone = lambent.DefaultTimezone
	}
	if s.MaxAge == 0 {
		s.MaxAge = lambent.MaxScheduleAge
	}
	if err := r.checkTarget(s); err != nil {
		return plan{}, err
	}
	switch {
	case !lambent.ValidScheduleName(s.Name), !lambent.ValidScheduleName(s.Group):
		return plan{}, invalid("A name has 1 to %d letters, digits, hyphens, underscores and dots.", lambent.MaxScheduleName)
	case len(s.Description) > maxDescription:
		return plan{}, invalid("The description has more than %d characters.", maxDescription)
	case s.Flexible < 0 || s.Flexible > lambent.MaxFlexible || s.Flexible%time.Minute != 0:
		return plan{}, invalid("MaximumWindowInMinutes is from 1 to %d.", int(lambent.MaxFlexible/time.Minute))
	case s.MaxRetries < 0 || s.MaxRetries > lambent.MaxScheduleRetries:
		return plan{}, invalid("MaximumRetryAttempts is from 0 to %d.", lambent.MaxScheduleRetries)
	case s.MaxAge < lambent.MinScheduleAge || s.MaxAge > lambent.MaxScheduleAge:
		return plan{}, invalid("MaximumEventAgeInSeconds is from %d to %d.", int(lambent.MinScheduleAge.Seconds()), int(lambent.MaxScheduleAge.Seconds()))
	case !s.Start.IsZero() && !s.End.IsZero() && !s.End.After(s.Start):
		return plan{}, invalid("The EndDate must come after the StartDate.")
	case !strings.HasSuffix(s.Expression, ")"): // the plain fields of cron are not AWS's
		return plan{}, invalid("Invalid Schedule Expression %.100s.", s.Expression)
	}
	// Whether the role allows the call is asked when it is due, as on AWS.
	if r.o.Trusts != nil && !r.o.Trusts(s) {
		return plan{}, invalid("The execution role you provide must allow AWS EventBridge Scheduler to assume the role.")
	}
	p, err := planOf(s)
	if lambent.ReasonOf(err) == "Schedule" {
		return plan{}, invalid("Invalid Schedule Expression %.100s: %s.", s.Expression, err.Error())
	}
	return p, err
}

// checkTarget reads what is called with what. The function may not exist yet.
func (r *Room) checkTarget(s *lambent.Schedule) error {
	if len(s.Target) > maxARN || !strings.HasPrefix(s.Target, "arn:") || (lambent.Destination{ARN: s.Target}).Service() != "lambda" {
		return invalid("Provided Arn is not in correct format, or not of a function: only Lambda functions can be targets here.")
	}
	ref, err := lambent.ParseFunctionName(s.Target, r.o.Region)
	if err != nil || ref.Account == "" {
		return invalid("Provided Arn %.200s is not of a function in %s.", s.Target, r.o.Region)
	}
	if ref.Account != s.Namespace {
		return invalid("The function of the target belongs to another account.")
	}
	s.Function, s.Qualifier = ref.Name, ref.Qualifier
	switch {
	case s.Role != "" && (len(s.Role) > maxARN || !roleARN.MatchString(s.Role)):
		return invalid("RoleArn %.200s is not the ARN of a role.", s.Role)
	case s.DeadLetter != "" && (len(s.DeadLetter) > maxARN || !queueARN.MatchString(s.DeadLetter)):
		return invalid("DeadLetterConfig: %.200s is not the ARN of a queue.", s.DeadLetter)
	case len(s.Input) > lambent.MaxAsyncPayload:
		return invalid("The input has more than %d bytes.", lambent.MaxAsyncPayload)
	case s.Input != "" && !json.Valid([]byte(fill(s.Input, "arn", "0", "0", 1))):
		return invalid("The input is not JSON, which events of functions are.")
	}
	return nil
}

// checkStart refuses a start that has passed. A one-time schedule has none.
func checkStart(s *lambent.Schedule, now time.Time) error {
	if !s.Start.IsZero() && !strings.HasPrefix(s.Expression, "at(") && now.Sub(s.Start) > lateStart {
		return invalid("The StartDate you specify cannot be earlier than 5 minutes ago.")
	}
	return nil
}

// fill puts a call's attributes in their places ("Adding context attributes",
// EventBridge Scheduler user guide).
func fill(input, arn, at, id string, attempt int) string {
	if !strings.Contains(input, "<aws.scheduler.") {
		return input
	}
	return strings.NewReplacer(
		"<aws.scheduler.schedule-arn>", arn, "<aws.scheduler.scheduled-time>", at,
		"<aws.scheduler.execution-id>", id, "<aws.scheduler.attempt-number>", strconv.Itoa(attempt),
	).Replace(input)
}
