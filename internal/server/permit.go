package server

import (
	"net/http"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/lambdaapi"
	"lambent.dev/lambent/internal/logsapi"
	"lambent.dev/lambent/internal/queryapi"
	"lambent.dev/lambent/internal/schedulerapi"
)

// Roles are what is on record of roles.
type Roles interface {
	// Allows tells whether a role, by its ARN, may do an action such as
	// "lambda:InvokeFunction" with a resource, by its ARN or "*". known is false of a
	// role that is not on record.
	Allows(role, action, resource string) (allowed, known bool)
}

// permit lets those through who may do what they ask for. It is the one place where
// that is decided: the account may do all, a role what it allows.
type permit struct {
	dialects
	region string
	roles  Roles // nil: none is on record
}

// permitted are the doors of the API for those who may.
func (s *Server) permitted() permit {
	return permit{dialects: s.dialects, region: s.config.Region, roles: s.roles}
}

// ServeHTTP implements http.Handler.
func (p permit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := p.of(r)
	if id, ok := auth.From(r.Context()); ok && id.Role != "" {
		for _, a := range to.wishes(r, p.region, id) {
			if !p.allows(id, a) {
				refuse(w, r, forbidden(id, a))
				return
			}
		}
	}
	to.door.ServeHTTP(w, r)
}

// allows decides. A function whose role is the default one, or is not on record, may
// call those beside it: one that is taken over can neither deploy nor read code.
// Nobody needs a permission to learn who he is ("GetCallerIdentity", AWS Security
// Token Service API reference).
func (p permit) allows(id auth.Identity, a action) bool {
	switch a.name {
	case "":
		return false
	case "sts:GetCallerIdentity":
		return true
	}
	own := strings.HasPrefix(id.Role, "arn:aws:iam::"+id.AccountID+":") // another account's has no say here
	if p.roles != nil && own && id.Role != lambent.DefaultRole(id.AccountID) {
		if allowed, known := p.roles.Allows(id.Role, a.name, a.resource); known {
			return allowed
		}
	}
	return (a.name == "lambda:InvokeFunction" || a.name == "lambda:InvokeAsync") &&
		strings.HasPrefix(a.resource, lambent.FunctionARN(p.region, id.AccountID, "", ""))
}

// action is what a request asks for, in the words of policies (Service authorization
// reference); the zero value is what they have no word for. Where the resource is not
// told it is "*", which only who may do it with all of them may.
type action struct{ name, resource string }

// wish finds the action of a request.
type wish func(r *http.Request, region string, id auth.Identity) action

// wishes are all actions of a request: at least one.
func (d dialect) wishes(r *http.Request, region string, id auth.Identity) []action {
	if d.wish == nil {
		return []action{{}}
	}
	all := []action{d.wish(r, region, id)}
	if d.service == "lambda" {
		// Or who may deploy could have every role ("Granting a user permissions to pass a
		// role to an AWS service", IAM user guide).
		if role := lambdaapi.PassedRole(r); role != "" {
			all = append(all, action{"iam:PassRole", role})
		}
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
	return action{"lambda:" + name, lambdaapi.Resource(r, region, id.AccountID)}
}

func wishLogs(r *http.Request, region string, id auth.Identity) action {
	return action{"logs:" + logsapi.Operation(r), logsapi.Resource(r, region, id.AccountID)}
}

func wishQuery(r *http.Request, _ string, id auth.Identity) action {
	return action{id.Service + ":" + queryapi.ActionOf(r), "*"}
}

func wishScheduler(r *http.Request, region string, id auth.Identity) action {
	return action{"scheduler:" + schedulerapi.Operation(r), schedulerapi.Resource(r, region, id.AccountID)}
}

// forbidden is the refusal, in AWS's words.
func forbidden(id auth.Identity, a action) *lambent.Error {
	e := &lambent.Error{Code: lambent.CodeDenied, Reason: "AccessDeniedException",
		Message: "Unable to determine service/operation name to be authorized"}
	if a.name != "" {
		e.Message = "User: " + id.ARN + " is not authorized to perform: " + a.name + " on resource: " + a.resource +
			" because no identity-based policy allows the " + a.name + " action"
	}
	return e
}
