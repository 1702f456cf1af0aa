package scale

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/predict"
)

// What was learned from calls outlives the server in a file of its data directory,
// written now and then and at the end. It is worth no disk sync, and nothing depends on
// it: one that is damaged, or of another form, is as none.

// memory is the file. What changes its meaning gets another Form.
type memory struct {
	Form      int               `json:"form"`
	Learned   []predict.Learned `json:"learned"`
	Forecasts []knownLoad       `json:"forecasts"`
}

type knownLoad struct {
	Key pool.Key `json:"key"`
	predict.KnownLoad
}

// Bounds of the file.
const (
	memoryForm   = 1
	maxLearned   = 4096 // versions, some 300 bytes each
	maxForecasts = 256  // some 10 KB each
	maxMemory    = 32 << 20
	rememberTime = 5 * time.Minute
)

// remember writes down what was learned.
func (s *Service) remember() {
	if s.o.Memory == "" {
		return
	}
	m := memory{Form: memoryForm, Forecasts: s.auto.known()}
	if s.o.Habits != nil {
		m.Learned = s.o.Habits.predictor.Learned(maxLearned)
	}
	if err := m.write(s.o.Memory); err != nil {
		s.o.Log.Warn("keep what was learned from calls", "err", err)
	}
}

func (m *memory) write(path string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	temp := path + ".tmp"
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// recall takes up what an earlier server has learned of versions that are there.
func (s *Service) recall(now time.Time) {
	if s.o.Memory == "" {
		return
	}
	m, err := readMemory(s.o.Memory)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.o.Log.Warn("what was learned from calls cannot be read: it is learned anew", "err", err)
		}
		return
	}
	if s.o.Habits != nil {
		var there []predict.Learned
		for _, l := range m.Learned {
			if s.version(l.Namespace, l.Function, l.Number) != nil {
				there = append(there, l)
			}
		}
		s.o.Habits.predictor.Relearn(there)
	}
	for _, k := range m.Forecasts {
		if v := s.version(k.Key.Namespace, k.Key.Function, k.Key.Number); v != nil && s.auto.recall(k, now) {
			s.o.Loads.loadOf(v) // as if it had been called: it is decided about from now on
		}
	}
}

func readMemory(path string) (memory, error) {
	f, err := os.Open(path)
	if err != nil {
		return memory{}, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxMemory))
	if err != nil {
		return memory{}, err
	}
	return parseMemory(b)
}

func parseMemory(b []byte) (m memory, err error) {
	if err := json.Unmarshal(b, &m); err != nil {
		return memory{}, err
	}
	if m.Form != memoryForm {
		return memory{}, fmt.Errorf("its form is %d, and %d is known", m.Form, memoryForm)
	}
	m.Forecasts = m.Forecasts[:min(len(m.Forecasts), maxForecasts)]
	return m, nil
}

// known is what the forecasts know.
func (a *autoscaler) known() (all []knownLoad) {
	for k, s := range a.of {
		if s.forecast != nil && len(all) < maxForecasts {
			all = append(all, knownLoad{k, s.forecast.Known()})
		}
	}
	return all
}

// recall has a version begin with what an earlier forecast knew.
func (a *autoscaler) recall(k knownLoad, now time.Time) bool {
	f := predict.NewForecast(predict.ForecastOptions{})
	if !f.Resume(k.KnownLoad, now) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of[k.Key] = &scaled{at: now, forecast: f}
	return true
}
