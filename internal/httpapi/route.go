package httpapi

import (
	"net/http"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// maxRoutesBody bounds a request with routes, in bytes: some ten thousand of them.
const maxRoutesBody = 8 << 20

// gatewayRoutes is the part of the dialect about what the gateway serves.
func (a *api) gatewayRoutes() {
	a.route("GET", "/v1/routes", mayRead, maxControlBody, a.listRoutes)
	a.route("PUT", "/v1/routes", mayWrite, maxRoutesBody, a.putRoutes)
	a.route("DELETE", "/v1/routes/{id}", mayWrite, maxControlBody, a.deleteRoute)
	// The listener and its names are the server's, not a namespace's.
	a.route("GET", "/v1/domains", mayRead, maxControlBody, a.listDomains)
	a.route("PUT", "/v1/domains/{name}", mayAdmin, maxCertificate, a.putDomain)
	a.route("DELETE", "/v1/domains/{name}", mayAdmin, maxControlBody, a.deleteDomain)
	a.route("GET", "/v1/apikeys", mayRead, maxControlBody, a.listAPIKeys)
	a.route("POST", "/v1/apikeys", mayWrite, maxControlBody, a.createAPIKey)
	a.route("DELETE", "/v1/apikeys/{name}", mayWrite, maxControlBody, a.deleteAPIKey)
}

func routeList(routes []*lambent.Route) client.RouteList {
	out := client.RouteList{Routes: make([]lambent.Route, 0, len(routes))}
	for _, r := range routes {
		out.Routes = append(out.Routes, *r)
	}
	return out
}

func (a *api) listRoutes(c *call) error {
	return c.answer(http.StatusOK, routeList(a.o.Catalog.ListRoutes(c.id.AccountID)))
}

func (a *api) putRoutes(c *call) error {
	var in client.RouteList
	if err := c.read(&in); err != nil {
		return err
	}
	if len(in.Routes) == 0 {
		return lambent.Errorf(lambent.CodeInvalid, "there are no routes in the request")
	}
	routes, err := a.o.Catalog.PutRoutes(c.Context(), c.id.AccountID, in.Routes)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, routeList(routes))
}

func (a *api) deleteRoute(c *call) error {
	if err := a.o.Catalog.DeleteRoute(c.Context(), c.id.AccountID, c.PathValue("id")); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) listAPIKeys(c *call) error {
	out := client.APIKeyList{Keys: []client.APIKey{}}
	for _, k := range a.o.Catalog.APIKeys(c.id.AccountID) {
		out.Keys = append(out.Keys, client.APIKey{Name: k.Name, Created: k.Created})
	}
	return c.answer(http.StatusOK, out)
}

func (a *api) createAPIKey(c *call) error {
	var in client.APIKey
	if err := c.read(&in); err != nil {
		return err
	}
	made, key, err := a.o.Catalog.CreateAPIKey(c.Context(), c.id.AccountID, in.Name)
	if err != nil {
		return err
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return c.answer(http.StatusCreated, client.APIKey{Name: made.Name, Key: key, Created: made.Created})
}

func (a *api) deleteAPIKey(c *call) error {
	if err := a.o.Catalog.DeleteAPIKey(c.Context(), c.id.AccountID, c.PathValue("name")); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
