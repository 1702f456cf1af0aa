package schedulerapi

import (
	"cmp"
	"net/http"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
)

// operations are the names of what a method does with one of a kind, "kind/", and with
// all of them.
var operations = map[string]string{
	"POST schedules/": "CreateSchedule", "GET schedules/": "GetSchedule", "PUT schedules/": "UpdateSchedule",
	"DELETE schedules/": "DeleteSchedule", "GET schedules": "ListSchedules",
	"POST schedule-groups/": "CreateScheduleGroup", "GET schedule-groups/": "GetScheduleGroup",
	"DELETE schedule-groups/": "DeleteScheduleGroup", "GET schedule-groups": "ListScheduleGroups",
	"GET tags/": "ListTagsForResource", "POST tags/": "TagResource", "DELETE tags/": "UntagResource",
}

// Operation names what a request of this API asks for; "" when there is no such one.
func Operation(r *http.Request) string {
	kind, name := subject(r)
	if name != "" {
		kind += "/"
	}
	return operations[r.Method+" "+kind]
}

// subject is what a path is about: one of a kind, or all of them.
func subject(r *http.Request) (kind, name string) {
	kind, name, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return kind, name
}

// Resource is the ARN of what a request of a namespace is about, for who decides
// whether its caller may do that; "*" is all there are.
func Resource(r *http.Request, region, namespace string) string {
	kind, name := subject(r)
	switch {
	case name == "":
		return "*"
	case kind == "tags":
		return name
	case kind == "schedule-groups":
		return (&lambent.ScheduleGroup{Namespace: namespace, Name: name}).ARN(region)
	}
	group := r.URL.Query().Get("groupName")
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		in, err := decoded(r)
		if err != nil { // the operation says so
			return "*"
		}
		group = in.GroupName
	}
	return (&lambent.Schedule{Namespace: namespace, Group: cmp.Or(group, lambent.DefaultGroup), Name: name}).ARN(region)
}

// PassedRole is the ARN of the role that a request gives to a schedule, which its
// caller must be allowed to pass on; "" is none.
func PassedRole(r *http.Request) string {
	switch Operation(r) {
	case "CreateSchedule", "UpdateSchedule":
		if in, err := decoded(r); err == nil && in.Target != nil {
			return in.Target.RoleArn
		}
	}
	return ""
}

// decoded is the schedule that a request has for its body.
func decoded(r *http.Request) (schedule, error) {
	return auth.Decoded(r, func(body []byte) (in schedule, err error) {
		return in, read(body, &in)
	})
}
