package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Bounds of one delivery: its time, and how much of the answer is looked at, in bytes.
const (
	sendTimeout   = 5 * time.Second
	maxAnswer     = 64 << 10
	maxAnswerHead = 64 << 10
)

// transport makes connections into the instance, wherever a URL leads. They are not
// kept: between two batches the instance may be frozen.
func (r *Relay) transport() *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			n, err := strconv.Atoi(port)
			if err != nil {
				return nil, err
			}
			return r.o.Dial(ctx, n)
		},
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxAnswerHead,
	}
}

// send delivers a batch once.
func (s *subscriber) send(ctx context.Context, b batch) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if b.want.url == "" {
		return s.write(ctx, b)
	}
	return s.post(ctx, b)
}

// post delivers to a listener that speaks HTTP. Where it sends us is not followed.
func (s *subscriber) post(ctx context.Context, b batch) error {
	req, err := http.NewRequestWithContext(ctx, b.want.method, b.want.url, bytes.NewReader(b.array()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.relay.http.RoundTrip(req)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // so that it can finish its answer
	_ = res.Body.Close()
	if res.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("the listener answered %d", res.StatusCode)
	}
	return nil
}

// write delivers to a listener that takes lines, over a connection that is kept.
func (s *subscriber) write(ctx context.Context, b batch) error {
	if s.conn != nil && s.connTo != b.want.port {
		s.hangUp()
	}
	if s.conn == nil {
		c, err := s.relay.o.Dial(ctx, b.want.port)
		if err != nil {
			return err
		}
		s.conn, s.connTo = c, b.want.port
	}
	c := s.conn
	stop := context.AfterFunc(ctx, func() { _ = c.SetWriteDeadline(time.Unix(1, 0)) })
	_, err := c.Write(b.lines())
	if !stop() && err == nil {
		err = ctx.Err() // it is of no more use
	}
	if err != nil {
		s.hangUp()
	}
	return err
}

// hangUp ends the kept connection.
func (s *subscriber) hangUp() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}
