package server

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/iamapi"
	"lambent.dev/lambent/internal/queryapi"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/stsapi"
)

const ns = "123456789012"

// wanted is a request of a caller with a role.
func wanted(role, service, method, target, body, operation string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if operation != "" {
		r.Header.Set("X-Amz-Target", operation)
	}
	id := auth.Identity{AccountID: ns, ARN: "arn:aws:sts::" + ns + ":assumed-role/r/f", Role: role, Service: service}
	return r.WithContext(auth.With(r.Context(), id))
}

// guarded are doors that all answer, to those whom a room of roles lets through.
func guarded(t *testing.T, room *iam.Room) permit {
	t.Helper()
	keys, err := auth.Open(t.TempDir(), auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	query := queryapi.New(map[string]queryapi.API{"sts": stsapi.New(stsapi.Options{Roles: room, Keys: keys}), "iam": iamapi.New(room)}, nil)
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	return permit{dialects: dialects{lambda: ok, logs: ok, query: query, queried: query.Wanted, scheduler: ok, own: ok}, region: "us-east-1", roles: room}
}

// noRoles is a room without any.
func noRoles(t *testing.T) *iam.Room {
	t.Helper()
	room, err := iam.Open(t.Context(), iam.Options{Records: store.NewMemory(), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	return room
}

// What functions may do without a role on record.
func TestPermitByDefault(t *testing.T) {
	other, doors := "arn:aws:lambda:us-east-1:"+ns+":function:g", guarded(t, noRoles(t))
	for _, role := range []string{lambent.DefaultRole(ns), "arn:aws:iam::" + ns + ":role/unknown"} {
		for _, c := range []struct {
			service, method, target, body, operation string
			want                                     int
		}{
			{"lambda", "POST", "/2015-03-31/functions/g/invocations", "", "", 200},
			{"lambda", "POST", "/2015-03-31/functions/" + other + ":1/invocations", "", "", 200},
			{"lambda", "POST", "/2015-03-31/functions/g/invocations/?Qualifier=x", "", "", 200},
			{"lambda", "POST", "/2021-11-15/functions/g/response-streaming-invocations", "", "", 200},
			{"lambda", "POST", "/2014-11-13/functions/g/invoke-async", "", "", 200},
			{"sts", "POST", "/", "Action=GetCallerIdentity", "", 200},
			{"lambda", "POST", "/2015-03-31/functions/" + strings.Replace(other, ns, "999999999999", 1) + "/invocations", "", "", 403},
			{"lambda", "POST", "/2015-03-31/functions", `{"FunctionName":"g"}`, "", 403},
			{"lambda", "GET", "/2015-03-31/functions", "", "", 403},
			{"lambda", "GET", "/2015-03-31/functions/g", "", "", 403},
			{"lambda", "GET", "/2015-03-31/functions/g/invocations", "", "", 403},
			{"lambda", "DELETE", "/2015-03-31/functions/g", "", "", 403},
			{"lambda", "GET", "/2015-03-31/nothing", "", "", 403},
			{"lambda", "GET", "/nothing", "", "", 403},
			{"lambda", "POST", "/v1/functions/g/invocations", "", "", 403},
			{"sts", "POST", "/", "Action=AssumeRole&RoleSessionName=me&RoleArn=arn:aws:iam::" + ns + ":role/x", "", 403},
			{"sts", "POST", "/", "Action=GetSessionToken", "", 403},
			{"iam", "POST", "/", "Action=GetCallerIdentity", "", 403},
			{"logs", "POST", "/", "{}", "Logs_20140328.PutLogEvents", 400}, // as awsJson says it
			{"x", "POST", "/", "{}", "X_1.Do", 400},
			{"scheduler", "POST", "/schedules/s", "{}", "", 403},
			{"lambda", "POST", "/v1/x?Action=GetCallerIdentity", "", "", 403},
		} {
			w := httptest.NewRecorder()
			doors.ServeHTTP(w, wanted(role, c.service, c.method, c.target, c.body, c.operation))
			if w.Code != c.want {
				t.Errorf("%s: %s %s %s%s: %d, want %d: %s", role, c.method, c.target, c.body, c.operation, w.Code, c.want, w.Body)
			}
		}
	}
}

// record is what one role on record allows.
type record struct{ role, action, resource string }

// room is one with the role.
func (p record) room(t *testing.T) *iam.Room {
	t.Helper()
	room := noRoles(t)
	_, account, _ := strings.Cut(p.role, "::")
	account, name, _ := strings.Cut(account, ":role/")
	_, err := room.CreateRole(t.Context(), iam.Role{Namespace: account, Path: "/", Name: name, MaxSession: 3600, Trust: everybody}, nil)
	if err == nil {
		_, err = room.UpdateRole(t.Context(), account, name, func(v *iam.Role) error {
			v.Inline["p"] = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"` + p.action + `","Resource":"` + p.resource + `"}}`
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return room
}

const everybody = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*"}}`

// A role on record allows what it says, and no more.
func TestPermitByRole(t *testing.T) {
	const clerk, g = "arn:aws:iam::" + ns + ":role/clerk", "arn:aws:lambda:us-east-1:" + ns + ":function:g"
	for name, c := range map[string]struct {
		record
		request *http.Request
		want    int
	}{
		"allowed":         {record{clerk, "lambda:GetFunction", g}, wanted(clerk, "lambda", "GET", "/2015-03-31/functions/g", "", ""), 200},
		"qualified":       {record{clerk, "lambda:GetFunction", g + ":2"}, wanted(clerk, "lambda", "GET", "/2015-03-31/functions/g?Qualifier=2", "", ""), 200},
		"in the body":     {record{clerk, "lambda:UpdateFunctionConfiguration", g}, wanted(clerk, "lambda", "PUT", "/2015-03-31/functions/g/configuration", `{"Timeout":3}`, ""), 200},
		"passes a role":   {record{clerk, "lambda:UpdateFunctionConfiguration", g}, wanted(clerk, "lambda", "PUT", "/2015-03-31/functions/g/configuration", `{"Role":"`+lambent.DefaultRole(ns)+`"}`, ""), 403},
		"a group":         {record{clerk, "logs:GetLogEvents", "arn:aws:logs:us-east-1:" + ns + ":log-group:x:log-stream:y"}, wanted(clerk, "logs", "POST", "/", `{"logGroupName":"x","logStreamName":"y"}`, "Logs_20140328.GetLogEvents"), 200},
		"two groups":      {record{clerk, "logs:TagResource", "arn:aws:logs:us-east-1:" + ns + ":log-group:x"}, wanted(clerk, "logs", "POST", "/", `{"logGroupName":"y","resourceArn":"x"}`, "Logs_20140328.TagResource"), 400},
		"a schedule":      {record{clerk, "scheduler:CreateSchedule", "arn:aws:scheduler:us-east-1:" + ns + ":schedule/x/s"}, wanted(clerk, "scheduler", "POST", "/schedules/s?groupName=y", `{"GroupName":"x"}`, ""), 200},
		"passes its role": {record{clerk, "scheduler:*", "*"}, wanted(clerk, "scheduler", "PUT", "/schedules/s", `{"Target":{"RoleArn":"`+clerk+`"}}`, ""), 403},
		"its group":       {record{clerk, "scheduler:GetScheduleGroup", "arn:aws:scheduler:us-east-1:" + ns + ":schedule-group/x"}, wanted(clerk, "scheduler", "GET", "/schedule-groups/x", "", ""), 200},
		"a layer":         {record{clerk, "lambda:GetLayerVersion", "arn:aws:lambda:us-east-1:" + ns + ":layer:l:2"}, wanted(clerk, "lambda", "GET", "/2018-10-31/layers/l/versions/2", "", ""), 200},
		"any resource":    {record{clerk, "lambda:ListFunctions", "*"}, wanted(clerk, "lambda", "GET", "/2015-03-31/functions", "", ""), 200},
		"a role":          {record{clerk, "iam:GetRole", clerk}, wanted(clerk, "iam", "POST", "/", "Action=GetRole&RoleName=clerk", ""), 200},
		"another role":    {record{clerk, "iam:GetRole", clerk}, wanted(clerk, "iam", "POST", "/", "Action=GetRole&RoleName=clerks", ""), 403},
		"no such role":    {record{clerk, "iam:DeleteRole", clerk + "s"}, wanted(clerk, "iam", "POST", "/", "Action=DeleteRole&RoleName=clerks", ""), 404},
		"of a path":       {record{clerk, "iam:CreateRole", "arn:aws:iam::" + ns + ":role/team/*"}, wanted(clerk, "iam", "POST", "/", "Action=CreateRole&Path=/team/&RoleName=x&AssumeRolePolicyDocument="+url.QueryEscape(everybody), ""), 200},
		"of no path":      {record{clerk, "iam:CreateRole", "arn:aws:iam::" + ns + ":role/team/*"}, wanted(clerk, "iam", "POST", "/", "Action=CreateRole&RoleName=x", ""), 403},
		"a policy":        {record{clerk, "iam:GetPolicy", "arn:aws:iam::aws:policy/*"}, wanted(clerk, "iam", "POST", "/", "Action=GetPolicy&PolicyArn=arn:aws:iam::aws:policy/AWSLambda_FullAccess", ""), 200},
		"all roles":       {record{clerk, "iam:ListRoles", "*"}, wanted(clerk, "iam", "POST", "/", "Action=ListRoles", ""), 200},
		"one of all":      {record{clerk, "iam:ListRoles", clerk}, wanted(clerk, "iam", "POST", "/", "Action=ListRoles", ""), 403},
		"beside a policy": {record{clerk, "iam:GetPolicy", clerk}, wanted(clerk, "iam", "POST", "/", "Action=GetPolicy&RoleName=clerk&PolicyArn=arn:aws:iam::aws:policy/AWSLambda_FullAccess", ""), 403},
		"beside a new":    {record{clerk, "iam:CreatePolicy", clerk}, wanted(clerk, "iam", "POST", "/", "Action=CreatePolicy&RoleName=clerk&PolicyName=x", ""), 403},
		"beside all":      {record{clerk, "iam:ListRoles", clerk}, wanted(clerk, "iam", "POST", "/", "Action=ListRoles&RoleName=clerk", ""), 403},
		"assumes":         {record{clerk, "sts:AssumeRole", clerk}, wanted(clerk, "sts", "POST", "/", "Action=AssumeRole&RoleSessionName=me&RoleArn="+clerk, ""), 200},
		"may not assume":  {record{clerk, "sts:AssumeRole", clerk + "s"}, wanted(clerk, "sts", "POST", "/", "Action=AssumeRole&RoleSessionName=me&RoleArn="+clerk, ""), 403},
		"no invoke":       {record{clerk, "lambda:GetFunction", g}, wanted(clerk, "lambda", "POST", "/2015-03-31/functions/g/invocations", "", ""), 403},
		"another":         {record{clerk, "lambda:GetFunction", g}, wanted(clerk, "lambda", "GET", "/2015-03-31/functions/h", "", ""), 403},
		"another account": {record{strings.Replace(clerk, ns, "999999999999", 1), "lambda:GetFunction", g},
			wanted(strings.Replace(clerk, ns, "999999999999", 1), "lambda", "GET", "/2015-03-31/functions/g", "", ""), 403},
		"not on record": {record{clerk, "lambda:GetFunction", g}, wanted(clerk+"s", "lambda", "GET", "/2015-03-31/functions/g", "", ""), 403},
		"never":         {record{clerk, "lambent:Access", "*"}, wanted(clerk, "lambda", "GET", "/v1/functions", "", ""), 403},
	} {
		w := httptest.NewRecorder()
		guarded(t, c.room(t)).ServeHTTP(w, c.request)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, c.want, w.Body)
		}
	}
}

// The account itself may do all.
func TestPermitAccount(t *testing.T) {
	w := httptest.NewRecorder()
	guarded(t, noRoles(t)).ServeHTTP(w, wanted("", "lambda", "DELETE", "/2015-03-31/functions/g", "", ""))
	if w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
}

// What a request is about is read once, and the operation behind reads it no second time.
func TestBodyIsDecodedOnce(t *testing.T) {
	role := "arn:aws:iam::" + ns + ":role/r"
	for _, c := range []struct {
		service, method, target, body string
		want                          []action
	}{
		{"lambda", "POST", "/2015-03-31/functions", `{"FunctionName":"f","Code":{"ZipFile":"AA=="},"Role":"` + role + `"}`, []action{
			{"lambda:CreateFunction", "arn:aws:lambda:us-east-1:" + ns + ":function:f", ""}, {"iam:PassRole", role, iam.LambdaService},
		}},
		{"scheduler", "PUT", "/schedules/s", `{"GroupName":"g","Target":{"Arn":"x","RoleArn":"` + role + `"}}`, []action{
			{"scheduler:UpdateSchedule", "arn:aws:scheduler:us-east-1:" + ns + ":schedule/g/s", ""}, {"iam:PassRole", role, "scheduler.amazonaws.com"},
		}},
		{"iam", "POST", "/", "Action=GetRole&RoleName=r", []action{{"iam:GetRole", role, ""}}},
	} {
		r := wanted(role, c.service, c.method, c.target, c.body, "")
		id, _ := auth.From(r.Context())
		doors := guarded(t, noRoles(t))
		for range 2 {
			if got := doors.of(r).wishes(r, "us-east-1", id); !slices.Equal(got, c.want) {
				t.Errorf("%s %s wants %v, not %v", c.method, c.target, got, c.want)
			}
			body, err := auth.Body(r)
			if err != nil {
				t.Fatal(err)
			}
			clear(body)
		}
	}
}

// A schedule may call what its role may.
func TestMaySchedule(t *testing.T) {
	const clerk, g = "arn:aws:iam::" + ns + ":role/clerk", "arn:aws:lambda:us-east-1:" + ns + ":function:g"
	room := record{clerk, "lambda:InvokeFunction", g}.room(t)
	s := &Server{roles: room}
	s.config.Region = "us-east-1"
	trust := func(document string) {
		t.Helper()
		_, err := room.UpdateRole(t.Context(), ns, "clerk", func(v *iam.Role) error {
			v.Trust = document
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(role, target string, want bool) {
		t.Helper()
		err := s.maySchedule(&lambent.Schedule{Namespace: ns, Group: "x", Name: "s", Function: "g", Target: target, Role: role})
		if (err == nil) != want || err != nil && lambent.CodeOf(err) != lambent.CodeDenied {
			t.Errorf("%q calls %s: %v, want %v", role, target, err, want)
		}
	}
	for _, role := range []string{"", lambent.DefaultRole(ns), clerk + "s"} {
		check(role, g, true)
	}
	check(clerk, g, true) // whose trust policy names everybody
	check(clerk, g+"g", false)
	check(clerk, g+":2", false)
	service := func(name, group string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"` + name + `"},
			"Condition":{"StringEquals":{"aws:SourceAccount":"` + ns + `"},"ArnLike":{"aws:SourceArn":"arn:aws:scheduler:us-east-1:` + ns + `:schedule-group/` + group + `"}}}}`
	}
	trusts := func(role string, want bool) {
		t.Helper()
		if got := s.trustsSchedule(&lambent.Schedule{Namespace: ns, Group: "x", Name: "s", Role: role}); got != want {
			t.Errorf("%q lets the scheduler have it: %v, want %v", role, got, want)
		}
	}
	trust(service(iam.SchedulerService, "x"))
	check(clerk, g, true)
	trusts(clerk, true)
	trusts(clerk+"s", true)
	trusts("", true)
	trust(service(iam.SchedulerService, "y"))
	check(clerk, g, false)
	trusts(clerk, false)
	trust(service(iam.LambdaService, "x"))
	check(clerk, g, false)
}

// What becomes of a function's calls goes where the function's role may call.
func TestMayDeliver(t *testing.T) {
	const clerk, g = "arn:aws:iam::" + ns + ":role/clerk", "arn:aws:lambda:us-east-1:" + ns + ":function:g"
	room := record{clerk, "lambda:InvokeFunction", g}.room(t)
	s := &Server{roles: room}
	s.config.Region = "us-east-1"
	check := func(role, target string, want bool) {
		t.Helper()
		err := s.mayDeliver(&lambent.Version{Namespace: ns, Function: "f", Number: "1", Role: role}, target)
		if (err == nil) != want || err != nil && lambent.CodeOf(err) != lambent.CodeDenied {
			t.Errorf("%q calls %s: %v, want %v", role, target, err, want)
		}
	}
	for _, role := range []string{"", lambent.DefaultRole(ns), clerk + "s"} {
		check(role, g+"g", true)
		check(role, strings.Replace(g, ns, "999999999999", 1), false)
	}
	check(clerk, g, true) // whose trust policy names everybody
	check(clerk, g+"g", false)
	check(clerk, g+":2", false)
	_, err := room.UpdateRole(t.Context(), ns, "clerk", func(v *iam.Role) error {
		v.Trust = strings.Replace(everybody, `"*"`, `{"Service":"`+iam.SchedulerService+`"}`, 1)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	check(clerk, g, false)
}
