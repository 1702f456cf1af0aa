package cli

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/client"
)

func (a *app) rolesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "roles", Aliases: []string{"role"},
		Short: "Show roles, and what functions may do by them",
		Long: "A function may do what its role allows. Roles and policies are made with any IAM client, such as\n" +
			"`aws iam create-role`, at the server's address; `lambent deploy --role ARN` gives a function one.",
	}
	cmd.AddCommand(a.jsonFlag(&cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the roles on record, and those that functions have", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.roles(cmd) },
	}), a.jsonFlag(&cobra.Command{
		Use: "show NAME", Short: "Show what a role allows, and whom", Args: exactly(1, "the name of a role"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.role(cmd, args[0]) },
	}), a.jsonFlag(&cobra.Command{
		Use: "why FUNCTION[:ALIAS] ACTION [RESOURCE]", Short: "Tell whether a function may do something, and why",
		Example: "  lambent roles why hello lambda:InvokeFunction arn:aws:lambda:us-east-1:000000000000:function:other\n" +
			"  lambent roles why hello lambda:ListFunctions",
		Args: between(2, 3, "a function, an action and perhaps a resource"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.permission(cmd, append(args, "")) },
	}))
	return cmd
}

func (a *app) roles(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	all, err := c.Roles(cmd.Context())
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(client.RoleList{Roles: all})
	}
	if len(all) == 0 {
		a.note("there are no roles: `aws iam create-role` makes one")
		return nil
	}
	rows := [][]string{{"ROLE", "POLICIES", "FUNCTIONS"}}
	for _, r := range all {
		policies := "not on record"
		if r.OnRecord {
			policies = names(r.Attached)
		}
		rows = append(rows, []string{roleName(r.ARN), policies, names(r.Functions)})
	}
	return a.table(rows)
}

// roleName is a role's path and name.
func roleName(arn string) string {
	_, name, _ := strings.Cut(arn, ":role/")
	return name
}

// names lists what there is by the last part of its ARN.
func names(all []string) string {
	if len(all) == 0 {
		return "-"
	}
	out := make([]string, len(all))
	for i, name := range all {
		out[i] = name[strings.LastIndexByte(name, '/')+1:]
	}
	return strings.Join(out, ", ")
}

func (a *app) role(cmd *cobra.Command, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	r, err := c.Role(cmd.Context(), name)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(r)
	}
	rows := [][]string{{"Role", r.ARN}, {"Functions", names(r.Functions)}}
	if r.Description != "" {
		rows = append(rows, []string{"Description", r.Description})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	if err := a.document("who may have it", r.Trust); err != nil {
		return err
	}
	for _, p := range r.Policies {
		if err := a.document(p.Kind+" "+p.Name, p.Document); err != nil {
			return err
		}
	}
	if len(r.Policies) == 0 {
		a.note("the role has no policies, and allows nothing")
	}
	return nil
}

// document prints a policy, or a part of one, below its title.
func (a *app) document(title string, text json.RawMessage) error {
	if len(text) == 0 {
		return a.printf("\n%s: not known here, and allows nothing\n", printable(title))
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return err
	}
	return a.printf("\n%s\n%s\n", printable(title), terminalText(b.String()))
}

func (a *app) permission(cmd *cobra.Command, args []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	function, qualifier, _ := strings.Cut(args[0], ":")
	p, err := c.Permission(cmd.Context(), function, qualifier, args[1], args[2])
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(p)
	}
	verdict, resource := "may not", p.Resource
	if p.Allowed {
		verdict = "may"
	}
	if resource == "*" {
		resource = "any resource"
	}
	if err := a.printf("%s %s %s on %s.\n%s\n", args[0], verdict, printable(p.Action), printable(resource), printable(p.Reason)); err != nil {
		return err
	}
	if p.Policy == "" {
		return a.printf("Its role is %s.\n", printable(p.Role))
	}
	return a.document(p.Policy+", of "+roleName(p.Role), p.Statement)
}
