package iam

import (
	"strings"
	"testing"

	"lambent.dev/lambent/internal/store"
)

const root = "arn:aws:iam::" + ns + ":root"

// letting is a trust policy.
func letting(principal, more string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":` + principal + more + `}}`
}

// Who may assume a role: the trust policy must allow it, and unless it names the
// caller, the caller's own policies, too.
func TestAssume(t *testing.T) {
	r := open(t, store.NewMemory())
	to, from := create(t, r, "to").ARN(), create(t, r, "from").ARN()
	create(t, r, "other")
	account, function, session := Caller{Account: ns, ARN: root}, by(from), by(from)
	session.Assumed, session.ARN = true, "arn:aws:sts::"+ns+":assumed-role/from/s1"
	allow, deny := saying("Allow", "sts:AssumeRole"), saying("Deny", "sts:*")
	for name, c := range map[string]struct {
		caller Caller
		trust  string
		policy string // of the caller's role
		want   bool
	}{
		"root, a service is trusted":    {account, trust, "", false},
		"root, the account is trusted":  {account, letting(`{"AWS":"`+ns+`"}`, ""), "", true},
		"root, root is trusted":         {account, letting(`{"AWS":"`+root+`"}`, ""), "", true},
		"root, everybody is trusted":    {account, letting(`"*"`, ""), "", true},
		"root, everybody of AWS":        {account, letting(`{"AWS":["*"]}`, ""), "", true},
		"root, every service":           {account, letting(`{"Service":"*"}`, ""), "", false},
		"root, a role is trusted":       {account, letting(`{"AWS":"`+from+`"}`, ""), "", false},
		"root, another account":         {account, letting(`{"AWS":"111111111111"}`, ""), "", false},
		"root, without the external id": {account, letting(`"*"`, `,"Condition":{"StringEquals":{"sts:ExternalId":"y"}}`), "", false},
		"root, with the external id":    {account, letting(`"*"`, `,"Condition":{"StringEquals":{"sts:ExternalId":"x"}}`), "", true},
		"root, with another name":       {account, letting(`"*"`, `,"Condition":{"StringEquals":{"sts:RoleSessionName":"other"}}`), "", false},
		"root, with the name":           {account, letting(`"*"`, `,"Condition":{"StringLike":{"sts:RoleSessionName":"ci-*"}}`), "", true},
		"root, another account's user":  {Caller{Account: "111111111111", ARN: "arn:aws:iam::111111111111:root"}, letting(`{"AWS":"`+root+`"}`, ""), "", false},
		"a role, by name":               {function, letting(`{"AWS":"`+from+`"}`, ""), "", true},
		"a role, by name, but denied":   {function, letting(`{"AWS":"`+from+`"}`, ""), deny, false},
		"a role, by its account":        {function, letting(`{"AWS":"`+root+`"}`, ""), "", false},
		"a role, by both":               {function, letting(`{"AWS":"`+root+`"}`, ""), allow, true},
		"a role that is not trusted":    {function, trust, allow, false},
		"a role, everybody is trusted":  {function, letting(`"*"`, ""), "", false},
		"a session, by name":            {session, letting(`{"AWS":"`+session.ARN+`"}`, ""), "", true},
		"another session":               {function, letting(`{"AWS":"`+session.ARN+`"}`, ""), "", false},
		"by the principal's ARN":        {function, letting(`"*"`, `,"Condition":{"ArnEquals":{"aws:PrincipalArn":"`+from+`"}}`), allow, true},
	} {
		change(t, r, "to", func(v *Role) { v.Trust = c.trust })
		change(t, r, "from", func(v *Role) {
			clear(v.Inline)
			if c.policy != "" {
				v.Inline["p"] = c.policy
			}
		})
		got := r.Assume(Assumption{Caller: c.caller, Role: to, Session: "ci-1", ExternalID: "x"})
		if (got != nil) != c.want || got != nil && got.Name != "to" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// A session that is limited to other things is not let through by its name.
	change(t, r, "to", func(v *Role) { v.Trust = letting(`{"AWS":"`+from+`"}`, "") })
	session.Policy = saying("Allow", "lambda:*")
	if r.Assume(Assumption{Caller: session, Role: to}) != nil {
		t.Error("a session did what it is limited not to")
	}
	if r.Assume(Assumption{Caller: account, Role: strings.Replace(to, "to", "nothing", 1)}) != nil {
		t.Error("a role that is not there was assumed")
	}
}

// A session may do what both its role and its own policies allow.
func TestDecideLimited(t *testing.T) {
	r := open(t, store.NewMemory())
	arn := create(t, r, "r").ARN()
	change(t, r, "r", func(v *Role) { v.Inline["all"] = saying("Allow", "lambda:*") })
	own, err := r.CreatePolicy(t.Context(), Policy{Namespace: ns, Path: "/", Name: "own"}, saying("Allow", "lambda:Get*"), nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.CreatePolicy(t.Context(), Policy{Namespace: "111111111111", Path: "/", Name: "own"}, saying("Allow", "lambda:*"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		policy string
		arns   []string
		want   string // "" is allowed
	}{
		"not at all":        {},
		"by a document":     {policy: saying("Allow", "lambda:GetFunction")},
		"to something else": {policy: saying("Allow", "lambda:Invoke*"), want: "because no session policy allows the lambda:GetFunction action"},
		"by a denial":       {policy: saying("Deny", "*"), want: "with an explicit deny in a session policy"},
		"by a bad document": {policy: "{", want: "because no session policy allows the lambda:GetFunction action"},
		"by a policy":       {arns: []string{own.ARN()}},
		"by one of two":     {policy: saying("Allow", "s3:*"), arns: []string{"arn:aws:iam::aws:policy/Unknown", own.ARN()}},
		"by another's":      {arns: []string{other.ARN()}, want: "because no session policy allows the lambda:GetFunction action"},
	} {
		c1 := by(arn)
		c1.Assumed, c1.Policy, c1.Policies = true, c.policy, c.arns
		d := r.Decide(c1, "lambda:GetFunction", f)
		if d.Allowed != (c.want == "") || !d.Allowed && d.Because("lambda:GetFunction") != c.want {
			t.Errorf("limited %s: %+v", name, d)
		}
	}
	// What is not allowed by default goes with a role that is gone.
	gone := by(strings.Replace(arn, "/r", "/gone", 1))
	gone.Assumed = true
	if d := r.Decide(gone, "lambda:InvokeFunction", f); d.Allowed {
		t.Errorf("a session of a role that is gone: %+v", d)
	}
}

// A decision says which statement it is by.
func TestDecisionNames(t *testing.T) {
	r := open(t, store.NewMemory())
	arn := create(t, r, "r").ARN()
	two := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Allow","Action":"lambda:Get*","Resource":"*"}]}`
	change(t, r, "r", func(v *Role) { v.Inline["a"], v.Inline["two"] = saying("Allow", "logs:*"), two })
	if d := r.Decide(by(arn), "lambda:GetFunction", f); !d.Allowed || d.Policy != "two" || d.Statement != 1 || d.Layer != Identity {
		t.Errorf("%+v", d)
	}
	if d := r.Decide(by(arn), "lambda:Invoke", f); d.Allowed || d.Policy != "" || d.Denied || !d.Known {
		t.Errorf("%+v", d)
	}
	change(t, r, "r", func(v *Role) { v.Boundary = "arn:aws:iam::aws:policy/Unknown" })
	if d := r.Decide(by(arn), "lambda:GetFunction", f); d.Because("x") != "because no permissions boundary allows the x action" {
		t.Errorf("%+v", d)
	}
	if !r.Lives(arn, r.IDOf(arn)) || r.Lives(arn, "") || r.IDOf("x") != "" {
		t.Error("the id of a role is not its own")
	}
}
