package catalog

import (
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// A function gets a role that lets it, when it is made and when it is changed; one
// that it has had stays.
func TestRolesThatLetNobody(t *testing.T) {
	x := openOn(t, store.NewMemory())
	const closed, open = "arn:aws:iam::111111111111:role/closed", "arn:aws:iam::111111111111:role/open"
	x.o.Trusts = func(role, function string) bool {
		if !strings.HasSuffix(function, ":111111111111:function:f") {
			t.Errorf("asked for the function %s", function)
		}
		return role != closed
	}
	const refusal = "The role defined for the function cannot be assumed by Lambda."
	in := input("f")
	in.Version.Role = closed
	_, err := x.CreateFunction(t.Context(), in)
	x.refused(err, lambent.CodeInvalid, refusal)
	in.Version.Role = open
	_, err = x.CreateFunction(t.Context(), in)
	x.ok(err)
	x.settleAll()
	_, err = x.UpdateConfig(t.Context(), UpdateConfig{Namespace: ns, Function: "f", Apply: func(v *lambent.Version) { v.Role = closed }})
	x.refused(err, lambent.CodeInvalid, refusal)
	x.o.Trusts = func(string, string) bool { return false }
	x.describe("f", "the role is what it was")
	if v := x.head("f"); v.Role != open || v.Description != "the role is what it was" {
		t.Errorf("the function is %+v", v)
	}
}

// A destination that the function's role may not call is refused when it is set, and not
// when something else is.
func TestDestinationsThatTheRoleDoesNotAllow(t *testing.T) {
	x := openOn(t, store.NewMemory())
	for _, name := range []string{"f", "g"} {
		x.create(name)
	}
	to := lambent.Destination{ARN: lambent.FunctionARN(x.o.Region, ns, "g", "")}
	x.o.May = func(from *lambent.Version, function string) error {
		if from.Function != "f" || function != to.ARN {
			t.Errorf("asked whether %s may call %s", from.Function, function)
		}
		return lambent.Errorf(lambent.CodeDenied, "no")
	}
	const refusal = "The function's execution role does not have permissions to call InvokeFunction on "
	set := EventChange{Namespace: ns, Function: "f", OnSuccess: &to}
	_, err := x.PutEventConfig(t.Context(), set, false)
	x.refused(err, lambent.CodeInvalid, refusal+to.ARN)
	x.refused(x.SetEvents(t.Context(), set, nil), lambent.CodeInvalid, refusal+to.ARN)
	denied := x.o.May
	x.o.May = nil
	_, err = x.PutEventConfig(t.Context(), set, false)
	x.ok(err)
	x.o.May = denied
	_, err = x.PutEventConfig(t.Context(), EventChange{Namespace: ns, Function: "f", MaxRetries: new(1)}, true)
	x.ok(err)
}
