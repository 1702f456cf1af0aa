package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
)

// stream measures the time to the first byte of an answer whose second part comes
// a millisecond later, through a function URL, from the bare handler, and from the
// same handler as an HTTP application.
func stream(ctx context.Context, b *bed) ([]result, error) {
	binary, err := b.echo(ctx)
	if err != nil {
		return nil, fmt.Errorf("build echo: %w", err)
	}
	code, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	archive, err := zipped(map[string][]byte{"bootstrap": code})
	if err != nil {
		return nil, err
	}
	if err := b.create(ctx, "stream", "provided.al2023", "stream", archive, lambent.MemoryPerCPU); err != nil {
		return nil, err
	}
	ours, err := b.public(ctx, "stream", event)
	if err != nil {
		return nil, err
	}
	_, err = b.sdk.UpdateFunctionUrlConfig(ctx, &lambda.UpdateFunctionUrlConfigInput{FunctionName: ptr("stream"), InvokeMode: types.InvokeModeResponseStream})
	if err != nil {
		return nil, err
	}
	direct, err := b.bare(binary, event)
	if err != nil {
		return nil, err
	}
	direct.request = bytes.Replace(direct.request, []byte(" / "), []byte(" /stream "), 1)
	app, err := b.application(ctx, binary, event)
	if err != nil {
		return nil, err
	}
	app.request = bytes.Replace(app.request, []byte(" /path?name=value "), []byte(" /stream "), 1)

	added := result{Name: "stream of a function: p50 added to the first byte, one connection", Unit: "µs", Bar: 150, Below: true}
	passed := result{Name: "stream of an HTTP application: p50 added to the first byte, one connection", Unit: "µs", Bar: 150, Below: true}
	bare := result{Name: "stream: p50 of the bare handler's first byte", Unit: "µs"}
	for round := range b.rounds + 1 {
		base, err := firstBytes(direct, b.last)
		if err != nil {
			return nil, err
		}
		with, err := firstBytes(ours, b.last)
		if err != nil {
			return nil, err
		}
		through, err := firstBytes(app, b.last)
		if err != nil {
			return nil, err
		}
		if round == 0 {
			continue // warms all of them up
		}
		added.add(micros(with.quantile(.5)) - micros(base.quantile(.5)))
		passed.add(micros(through.quantile(.5)) - micros(base.quantile(.5)))
		bare.add(micros(base.quantile(.5)))
	}
	return []result{added, passed, bare}, nil
}

// The parts of the answer, as the handler sends them.
var (
	firstPart = []byte("first\n")
	endOfBody = []byte("\r\n0\r\n\r\n")
)

// firstBytes is closedLoop for answers that come in chunks, on one connection: a
// latency lasts to the first part, the next request follows the last.
func firstBytes(t target, last time.Duration) (sample, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := dial(t.addr)
	if err != nil {
		return sample{}, err
	}
	defer unix.Close(fd)
	var s sample
	buf := make([]byte, 64<<10)
	begin := time.Now()
	for s.took < last {
		took, err := firstByte(fd, t.request, buf)
		if err != nil {
			return s, err
		}
		s.latencies = append(s.latencies, took)
		s.took = time.Since(begin)
	}
	slices.Sort(s.latencies)
	return s, nil
}

func dial(address string) (int, error) {
	addr, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	to := &unix.SockaddrInet4{Port: addr.Port}
	copy(to.Addr[:], addr.IP.To4())
	err = errors.Join(unix.Connect(fd, to), unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	return fd, err
}

func firstByte(fd int, request, buf []byte) (took time.Duration, err error) {
	began := time.Now()
	if _, err := unix.Write(fd, request); err != nil {
		return 0, err
	}
	for got := 0; ; {
		n, err := unix.Read(fd, buf[got:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 || got+n == len(buf) {
			return 0, fmt.Errorf("read answer: connection closed after %.500q (%w)", buf[:got], err)
		}
		got += n
		answer := buf[:got]
		if took == 0 && bytes.Contains(answer, firstPart) {
			took = time.Since(began)
		}
		ended := bytes.HasSuffix(answer, endOfBody)
		if !ended && bytes.Contains(answer, contentLength) { // both parts were there at once
			if ended, err = complete(answer); err != nil {
				return 0, err
			}
		}
		if ended {
			if !bytes.HasPrefix(answer, okStatus) || took == 0 {
				return 0, fmt.Errorf("answer %.500q", answer)
			}
			return took, nil
		}
	}
}
