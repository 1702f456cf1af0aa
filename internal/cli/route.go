package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

func (a *app) routeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "route",
		Short: "Show, add and delete routes of the gateway",
		Long: "A route leads the requests of a host, a method and a path to a function. The most\n" +
			"specific one wins: text before {name} before {name+}, which takes all that follows.",
	}
	cmd.AddCommand(a.routeAddCommand(), a.routeImportCommand(), a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the routes", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.routes(cmd) },
	}), &cobra.Command{
		Use: "delete ID...", Short: "Delete routes", Args: atLeastOne("the id of a route"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.deleteRoutes(cmd, args) },
	})
	return cmd
}

// routeFlags are the choices of `lambent route add`.
type routeFlags struct {
	lambent.Route
	public, iam, internal, key bool
	jwt                        lambent.RouteJWT
	jwtKeys                    string
	set, remove                []string // of headers
	setQuery, removeQuery      []string
	origins                    []string
	timeout                    time.Duration
	replace                    string
}

func (a *app) routeAddCommand() *cobra.Command {
	var f routeFlags
	cmd := a.jsonFlag(&cobra.Command{
		Use:   "add [METHOD] HOST/PATH FUNCTION[:ALIAS]",
		Short: "Lead requests to a function",
		Long: "Lead the requests of a host and a path to a function. Without a method all of them do;\n" +
			"/PATH alone is for every host, HOST/* for all that no other route takes. Only requests\n" +
			"that are signed are let in unless a flag says who may come.",
		Example: "  lambent route add GET 'api.example.com/orders/{id}' orders:live --public --rate 10\n" +
			"  lambent route add '/files/{path+}' files --key\n" +
			"  lambent route add 'api.example.com/*' site --jwt-issuer https://id.example.com --jwt-audience api \\\n" +
			"      --jwt-keys https://id.example.com/jwks.json --set-header 'X-User=${claims.sub}'",
		Args: between(2, 3, "a host and path, and a function"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.addRoute(cmd, args, f) },
	})
	flags := cmd.Flags()
	flags.BoolVar(&f.public, "public", false, "let everybody in")
	flags.BoolVar(&f.iam, "iam", false, "let in who signs with a key of the account")
	flags.BoolVar(&f.internal, "internal", false, "let in who calls from this host, or from --network")
	flags.BoolVar(&f.key, "key", false, "let in who sends an API key in X-Api-Key")
	flags.StringSliceVar(&f.Keys, "key-name", nil, "take only the API key of that name")
	flags.StringSliceVar(&f.Networks, "network", nil, "network of internal callers, such as 10.0.0.0/8")
	flags.StringVar(&f.jwt.Issuer, "jwt-issuer", "", "let in who sends a token of this issuer")
	flags.StringSliceVar(&f.jwt.Audiences, "jwt-audience", nil, "whom tokens have to be for")
	flags.StringSliceVar(&f.jwt.Scopes, "jwt-scope", nil, "scope of which tokens need one")
	flags.StringVar(&f.jwtKeys, "jwt-keys", "", "address or file of the issuer's key set")
	flags.Float64Var(&f.Rate, "rate", 0, "requests per second that each caller may send")
	flags.IntVar(&f.Burst, "burst", 0, "requests that each caller may send at once")
	flags.Int64Var(&f.MaxBody, "max-body", 0, "bytes that a request's body may have")
	flags.DurationVar(&f.timeout, "timeout", 0, "time after which a request is cut")
	flags.BoolVar(&f.Stream, "stream", false, "send answers while the function makes them")
	flags.StringVar(&f.Format, "format", "2.0", "form of the event: 2.0, 1.0 or alb")
	flags.StringArrayVar(&f.set, "set-header", nil, "NAME=VALUE that the function gets; ${path.NAME}, ${claims.NAME} and others stand for values")
	flags.StringSliceVar(&f.remove, "remove-header", nil, "header that the function does not get")
	flags.StringArrayVar(&f.setQuery, "set-query", nil, "NAME=VALUE of the query that the function gets, as with --set-header")
	flags.StringSliceVar(&f.removeQuery, "remove-query", nil, "parameter of the query that the function does not get")
	flags.StringSliceVar(&f.origins, "origin", nil, "origin of web pages that may call it, or *")
	flags.BoolVar(&f.Compress, "compress", false, "compress answers for who takes that")
	flags.StringVar(&f.AffinityCookie, "affinity-cookie", "", "cookie by which a caller stays with one instance")
	flags.StringVar(&f.AffinityHeader, "affinity-header", "", "header by which a caller stays with one instance")
	flags.StringVar(&f.replace, "replace", "", "id of the route whose place it takes")
	cmd.MarkFlagsMutuallyExclusive("public", "iam", "internal", "key", "jwt-issuer")
	return cmd
}

