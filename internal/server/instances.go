package server

import (
	"context"
	"errors"
	"path/filepath"
	stdruntime "runtime"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/gateway/proxy"
	"lambent.dev/lambent/internal/invoke"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/predict"
	"lambent.dev/lambent/internal/prepare"
	"lambent.dev/lambent/internal/rollout"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/scale"
	"lambent.dev/lambent/internal/telemetry"
)

// maxFrozen bounds the instances in hibernation by number: each keeps processes,
// mounts and a network, whatever it holds in RAM.
const maxFrozen = 256

// openPrepare opens the room that does work ahead of first starts.
func (s *Server) openPrepare(context.Context) (err error) {
	s.prepare, err = prepare.Open(prepare.Options{
		Dir: filepath.Join(s.config.Data, "prepared"), Driver: s.driver, Artifacts: s.artifacts, Runtimes: s.runtimes,
		Logs: s.logs, Region: s.config.Region, NewID: newInstanceID, Log: s.log, Settings: s.settings,
		Environment: func(v *lambent.Version, stream string) []string {
			return runtimes.Environment(runtimes.Env{Version: v, Region: s.config.Region, LogStream: stream})
		},
		Busy: func() bool {
			st := s.pool.Stats()
			return st.Starting+st.Busy > 0
		},
		Current: func(v *lambent.Version) bool {
			e, err := s.catalog.Get(v.Namespace, v.Function, v.Number)
			return err == nil && e.Version.RevisionID == v.RevisionID
		},
	})
	return err
}

// openPool makes the pool, and starts it: see runPool.
func (s *Server) openPool(context.Context) error {
	c := s.config.Instances
	s.habits = newHabits(c)
	m := hostMemory(s.driver.Describe().Groups)
	o := pool.Options{
		Driver: s.driver, Artifacts: s.artifacts, Trees: s.artifacts, Runtimes: s.runtimes, Prepared: s.prepare,
		Environment: s.environment, Settings: s.settings, Most: s.most, Logs: s.logs,
		Region: s.config.Region, Log: s.log, Metrics: s.metrics, Traces: s.traces,
		Idle: c.Idle, MemoryMB: m.most(c.Memory), MaxWait: 10 * time.Second, NewID: newInstanceID,
		Headroom: headroom(c.Spare, m, hostTasks()), Starts: c.Starts, Processors: processors(),
		Ahead: max(2, stdruntime.GOMAXPROCS(0)),
		Hibernation: pool.Hibernation{
			Init: c.Hibernate.Init, After: c.Hibernate.After, Keep: c.Hibernate.Keep,
			MemoryMB: int(c.Hibernate.Memory >> 20), Count: maxFrozen,
		},
	}
	if s.habits != nil {
		o.Policy = s.habits
	}
	s.runPool(o)
	s.metrics.WatchInstances(s.countInstances)
	s.metrics.WatchFrozenMemory(func() int64 { return int64(s.pool.Stats().FrozenMB) << 20 })
	s.metrics.WatchStarts(func() (uint64, float64) { st := s.pool.Stats(); return st.Held, st.StartRate })
	return nil
}

// openScale makes the room that decides how many instances there are.
func (s *Server) openScale(context.Context) error {
	c := s.config.Instances
	s.loads = scale.NewLoads()
	s.scale = scale.New(scale.Options{
		Catalog: s.catalog, Pool: s.pool, Log: s.log, Idle: c.Idle, Habits: s.habits,
		Loads: s.loads, Scaling: c.Scale.Scaling(), Every: c.Scale.Every,
		Memory: filepath.Join(s.config.Data, "learned.json"),
		Guess:  scale.Guess{Alias: c.Prediction.Alias, Graph: c.Prediction.Graph, Timer: c.Prediction.Cron},
		Timers: func(from, to time.Time) []scale.Call { return s.triggers.Soon(from, to) }, // opened before it is asked
	})
	s.metrics.WatchVersions(s.scale.Versions)
	return nil
}

// openInvoke makes the spine, and what passes requests to applications by it.
func (s *Server) openInvoke(context.Context) error {
	c := s.config.Instances
	s.invoke = invoke.New(invoke.Options{
		Catalog: s.catalog, Pool: s.pool, Metrics: s.metrics, Traces: s.traces,
		Region: s.config.Region, Observer: s.loads, Concurrency: c.Concurrency, Queue: c.Queue, QueueWait: c.QueueWait, NewID: uuid.NewString,
		StreamRate: int64(c.StreamRate),
	})
	s.proxy = proxy.New(proxy.Options{Forwarder: s.invoke, Idle: c.StreamIdle, Log: s.log})
	s.closers = append(s.closers, s.proxy.Close)
	return nil
}

