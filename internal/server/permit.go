package server

import (
	"cmp"
	"net/http"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/lambdaapi"
	"lambent.dev/lambent/internal/logsapi"
	"lambent.dev/lambent/internal/schedulerapi"
	"lambent.dev/lambent/internal/stsapi"
)

// permit lets those through who may do what they ask for: it finds what that is, and
// asks the roles.
type permit struct {
	dialects
	region string
	roles  *iam.Room
}

// permitted are the doors of the API for those who may.
func (s *Server) permitted() permit {
	return permit{dialects: s.dialects, region: s.config.Region, roles: s.roles}
}

// permits tells whether a caller may do something.
func (s *Server) permits(id auth.Identity, action, resource string) bool {
	return s.roles.Decide(stsapi.Caller(id), action, resource).Allowed
}

// ServeHTTP implements http.Handler.
func (p permit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := p.of(r)
	if id, ok := auth.From(r.Context()); ok && id.Role != "" {
		for _, a := range to.wishes(r, p.region, id) {
			if e := p.refusal(id, a); e != nil {
				refuse(w, r, e)
				return
			}
		}
	}
	to.door.ServeHTTP(w, r)
}

// refusal is the error for who may not do something, in AWS's words. Whether a role may
// be assumed is decided behind the door: that role's own policy has a say.
func (p permit) refusal(id auth.Identity, a action) *lambent.Error {
	if a.name == "" {
		return accessDenied("Unable to determine service/operation name to be authorized")
	}
	if a.name == "sts:AssumeRole" {
		return nil
	}
	var d iam.Decision
	if caller := stsapi.Caller(id); a.passedTo != "" {
		d = p.roles.Passes(caller, a.resource, a.passedTo)
	} else {
		d = p.roles.Decide(caller, a.name, a.resource)
	}
	if d.Allowed {
		return nil
	}
	return accessDenied("User: " + id.ARN + " is not authorized to perform: " + a.name + " on resource: " + a.resource + " " + d.Because(a.name))
}

// maySchedule tells why a schedule may not call its function; nil is that it may. It calls as
// its role, or else who may give a role to a schedule could call every function. One that
// has none is the account's own.
func (s *Server) maySchedule(sc *lambent.Schedule) error {
	if sc.Role == "" {
		return nil
	}
	return s.mayCall(sc.Namespace, sc.Role, iam.SchedulerService, s.groupOf(sc), sc.Target)
}

// trustsSchedule tells whether a schedule's role lets the scheduler assume it, or is not on
// record.
func (s *Server) trustsSchedule(sc *lambent.Schedule) bool {
	trusted, known := s.roles.Trusts(sc.Role, iam.SchedulerService, s.groupOf(sc))
	return trusted || !known
}

// groupOf is the ARN of a schedule's group, which stands for its schedules in conditions.
func (s *Server) groupOf(sc *lambent.Schedule) string {
	group := lambent.ScheduleGroup{Namespace: sc.Namespace, Name: sc.Group}
	return group.ARN(s.config.Region)
}

// mayDeliver tells why what becomes of a version's calls may not go to a function; nil is
// that it may. It goes there as the version's role, or else who may change where records go
// could call every function.
func (s *Server) mayDeliver(from *lambent.Version, function string) error {
	role := cmp.Or(from.Role, lambent.DefaultRole(from.Namespace))
	source := lambent.FunctionARN(s.config.Region, from.Namespace, from.Function, "")
	return s.mayCall(from.Namespace, role, iam.LambdaService, source, function)
}

// mayCall tells why a service may not call a function as a role of an account, on behalf of
// the account's resource source.
func (s *Server) mayCall(account, role, service, source, function string) error {
	const action = "lambda:InvokeFunction"
	if trusted, known := s.roles.Trusts(role, service, source); known && !trusted {
		return accessDenied("The role " + role + " does not allow " + service + " to assume it")
	}
	d := s.roles.Decide(iam.Caller{Account: account, ARN: role, Role: role}, action, function)
	if !d.Allowed {
		return accessDenied("The role " + role + " is not authorized to perform: " + action + " on resource: " + function + " " + d.Because(action))
	}
	return nil
}

func accessDenied(message string) *lambent.Error {
	return &lambent.Error{Code: lambent.CodeDenied, Reason: "AccessDeniedException", Message: message}
}

// action is what a request asks for, in the words of policies (Service authorization
// reference); the zero value is what they have no word for. Where the resource is not
// told it is "*", which only who may do it with all of them may.
type action struct {
	name, resource string
	passedTo       string // the service that a role is given to; "" where none is
}

// wish finds the action of a request.
type wish func(r *http.Request, region string, id auth.Identity) action

// wishes are all actions of a request: at least one.
func (d dialect) wishes(r *http.Request, region string, id auth.Identity) []action {
	if d.wish == nil {
		return []action{{}}
	}
	all := []action{d.wish(r, region, id)}
	// Or who may deploy could have every role ("Granting a user permissions to pass a
	// role to an AWS service", IAM user guide).
	var role, to string
	switch d.service {
	case "lambda":
		role, to = lambdaapi.PassedRole(r), iam.LambdaService
	case "scheduler":
		role, to = schedulerapi.PassedRole(r), iam.SchedulerService
	}
	if role != "" {
		all = append(all, action{"iam:PassRole", role, to})
	}
	return all
}

func wishLambda(r *http.Request, region string, id auth.Identity) action {
	name := lambdaapi.Operation(r)
	switch name {
	case "":
		return action{}
	case "Invoke", "InvokeWithResponseStream":
		name = "InvokeFunction"
	}
	return action{name: "lambda:" + name, resource: lambdaapi.Resource(r, region, id.AccountID)}
}

func wishLogs(r *http.Request, region string, id auth.Identity) action {
	return action{name: "logs:" + logsapi.Operation(r), resource: logsapi.Resource(r, region, id.AccountID)}
}

func (d dialects) wishQuery(r *http.Request, _ string, id auth.Identity) action {
	name, resource := d.queried(r, id)
	return action{name: name, resource: resource}
}

func wishScheduler(r *http.Request, region string, id auth.Identity) action {
	return action{name: "scheduler:" + schedulerapi.Operation(r), resource: schedulerapi.Resource(r, region, id.AccountID)}
}