func (a *app) addRoute(cmd *cobra.Command, args []string, f routeFlags) error {
	r, err := f.route(a.Dir, args)
	if err != nil {
		return usageError{err}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	routes, err := c.PutRoutes(cmd.Context(), r)
	if err != nil {
		return err
	}
	return a.showRoutes(routes)
}

// route is the route that flags and arguments describe.
func (f *routeFlags) route(dir string, args []string) (lambent.Route, error) {
	r := f.Route
	r.ID = f.replace
	if len(args) == 3 {
		r.Method = strings.ToUpper(args[0])
		args = args[1:]
	}
	host, path, ok := strings.Cut(args[0], "/")
	if !ok {
		return r, fmt.Errorf("%q has no path: want HOST/PATH, or /PATH for every host", args[0])
	}
	r.Host, r.Path = strings.TrimSuffix(host, "*"), "/"+path
	if strings.HasPrefix(host, "*.") {
		r.Host = host
	}
	switch parts := strings.Split(path, "/"); {
	case path == "*":
		r.Path = lambent.RouteDefault
	case parts[len(parts)-1] == "*": // is text in a route, which nobody means
		return r, fmt.Errorf("%q would take that very path: {rest+} stands for all that follows", args[0])
	}
	r.Function, r.Qualifier, _ = strings.Cut(args[1], ":")
	r.TimeoutSeconds = f.timeout.Seconds()
	for flag, access := range map[*bool]string{&f.public: lambent.AccessPublic, &f.iam: lambent.AccessIAM, &f.internal: lambent.AccessInternal, &f.key: lambent.AccessKey} {
		if *flag {
			r.Access = access
		}
	}
	if f.jwt.Issuer != "" {
		token, err := f.token(dir)
		if err != nil {
			return r, err
		}
		r.JWT = &token
	}
	if len(f.origins) > 0 {
		r.CORS = &lambent.CORS{AllowOrigins: f.origins, AllowMethods: []string{"*"}, AllowHeaders: []string{"*"}}
	}
	header, err := mappings("header", f.remove, f.set)
	if err != nil {
		return r, err
	}
	query, err := mappings("query", f.removeQuery, f.setQuery)
	r.Request = append(header, query...)
	return r, err
}

// mappings are what the flags change of a request's headers or query: what is removed
// goes first.
func mappings(in string, remove, set []string) (all []lambent.Mapping, err error) {
	for _, name := range remove {
		all = append(all, lambent.Mapping{Do: "remove", In: in, Name: name})
	}
	for _, text := range set {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("--set-%s %s: want NAME=VALUE", in, text)
		}
		all = append(all, lambent.Mapping{Do: "set", In: in, Name: name, Value: value})
	}
	return all, nil
}

// token reads the keys from a file, unless they are at an address.
func (f *routeFlags) token(dir string) (lambent.RouteJWT, error) {
	t := f.jwt
	switch {
	case f.jwtKeys == "":
		return t, errors.New("--jwt-issuer needs --jwt-keys, an address or a file")
	case strings.Contains(f.jwtKeys, "://"):
		t.KeysURL = f.jwtKeys
		return t, nil
	}
	name := f.jwtKeys
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	text, err := os.ReadFile(name)
	t.Keys = string(text)
	return t, err
}

func (a *app) routeImportCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "import FILE",
		Short: "Add the routes of a file, all or none",
		Long: "Add the routes of a file in the form of `lambent route list --json`; - is standard\n" +
			"input. A route with an id takes the place of the route that has it.",
		Args: exactly(1, "the name of a file"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.importRoutes(cmd, args[0]) },
	})
}

func (a *app) importRoutes(cmd *cobra.Command, name string) error {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(a.Stdin)
	} else {
		if !filepath.IsAbs(name) {
			name = filepath.Join(a.Dir, name)
		}
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return err
	}
	var in client.RouteList
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	routes, err := c.PutRoutes(cmd.Context(), in.Routes...)
	if err != nil {
		return err
	}
	a.note("added %d routes", len(routes))
	return nil
}

func (a *app) routes(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	routes, err := c.Routes(cmd.Context())
	if err != nil {
		return err
	}
	if len(routes) == 0 && !a.json {
		a.note("there are no routes: `lambent route add HOST/PATH FUNCTION` makes one")
		return nil
	}
	return a.showRoutes(routes)
}

func (a *app) showRoutes(routes []lambent.Route) error {
	if a.json {
		return a.printJSON(client.RouteList{Routes: routes})
	}
	rows := [][]string{{"ID", "METHOD", "ADDRESS", "FUNCTION", "CALLERS", "RATE"}}
	for _, r := range routes {
		method, address, function, rate := r.Method, r.Host+r.Path, r.Function, "-"
		if method == "" {
			method = "ANY"
		}
		if r.Host == "" {
			address = "*" + r.Path
		}
		if r.Path == lambent.RouteDefault {
			address = strings.TrimSuffix(address, r.Path) + "/*"
		}
		if r.Qualifier != "" {
			function += ":" + r.Qualifier
		}
		if r.Rate > 0 {
			rate = fmt.Sprintf("%s/s, %d at once", strconv.FormatFloat(r.Rate, 'g', -1, 64), r.Burst)
		}
		rows = append(rows, []string{r.ID, method, address, function, r.Access, rate})
	}
	return a.table(rows)
}

func (a *app) deleteRoutes(cmd *cobra.Command, ids []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := c.DeleteRoute(cmd.Context(), id); err != nil {
			return err
		}
		a.note("deleted the route %s", id)
	}
	return nil
}
