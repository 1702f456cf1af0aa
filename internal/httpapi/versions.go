package httpapi

import (
	"net/http"
	"strconv"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
)

// Pages of a list, in functions or versions.
const (
	defaultPage = 100
	maxPage     = 1000
)

// page is which part of a list is asked for: so many after a name.
func (c *call) page() (after string, limit int, err error) {
	query := c.URL.Query()
	limit = defaultPage
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return "", 0, lambent.Errorf(lambent.CodeInvalid, "limit %q: want a number from 1 to %d", text, maxPage)
		}
	}
	return query.Get("after"), limit, nil
}

func (a *api) versionRoutes() {
	a.route("GET", "/v1/functions/{name}/versions", mayRead, maxControlBody, a.listVersions)
	a.route("POST", "/v1/functions/{name}/versions", mayWrite, maxControlBody, a.publish)
}

func (a *api) listVersions(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	after, limit, err := c.page()
	if err != nil {
		return err
	}
	items, next, err := a.o.Catalog.Versions(c.id.AccountID, name, after, limit)
	if err != nil {
		return err
	}
	page := client.FunctionList{Functions: make([]client.Function, 0, len(items)), Next: next}
	for _, v := range items {
		page.Functions = append(page.Functions, a.function(v, nil))
	}
	return c.answer(http.StatusOK, page)
}

// publish makes a version of the head, or finds the one that is like it.
func (a *api) publish(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	var in client.Publish
	if err := c.read(&in); err != nil {
		return err
	}
	v, err := a.o.Catalog.PublishVersion(c.Context(), catalog.PublishVersion{Namespace: c.id.AccountID, Function: name, Description: in.Description})
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, a.function(v, nil))
}