// openRollouts opens the room that moves aliases, with what the spine measures.
func (s *Server) openRollouts(ctx context.Context) (err error) {
	s.rollouts, err = rollout.Open(ctx, rollout.Options{Records: s.records, Catalog: s.catalog, Begin: s.loads.Figures, Log: s.log})
	return err
}

// newHabits is nil where nothing is to be guessed from calls.
func newHabits(c config.Instances) *scale.Habits {
	if !c.Prediction.Graph && !c.Prediction.Histogram {
		return nil
	}
	fixed := c.Idle
	if c.Prediction.Histogram {
		fixed = 0
	}
	return scale.NewHabits(predict.New(predict.Options{Idle: c.Idle}), fixed)
}

func (s *Server) countInstances() map[telemetry.InstanceState]int {
	st := s.pool.Stats()
	return map[telemetry.InstanceState]int{
		telemetry.InstanceStarting: st.Starting, telemetry.InstanceBusy: st.Busy,
		telemetry.InstanceIdle: st.Idle, telemetry.InstanceFrozen: st.Frozen,
	}
}

// environment is that of the instance which c starts.
func (s *Server) environment(v *lambent.Version, c pool.ColdStart) []string {
	key := s.keys.Session(session(v, c.ID))
	return runtimes.Environment(runtimes.Env{Version: v, Region: s.config.Region, LogStream: c.Stream,
		Provisioned: c.Ahead == pool.ReasonProvisioned, API: "http://" + sandbox.CallsAddress(v),
		AccessKeyID: key.Access, SecretAccessKey: key.Secret, SessionToken: key.Token})
}

// settings are a function's own; those of one that is gone are none.
func (s *Server) settings(namespace, function string) lambent.Settings {
	e, err := s.catalog.Get(namespace, function, "")
	if err != nil {
		return lambent.Settings{}
	}
	return e.Function.Settings
}

// most is how many instances the settings allow a version for calls.
func (s *Server) most(v *lambent.Version) int {
	return s.settings(v.Namespace, v.Function).Scaling.Over(s.config.Instances.Scale.Scaling()).Max
}

// retire ends the instances of a version that changed or is gone, and drops what
// is remembered of a function that is.
func (s *Server) retire(namespace, function, number string) {
	if s.pool == nil { // the catalog is being opened
		return
	}
	if _, err := s.catalog.Get(namespace, function, ""); err != nil {
		s.metrics.Forget(namespace, function)
		s.pool.Forget(namespace, function)
		if s.habits != nil {
			s.habits.Forget(namespace, function, "")
		}
	}
	s.pool.Retire(namespace, function, number)
	s.scale.Kick()
}

// wanted makes ready what can be, now that a function has a version to start, or
// should have another number of instances.
func (s *Server) wanted(namespace, function string) {
	if s.pool == nil {
		return
	}
	s.scale.Kick()
	versions, _, err := s.catalog.Versions(namespace, function, "", 0)
	if err != nil { // it is gone
		return
	}
	if !s.settings(namespace, function).NoReserve {
		s.expect(versions[0])
	}
	for _, v := range versions {
		s.prepare.Want(v)
	}
}

// expect tells the reserve that v will be started.
func (s *Server) expect(v *lambent.Version) {
	r, ok := s.driver.(sandbox.Reserver)
	if !ok {
		return
	}
	if rt, err := s.runtimes.Resolve(v); err == nil {
		r.Expect(rt)
	}
}

// expectAll tells the reserve of the runtimes that the functions have.
func (s *Server) expectAll() {
	type kind struct {
		runtime  string
		memoryMB int // some interpreters size themselves by it
	}
	known := map[kind]bool{}
	heads, _ := s.catalog.List(s.config.Account, false, "", 0)
	for _, v := range heads {
		if k := (kind{v.Runtime, v.MemoryMB}); !known[k] {
			known[k] = true
			s.expect(v)
		}
	}
}

// runPool starts the pool, which works until the last instance is gone, and so
// outlives Run: calls that wait while the server drains are served.
func (s *Server) runPool(o pool.Options) {
	s.pool = pool.New(o)
	run, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.pool.Run(run) }() // waited for by the closer
	s.closers = append(s.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
		defer cancel()
		err := s.pool.Close(ctx)
		stop()
		return errors.Join(err, <-done)
	})
}
