package cli

import (
	"context"
	"log/slog"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/config"
)

// runServer runs a server until ctx ends. ready is called once it answers.
func runServer(context.Context, config.Config, *slog.Logger, func(api, gateway string)) error {
	return lambent.Errorf(lambent.CodeUnsupported, "serve is not built in yet")
}
