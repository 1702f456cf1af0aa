package httpapi

import (
	"encoding/json"
	"net/http"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
)

// publicSid names the statement that opens a function URL to everybody. It is the
// one that AWS's own console makes.
const publicSid = "FunctionURLAllowPublicAccess"

// The types of authentication, as AWS names them.
const (
	authNone = "NONE"
	authIAM  = "AWS_IAM"
)

func (a *api) listURLs(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	urls, _, err := a.o.Catalog.URLs(c.id.AccountID, name, 0, 0)
	if err != nil {
		return err
	}
	out := client.URLList{URLs: []client.URL{}}
	for _, u := range urls {
		out.URLs = append(out.URLs, a.url(u))
	}
	return c.answer(http.StatusOK, out)
}

// url is a function URL as it is now.
func (a *api) url(u *lambent.URL) client.URL {
	out := client.URL{
		URL: a.o.FunctionURL(u.ID), Qualifier: u.Qualifier, Auth: client.AuthIAM, Stream: u.InvokeMode == "RESPONSE_STREAM",
		Created: u.Created, LastModified: u.LastModified,
	}
	switch {
	case u.Internal:
		out.Auth, out.Networks = client.AuthInternal, u.Networks
	case u.AuthType == authNone:
		out.Auth = client.AuthNobody
		if e := a.o.Catalog.Entrance(u.ID); e != nil && e.Open {
			out.Auth = client.AuthPublic
		}
	}
	if k := u.CORS; k != nil {
		out.CORS = &client.CORS{
			AllowOrigins: k.AllowOrigins, AllowMethods: k.AllowMethods, AllowHeaders: k.AllowHeaders, ExposeHeaders: k.ExposeHeaders,
			AllowCredentials: k.AllowCredentials, MaxAgeSeconds: k.MaxAge,
		}
	}
	return out
}

// urlName is the function and alias that a path names; "-" is no alias.
func (c *call) urlName() (name, qualifier string, err error) {
	if name, err = c.function(); err != nil {
		return "", "", err
	}
	if qualifier = c.PathValue("qualifier"); qualifier == "-" {
		qualifier = ""
	}
	return name, qualifier, nil
}

func (a *api) putURL(c *call) error {
	name, qualifier, err := c.urlName()
	if err != nil {
		return err
	}
	var in client.PutURL
	if err := c.read(&in); err != nil {
		return err
	}
	update := catalog.UpdateURL{Namespace: c.id.AccountID, Function: name, Qualifier: qualifier, CORS: cors(in.CORS)}
	if in.Auth != nil {
		switch *in.Auth {
		case client.AuthPublic:
			update.AuthType = new(authNone)
		case client.AuthIAM:
			update.AuthType = new(authIAM)
		case client.AuthInternal:
			update.AuthType = new(authNone)
		default:
			return lambent.Errorf(lambent.CodeInvalid, "auth %q is not %s, %s or %s", *in.Auth, client.AuthPublic, client.AuthIAM, client.AuthInternal)
		}
		update.Internal, update.Networks = new(*in.Auth == client.AuthInternal), in.Networks
	}
	if len(in.Networks) > 0 && update.Internal == nil {
		return lambent.Errorf(lambent.CodeInvalid, "networks go with auth %s", client.AuthInternal)
	}
	if in.Stream != nil {
		mode := "BUFFERED"
		if *in.Stream {
			mode = "RESPONSE_STREAM"
		}
		update.InvokeMode = &mode
	}
	u, err := a.setURL(c, update)
	if err != nil {
		return err
	}
	if in.Auth != nil {
		if err := a.openURL(c, u, *in.Auth == client.AuthPublic); err != nil {
			return err
		}
	}
	return c.answer(http.StatusOK, a.url(u))
}

// setURL changes the URL, or makes it where there is none.
func (a *api) setURL(c *call, in catalog.UpdateURL) (*lambent.URL, error) {
	if _, err := a.o.Catalog.URL(in.Namespace, in.Function, in.Qualifier); err == nil {
		return a.o.Catalog.UpdateURL(c.Context(), in)
	}
	made := lambent.URL{Namespace: in.Namespace, Function: in.Function, Qualifier: in.Qualifier, AuthType: authIAM, CORS: in.CORS}
	if in.AuthType != nil {
		made.AuthType = *in.AuthType
	}
	if in.Internal != nil {
		made.Internal, made.Networks = *in.Internal, in.Networks
	}
	if in.InvokeMode != nil {
		made.InvokeMode = *in.InvokeMode
	}
	return a.o.Catalog.CreateURL(c.Context(), made)
}

// openURL adds or removes the statement that lets everybody in.
func (a *api) openURL(c *call, u *lambent.URL, open bool) error {
	arn := lambent.FunctionARN(a.o.Region, u.Namespace, u.Function, u.Qualifier)
	e := a.o.Catalog.Entrance(u.ID)
	switch {
	case e == nil, open && e.Open:
		return nil
	case !open:
		return a.closeURL(c, arn)
	}
	statement, err := json.Marshal(struct {
		Sid, Effect, Principal, Action, Resource string
		Condition                                map[string]map[string]string
	}{publicSid, "Allow", "*", "lambda:InvokeFunctionUrl", arn, map[string]map[string]string{"StringEquals": {"lambda:FunctionUrlAuthType": authNone}}})
	if err != nil {
		return lambent.Errorf(lambent.CodeInternal, "write statement: %w", err)
	}
	_, err = a.o.Catalog.AddStatement(c.Context(), arn, catalog.Statement{Sid: publicSid, JSON: statement}, "")
	return err
}

// closeURL removes the statement, if it is there.
func (a *api) closeURL(c *call, arn string) error {
	err := a.o.Catalog.RemoveStatement(c.Context(), arn, publicSid, "")
	if lambent.CodeOf(err) == lambent.CodeNotFound {
		return nil
	}
	return err
}

func (a *api) deleteURL(c *call) error {
	name, qualifier, err := c.urlName()
	if err != nil {
		return err
	}
	if err := a.o.Catalog.DeleteURL(c.Context(), c.id.AccountID, name, qualifier); err != nil {
		return err
	}
	if err := a.closeURL(c, lambent.FunctionARN(a.o.Region, c.id.AccountID, name, qualifier)); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func cors(in *client.CORS) *lambent.CORS {
	if in == nil {
		return nil
	}
	return &lambent.CORS{
		AllowOrigins: in.AllowOrigins, AllowMethods: in.AllowMethods, AllowHeaders: in.AllowHeaders, ExposeHeaders: in.ExposeHeaders,
		AllowCredentials: in.AllowCredentials, MaxAge: in.MaxAgeSeconds,
	}
}
