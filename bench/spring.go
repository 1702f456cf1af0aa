package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"lambent.dev/lambent"
)

// spring measures cold starts of a Spring Boot 3 web application, deployed as the
// jar that Maven leaves, in turn with the same java on the same jar: from its
// start to the answer to one request.
func spring(ctx context.Context, b *bed) ([]result, error) {
	ratio := result{Name: "Spring Boot web application: second cold start on, over raw", Unit: "x", Bar: .35, Below: true}
	s, err := newSpring(ctx, b)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		ratio.Name += because(err)
		return []result{ratio}, nil
	}
	first, err := s.cold(ctx, -2)
	if err != nil {
		return nil, err
	}
	if err := s.prepared(ctx); err != nil {
		return nil, err
	}
	if _, err := s.cold(ctx, -1); err != nil { // maps what was prepared for the first time
		return nil, err
	}
	cold := result{Name: "Spring Boot web application: cold, p50", Unit: "ms"}
	worst := result{Name: "Spring Boot web application: cold, p99", Unit: "ms"}
	plain := result{Name: "Spring Boot web application: raw, java -jar, p50", Unit: "ms"}
	work := result{Name: "Spring Boot web application: processor time until the answer, cold over raw", Unit: "x"}
	var colds, raws []float64
	for i := range max(10, b.colds/2) {
		took, err := s.cold(ctx, i)
		if err != nil {
			return nil, err
		}
		used := s.processor()
		bare, bareUsed, err := s.raw(ctx)
		if err != nil {
			return nil, err
		}
		colds, raws = append(colds, millis(took)), append(raws, millis(bare))
		ratio.add(millis(took) / millis(bare))
		work.add(millis(used) / millis(bareUsed))
	}
	cold.add(median(colds))
	worst.add(quantile(colds, .99))
	plain.add(median(raws))
	return []result{ratio, work, cold, worst, plain,
		{Name: "Spring Boot web application: first cold start, nothing prepared", Unit: "ms", Values: []float64{millis(first)}}}, nil
}

// springBed is the deployed application and the same jar.
type springBed struct {
	*bed
	java, jar string
	target    target
}

const springName = "spring"

func newSpring(ctx context.Context, b *bed) (*springBed, error) {
	java, err := b.interpreter("java17")
	if err != nil {
		return nil, err
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return nil, fmt.Errorf("mvn: %w", errAbsent)
	}
	dir := filepath.Join(b.data, "subject-"+springName)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(b.root, "bench", "spring"))); err != nil {
		return nil, err
	}
	if err := runIn(ctx, dir, "mvn", "-q", "-B", "package"); err != nil {
		return nil, err
	}
	// A whole archive on its own is what is deployed.
	if err := runIn(ctx, dir, filepath.Join(b.root, "bin", "lambent"), "--data", b.data, "deploy", dir, "--name", springName,
		"--runtime", "java17", "--port", "8080", "--memory", strconv.Itoa(2*lambent.MemoryPerCPU), "--start-timeout", "2m", "--timeout", "2m"); err != nil {
		return nil, err
	}
	t, err := b.public(ctx, springName, nil)
	if err != nil {
		return nil, err
	}
	line, rest, _ := bytes.Cut(t.request, []byte("\r\n"))
	if len(line) == 0 || len(rest) == 0 {
		return nil, errors.New("no request")
	}
	t.request = append([]byte("GET /items/pen HTTP/1.1\r\n"), rest...)
	return &springBed{bed: b, java: java, jar: filepath.Join(dir, "target", "shop-1.jar"), target: t}, nil
}

// cold lets the instance go and asks the application.
func (s *springBed) cold(ctx context.Context, round int) (time.Duration, error) {
	if err := s.outdate(ctx, springName, round); err != nil {
		return 0, err
	}
	time.Sleep(2 * time.Second) // the old one closes its context, which is no part of a cold start
	return once(ctx, s.target)
}

// prepared waits until there is what the next start can use.
func (s *springBed) prepared(ctx context.Context) error {
	for begin := time.Now(); time.Since(begin) < 3*time.Minute; time.Sleep(100 * time.Millisecond) {
		found, err := filepath.Glob(filepath.Join(s.data, "prepared", "java-app-*", "manifest.json"))
		if len(found) > 0 || err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.New("the application is not prepared after 3 min")
}

// processor is what the instances that there are have used of the processors.
func (s *springBed) processor() (total time.Duration) {
	pids, err := children(s.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	for _, pid := range pids {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && string(name) == "java\n" {
			total += processorTime(pid)
		}
	}
	return total
}

// processorTime is what all threads of a process have used; 0 if it has ended.
func processorTime(pid int) (total time.Duration) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0
	}
	for _, thread := range threads {
		body, err := os.ReadFile(thread)
		if fields := bytes.Fields(body); err == nil && len(fields) > 0 {
			ns, _ := strconv.ParseInt(string(fields[0]), 10, 64) // nothing else is in there
			total += time.Duration(ns)
		}
	}
	return total
}

// raw starts the jar and asks it, as soon as it listens.
func (s *springBed) raw(ctx context.Context) (took, used time.Duration, err error) {
	addr, err := freeAddress()
	if err != nil {
		return 0, 0, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.CommandContext(ctx, s.java, "-jar", s.jar, "--server.port="+port)
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	took, err = answered(begin, func() (*http.Response, error) { return http.Get("http://" + addr + "/items/pen") })
	return took, processorTime(cmd.Process.Pid), err
}
