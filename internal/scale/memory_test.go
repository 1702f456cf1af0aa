package scale

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/predict"
)

// generation is one server's scale room.
type generation struct {
	*Service
	pool *basin
	end  func()
}

func startGeneration(file string, c *shelf) *generation {
	g := &generation{pool: &basin{}}
	habits := NewHabits(predict.New(predict.Options{Idle: time.Minute}), 0)
	g.Service = New(Options{Catalog: c, Pool: g.pool, Log: slog.New(slog.DiscardHandler), Idle: time.Minute, Loads: NewLoads(), Habits: habits, Memory: file})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // end waits for it
		defer close(done)
		_ = g.Run(ctx)
	}()
	g.end = func() {
		cancel()
		<-done
	}
	return g
}

func (g *generation) scaled(v *lambent.Version) int {
	g.pool.mu.Lock()
	defer g.pool.mu.Unlock()
	return g.pool.targets[pool.KeyOf(v)].Scaled
}

// A server that is replaced in the night starts instances for the morning, and knows how
// long idle ones are worth keeping.
func TestWhatWasLearnedOutlivesTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "learned.json")
		c := &shelf{settings: lambent.Settings{Scaling: lambent.Scaling{Forecast: lambent.On}}}
		v := c.put("app", "1", "1")
		v.App = &lambent.App{Concurrency: 10}
		f := c.put("f", "1", "1")
		cost := pool.Cost{Cold: time.Second, MemoryMB: 128}
		first := startGeneration(file, c)
		time.Sleep(10 * time.Hour)
		for range 20 {
			first.o.Loads.Begin(v)
		}
		for range 60 {
			time.Sleep(time.Minute)
			first.o.Habits.Arrived(pool.KeyOf(f), pool.Key{}, time.Now(), 4)
		}
		for range 20 {
			first.o.Loads.End(v, time.Now().Add(-time.Hour), lambent.CallAnswered)
		}
		time.Sleep(14 * time.Hour)
		first.end()
		kept := func(g *generation) [3]time.Duration {
			_, keep := g.o.Habits.Keep(pool.KeyOf(f), time.Now(), cost)
			return [...]time.Duration{keep(1), keep(4), keep(5)}
		}
		keep := kept(first)

		second := startGeneration(file, c)
		time.Sleep(time.Minute)
		if n := second.scaled(v); n != 0 {
			t.Errorf("in the night there are %d instances", n)
		}
		if again := kept(second); again != keep || keep[1] == time.Minute {
			t.Errorf("idle instances are kept for %v, before it was %v", again, keep)
		}
		time.Sleep(9*time.Hour + 30*time.Minute)
		if n := second.scaled(v); n < 2 {
			t.Errorf("in the morning there are %d instances", n)
		}
		second.end()

		delete(c.versions, "f:1") // it is deleted while nobody is there
		third := startGeneration(file, c)
		time.Sleep(time.Minute)
		if keep := kept(third); keep != [...]time.Duration{time.Minute, time.Minute, time.Minute} {
			t.Errorf("of what is gone there is still known to keep it for %v", keep)
		}
		third.end()
	})
}

// Of a file that is damaged nothing is believed, and it is replaced.
func TestDamagedMemoryIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "learned.json")
		for _, text := range []string{"", "{", "[]", `{"form":2}`, `{"form":1,"learned":[{"Function":"f","last":"2000-01-01T00:00:00Z","seen":9,"idle":{"999":1}}]}`} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			g := startGeneration(file, &shelf{})
			time.Sleep(time.Minute)
			g.end()
			b, err := os.ReadFile(file)
			if err != nil || !strings.HasPrefix(string(b), `{"form":1,"learned":[]`) {
				t.Errorf("after %q there is %s, %v", text, b, err)
			}
		}
	})
}

func FuzzMemory(f *testing.F) {
	f.Add([]byte(`{"form":1,"learned":[{"Namespace":"n","Function":"f","Number":"1","last":"2000-01-01T00:00:00Z","seen":3,"idle":{"0":1,"70":2},"crowds":[{"last":"2000-01-01T00:00:00Z","seen":9,"idle":{"3":9}}],"calls":9,"after":[{"Function":"g","count":3}]}],"forecasts":[{"key":{"Function":"f"},"origin":"2000-01-01T00:00:00Z","binNs":60000000000,"current":1500,"pattern":[1,-1]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMemory(b)
		if err != nil {
			return
		}
		p := predict.New(predict.Options{Idle: time.Minute})
		p.Relearn(m.Learned)
		at := time.Unix(1e9, 0)
		for _, l := range m.Learned {
			p.Arrived(l.Key, predict.Key{}, at, 9)
			if w := p.Keep(l.Key, predict.Cost{Cold: time.Second, MemoryMB: 128}, at); w.Keep < 0 || w.Prewarm < 0 || w.For(2) < 0 || w.For(9) < 0 {
				t.Errorf("%+v of %+v", w, l)
			}
		}
		for _, k := range m.Forecasts {
			f := predict.NewForecast(predict.ForecastOptions{})
			if f.Resume(k.KnownLoad, at) {
				f.Add(at.Add(time.Hour), time.Second, 1)
				if x := f.At(at); !(x >= 0) {
					t.Errorf("expects %v of %+v", x, k)
				}
			}
		}
	})
}
