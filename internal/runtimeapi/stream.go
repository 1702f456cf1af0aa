package runtimeapi

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// The response modes, in any case. Streaming is that of an answer that is sent
// while it is made (AWS Lambda developer guide, "Building a custom runtime").
const (
	modeBuffered  = "buffered"
	modeStreaming = "streaming"
)

func (p *post) knownMode() bool {
	return p.mode == "" || strings.EqualFold(p.mode, modeBuffered) || strings.EqualFold(p.mode, modeStreaming)
}

// streams tells whether an answer is to be passed on as it comes, to a caller that
// asked for that. AWS then does so with any answer. aws-lambda-go needs it, which
// names no mode: what its handlers return as a reader it sends in chunks, with a
// type that is not JSON.
func (p *post) streams() bool {
	if p.mode == "" {
		return p.length < 0 && mediaType(p.contentType) != typeJSON
	}
	return strings.EqualFold(p.mode, modeStreaming)
}

// Why the rest of a streamed answer is not taken.
var (
	errCallerGone = errors.New("the caller has gone")
	errGivenUp    = errors.New("the event was given up")
)

// streamBuffer is the most that is passed on at once, in bytes. It is also all
// that is held of an answer: while the caller does not take a part, the next one
// stays in the runtime's socket, and the function waits.
const streamBuffer = 64 << 10

var streamBuffers = sync.Pool{New: func() any { return new([streamBuffer]byte) }}

// stream passes a streaming answer on, part by part as it comes, from the
// connection's own goroutine.
//
// When the caller has gone the rest has no use. The answer is then accepted
// although it has not ended, and the connection cut: what the function writes
// next fails where its client lets it. A refusal would tell no more, and
// aws-lambda-go ends the process over one.
func (s *Session) stream(x *exchange, p *post) reply {
	s.watch(x, p.halt)
	err := s.sendAll(x, p)
	if left := s.unwatch(x); left && err != nil {
		err = errCallerGone
	}
	switch {
	case err == nil:
		return s.finish(x, p, success(p, nil), accepted)
	case errors.Is(err, errCallerGone):
		s.opts.Log.Debug("caller left a streamed answer", "inv", x.event.RequestID, "error", err)
		r := s.finish(x, p, sandbox.Answer{ContentType: p.contentType, CallerGone: true}, accepted)
		r.cut = true
		return r
	case errors.Is(err, errTooLarge):
		r := s.finish(x, p, sandbox.Answer{Failure: sandbox.TooLarge(lambent.MaxStreamed)}, refuseSize(lambent.MaxStreamed))
		r.cut = true
		return r
	}
	s.opts.Log.Debug("streamed answer broke off", "inv", x.event.RequestID, "error", err)
	return s.finish(x, p, sandbox.Answer{Failure: s.brokenOff()}, refuseTruncated())
}

// sendAll passes the body on to its end. What is beyond lambent.MaxStreamed, for which
// a prelude does not count, is not. It begins with the first byte: aws-lambda-ric sends
// the error of a handler that has written nothing as the trailer of an empty stream.
func (s *Session) sendAll(x *exchange, p *post) error {
	limit := lambent.MaxStreamed
	if p.contentType == lambent.PreludeType {
		limit += lambent.MaxPrelude
	}
	if p.length > int64(limit) {
		return errTooLarge
	}
	buf := streamBuffers.Get().(*[streamBuffer]byte)
	defer streamBuffers.Put(buf)
	begin := func() error { return x.event.Stream.Begin(p.contentType) }
	for sent := 0; ; {
		n, err := p.next(buf[:])
		part := buf[:min(n, limit-sent)]
		ended := errors.Is(err, io.EOF)
		if sent == 0 && (n > 0 || ended && p.trailer(headerErrorType) == "") {
			if err := s.send(x, 0, begin); err != nil {
				return err
			}
		}
		if len(part) > 0 {
			if err := s.send(x, len(part), func() error { _, err := x.event.Stream.Write(part); return err }); err != nil {
				return err
			}
			sent += len(part)
		}
		switch {
		case n > len(part):
			return errTooLarge
		case ended:
			return nil
		case err != nil:
			return fmt.Errorf("read the body: %w", err)
		}
	}
}

// next reads what is there of the body, and waits only if that is nothing. What
// comes at once is passed on at once: aws-lambda-go sends the head of an HTTP
// answer, the zeros behind it and the first part of the body as chunks of their
// own, each of which would be a write to the caller.
func (p *post) next(buf []byte) (n int, err error) {
	n, err = p.body.Read(buf)
	for err == nil && n < len(buf) && p.ready != nil && p.ready() {
		var more int
		more, err = p.body.Read(buf[n:])
		n += more
	}
	return n, err
}

// send has do pass n bytes to the caller of x, unless Invoke has returned or is
// about to.
func (s *Session) send(x *exchange, n int, do func() error) error {
	s.mu.Lock()
	switch {
	case x.settled:
		s.mu.Unlock()
		return errGivenUp
	case x.left:
		s.mu.Unlock()
		return errCallerGone
	}
	x.sending = make(chan struct{})
	s.mu.Unlock()
	err := do()
	s.mu.Lock()
	defer s.mu.Unlock()
	close(x.sending)
	x.sending = nil
	if err != nil {
		return fmt.Errorf("%w: %w", errCallerGone, err)
	}
	if n > 0 && x.streamed == 0 {
		x.first = time.Since(x.handed)
	}
	x.streamed += int64(n)
	return nil
}

// watch lets callerLeft break off the reading of a body with halt, until unwatch,
// which tells whether the caller has gone.
func (s *Session) watch(x *exchange, halt func(bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.halt = halt
	if x.left && halt != nil {
		halt(true)
	}
}

func (s *Session) unwatch(x *exchange) (left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.left && x.halt != nil {
		x.halt(false)
	}
	x.halt = nil
	return x.left
}

// callerLeft ends the streaming of x, which may be in the middle of a long
// silence of the function. An answer that is not streamed comes to its end, as on
// AWS.
func (s *Session) callerLeft(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.left = true
	if x.halt != nil {
		x.halt(true)
	}
}

// hush waits until x, which is settled, makes no more use of its Stream, and adds
// to its answer what went there.
func (s *Session) hush(x *exchange, a *sandbox.Answer) {
	s.mu.Lock()
	sending := x.sending
	s.mu.Unlock()
	if sending != nil {
		if i, ok := x.event.Stream.(lambent.Interrupter); ok {
			i.Interrupt()
		}
		<-sending
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Streamed, a.FirstByte = x.streamed, x.first
}
