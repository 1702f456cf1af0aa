package client

import (
	"context"
	"io"
	"net/url"
)

// Backup copies the server's backup to w, with the logs of functions on request.
func (c *Client) Backup(ctx context.Context, w io.Writer, logs bool) error {
	query := url.Values{}
	if logs {
		query.Set("logs", "true")
	}
	resp, err := c.send(ctx, request{method: "GET", path: "/v1/backup", query: query})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	if resp.StatusCode >= 300 {
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return c.unreachable(ctx, err)
		}
		return refusal(resp, body)
	}
	to := &keepError{w: w}
	if _, err = io.Copy(to, resp.Body); to.err != nil {
		return to.err // the disk's, not the server's
	}
	if err != nil {
		return c.unreachable(ctx, err)
	}
	return nil
}

// keepError tells the errors of writing from those of reading.
type keepError struct {
	w   io.Writer
	err error
}

func (k *keepError) Write(p []byte) (n int, err error) {
	n, err = k.w.Write(p)
	k.err = err
	return n, err
}
