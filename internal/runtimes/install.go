package runtimes

import "context"

const defaultRegistry = "https://registry.npmjs.org"

func (c *Catalog) advice(r release) string { return "" }
func (c *Catalog) installer(r release) func() error { return nil }
func (c *Catalog) Install(ctx context.Context, name string, progress func(string)) error { return nil }
