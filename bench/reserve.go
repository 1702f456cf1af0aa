package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// idleInstances is how many instances the memory of one is derived from.
const idleInstances = 200

// reserveMemory measures proportional set sizes: of the reserves at rest, and of
// many idle instances of one function, against the same handler on its own.
func reserveMemory(ctx context.Context, b *bed) ([]result, error) {
	rest, err := reservesAtRest(ctx, b)
	if err != nil {
		return nil, err
	}
	// The sum of the memory sizes bounds how many instances there may be; what they
	// really hold is what is measured.
	if err := b.restart(ctx, "instances.memory=64GB"); err != nil {
		return nil, err
	}
	idle, err := idlePython(ctx, b)
	if errors.Is(err, errAbsent) {
		idle, err = []result{{Name: "idle Python instances" + because(err)}}, nil
	}
	return append(rest, idle...), err
}

// reservesAtRest is what waits for a function, a while after one of each kind
// has run.
func reservesAtRest(ctx context.Context, b *bed) ([]result, error) {
	rest := result{Name: "reserves at rest, after a Python, a Node and a Java function", Unit: "MB", Bar: 150, Below: true}
	for i, s := range subjects[:3] {
		name := fmt.Sprintf("rest-%d", i)
		if _, err := s.deploy(ctx, b, name); errors.Is(err, errAbsent) {
			continue
		} else if err != nil {
			return nil, err
		}
		t, err := b.signed(ctx, name, event)
		if err != nil {
			return nil, err
		}
		if _, err := once(ctx, t); err != nil {
			return nil, err
		}
	}
	for range b.rounds {
		time.Sleep(2 * time.Second)
		kept, err := b.reserves()
		if err != nil {
			return nil, err
		}
		rest.add(kept)
	}
	return []result{rest}, nil
}

func idlePython(ctx context.Context, b *bed) ([]result, error) {
	raw, err := subjects[0].deploy(ctx, b, "idle")
	if err != nil {
		return nil, err
	}
	own, err := ownMemory(raw)
	if err != nil {
		return nil, err
	}
	t, err := b.signed(ctx, "idle", []byte(`{"sleep":3}`))
	if err != nil {
		return nil, err
	}
	same := make([]target, idleInstances)
	for i := range same {
		same[i] = t
	}
	if _, err := atOnce(ctx, same); err != nil {
		return nil, err
	}
	each := result{Name: fmt.Sprintf("an idle Python instance of %d: memory above the handler's own", idleInstances), Unit: "MB", Bar: 4, Below: true}
	total := result{Name: "an idle Python instance: proportional set size", Unit: "MB"}
	for range b.rounds {
		time.Sleep(2 * time.Second)
		all, err := childrenMemory(b.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		kept, err := b.reserves()
		if err != nil {
			return nil, err
		}
		total.add((all - kept) / idleInstances)
		each.add((all-kept)/idleInstances - own)
	}
	return []result{each, total, {Name: "the same handler on its own: proportional set size", Unit: "MB", Values: []float64{own}}}, nil
}

// ownMemory is what the raw start of a handler holds when it has answered one
// event and waits for more.
func ownMemory(raw *rawStart) (mb float64, err error) {
	cmd := exec.Command(raw.args[0], raw.args[1:]...)
	cmd.Env = append(os.Environ(), raw.env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	// Stopped as soon as it has answered, before it ends.
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	time.Sleep(500 * time.Millisecond) // the handler is loaded, the event awaited
	mb, err = pss(cmd.Process.Pid)
	_, _ = io.WriteString(in, string(event)+"\n")
	_, answered := bufio.NewReader(out).ReadString('\n')
	return mb, errors.Join(err, answered)
}

// reserves is what the server says its reserves hold, in MB.
func (b *bed) reserves() (float64, error) {
	out, err := exec.Command(filepath.Join(b.root, "bin", "lambent"), "--data", b.data, "reserves", "--json").Output()
	if err != nil {
		return 0, fmt.Errorf("list reserves: %w", err)
	}
	var list struct {
		Reserves []struct {
			MemoryBytes int64 `json:"memoryBytes"`
		} `json:"reserves"`
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return 0, err
	}
	total := int64(0)
	for _, r := range list.Reserves {
		total += r.MemoryBytes
	}
	return float64(total) / (1 << 20), nil
}

// pss is a process's proportional set size in MB.
func pss(pid int) (float64, error) {
	body, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("no Pss in smaps_rollup")
}

// childrenMemory adds up what the server's direct children hold: runtimes and
// reserves are all children of the server.
func childrenMemory(server int) (total float64, err error) {
	pids, err := children(server)
	for _, pid := range pids {
		if mb, err := pss(pid); err == nil { // else it has just ended
			total += mb
		}
	}
	return total, err
}

// children are the processes that the server has started.
func children(server int) (pids []int, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", server))
	if err != nil {
		return nil, err
	}
	for _, task := range tasks {
		body, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range bytes.Fields(body) {
			pid, err := strconv.Atoi(string(field))
			if err != nil {
				return nil, err
			}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
