package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// laterFlags are the choices of `lambent invoke --async`.
type laterFlags struct {
	async                   bool
	in                      time.Duration
	at, key, idempotencyKey string
	priority                int
	labels                  []string
	wait                    bool
}

func (f *laterFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.async, "async", false, "keep the call, print its id and do not wait")
	cmd.Flags().DurationVar(&f.in, "in", 0, "with --async: not before so long")
	cmd.Flags().StringVar(&f.at, "at", "", "with --async: not before that time, such as 2030-01-02T15:04:05Z")
	cmd.Flags().StringVar(&f.key, "key", "", "with --async: calls with one key run one at a time, in order")
	cmd.Flags().StringVar(&f.idempotencyKey, "idempotency-key", "", "with --async: a second call with it is the same call")
	cmd.Flags().IntVar(&f.priority, "priority", 0, "with --async: higher goes first, -1000 to 1000")
	cmd.Flags().StringArrayVar(&f.labels, "label", nil, "with --async: NAME=VALUE, to find the call by; may be repeated")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "with --async: wait until it has ended, and show it")
}

// later reports whether the call is to be kept.
func (f *laterFlags) later() (bool, error) {
	if !f.async && (f.in != 0 || f.at != "" || f.key != "" || f.idempotencyKey != "" || f.priority != 0 || len(f.labels) > 0 || f.wait) {
		return false, usageError{errors.New("--in, --at, --key, --idempotency-key, --priority, --label and --wait go with --async")}
	}
	return f.async, nil
}

// invokeLater keeps a call and prints its id.
func (a *app) invokeLater(ctx context.Context, c *client.Client, r client.CallRequest, f laterFlags) error {
	var err error
	if r.Labels, err = parseLabels(f.labels); err != nil {
		return err
	}
	if f.at != "" {
		if r.At, err = time.Parse(time.RFC3339Nano, f.at); err != nil {
			return usageError{fmt.Errorf("--at %s: want a time such as 2030-01-02T15:04:05Z", f.at)}
		}
	}
	r.InSeconds, r.Key, r.IdempotencyKey, r.Priority = f.in.Seconds(), f.key, f.idempotencyKey, f.priority
	if len(r.Payload) > lambent.MaxAsyncPayload {
		return fmt.Errorf("the payload has more than %d bytes, the most of an asynchronous call", lambent.MaxAsyncPayload)
	}
	accepted, err := c.Accept(ctx, r)
	if err != nil {
		return a.missing(err, r.Function)
	}
	if f.wait {
		return a.waitFor(ctx, c, accepted.ID)
	}
	if a.json {
		return a.printJSON(accepted)
	}
	return a.printf("%s\n", accepted.ID)
}
