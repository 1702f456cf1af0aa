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
