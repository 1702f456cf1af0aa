package cli

import (
	"context"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/iam"
)

// makeRole is a command of scripts: the role of a name, with inline policies and then
// the ARNs of others: role NAME FILE=POLICY... ARN...
func makeRole(ts *testscript.TestScript, _ bool, args []string) {
	room, ctx := ts.Value("roles").(*iam.Room), context.Background()
	_, err := room.CreateRole(ctx, iam.Role{
		Namespace: auth.DefaultAccount, Path: "/", Name: args[0], MaxSession: 3600,
		Trust: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"lambda.amazonaws.com"}}}`,
	}, nil)
	ts.Check(err)
	_, err = room.UpdateRole(ctx, auth.DefaultAccount, args[0], func(v *iam.Role) error {
		for _, arg := range args[1:] {
			if file, name, inline := strings.Cut(arg, "="); inline {
				v.Inline[name] = ts.ReadFile(file)
			} else {
				v.Attach(arg)
			}
		}
		return nil
	})
	ts.Check(err)
}
