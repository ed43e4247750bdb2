package switches

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
)

// Store holds the stored forms of objects by their ids. Calls may overlap.
type Store interface {
	Switches(ctx context.Context) (map[string]string, error)
	PutSwitches(ctx context.Context, forms map[string]string) error
}

// Dependencies are what Switches are wired to.
type Dependencies struct {
	Store      Store
	Codec      Codec
	Detectors  map[string]string     // by rule; what a switch for a detector turns off
	Directory  string                // "": nothing is kept on disk
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
	Now        func() time.Time      // nil: time.Now
}

const (
	syncEvery   = 250 * time.Millisecond
	syncTimeout = 500 * time.Millisecond
	fileName    = "switches"
	mostObjects = 10_000
	keptAfter   = 24 * time.Hour // how long an object that ended is remembered
)

// Switches are all objects that a gate knows.
type Switches struct {
	deps   Dependencies
	log    *slog.Logger
	now    func() time.Time
	active atomic.Pointer[Active]
	forged prometheus.Counter
	failed prometheus.Counter

	mu      sync.Mutex
	objects map[string]Object // by id
	holding map[string]Object // those that the log said to hold
	dirty   bool              // not on disk yet
}

// New reads what is on disk. It starts nothing.
func New(deps Dependencies) (*Switches, error) {
	if deps.Store == nil {
		return nil, errors.New("switches: no store")
	}
	s := &Switches{deps: deps, log: deps.Logger, now: deps.Now, objects: map[string]Object{}, holding: map[string]Object{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	f := promauto.With(deps.Registerer)
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_gate_switches", Help: "Kill switches, blocks and releases in force."}, func() float64 { return float64(s.active.Load().n) })
	s.forged = f.NewCounter(prometheus.CounterOpts{Name: "weir_gate_switches_forged_total", Help: "Stored switches, blocks and releases that were none of ours and counted as none."})
	s.failed = f.NewCounter(prometheus.CounterOpts{Name: "weir_gate_switches_failed_total", Help: "Times that switches could not be read from Redis, written to it, or kept on disk."})
	if err := s.load(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s, nil
}

// Active is what holds at a moment. It is not to be changed.
type Active struct {
	n        int
	global   bool
	tenants  map[string]bool
	routes   map[string]bool
	rules    map[string]bool
	entities map[facet.Entity]policy.Action
}

// Active is what holds now.
func (s *Switches) Active() *Active { return s.active.Load() }

// Off names the switch that turns the gate off for a request, "" where none does.
func (a *Active) Off(tenant, route string) string {
	switch {
	case a.global:
		return string(Global)
	case a.tenants[tenant]:
		return string(Tenant) + ":" + tenant
	case a.routes[route]:
		return string(Route) + ":" + route
	}
	return ""
}

// Muted reports whether a rule is switched off.
func (a *Active) Muted(rule string) bool { return a.rules[rule] }

// Mutes reports whether any rule is.
func (a *Active) Mutes() bool { return len(a.rules) > 0 }

// By is what is said of entities by hand: the strictest block, or, where there is none,
// a release. found is false where nothing is said.
func (a *Active) By(entities []facet.Entity) (action policy.Action, of facet.Entity, found bool) {
	if len(a.entities) == 0 {
		return 0, of, false
	}
	for _, e := range entities {
		if said, ok := a.entities[e]; ok && (!found || said > action) {
			action, of, found = said, e, true
		}
	}
	return action, of, found
}

// Put takes in a version of an object, which holds at once. It is on disk when Put
// returns, and in Redis when that can be reached. Its error says what is wrong with it,
// or that it could not be kept; then it holds all the same.
func (s *Switches) Put(o Object) error {
	if err := o.Check(); err != nil {
		return err
	}
	if _, err := policy.ParseAction(o.Action); o.Scope == Entity && err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.objects[o.ID()]; ok && !o.newer(&old) {
		return errors.New("a version that was set later is known")
	}
	if len(s.objects) >= mostObjects {
		return fmt.Errorf("there are %d objects already", mostObjects)
	}
	s.objects[o.ID()] = o
	s.dirty = true
	s.refresh()
	return s.save()
}

// List is every object that holds, in order of id.
func (s *Switches) List() (all []Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now().UnixMilli()
	for _, id := range slices.Sorted(maps.Keys(s.objects)) {
		if o := s.objects[id]; o.Holds(now) {
			all = append(all, o)
		}
	}
	return all
}

// Run agrees with other gates until ctx ends.
func (s *Switches) Run(ctx context.Context) error {
	t := time.NewTicker(syncEvery)
	defer t.Stop()
	trouble := false
	for {
		err := s.Agree(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.failed.Inc()
			if !trouble {
				s.log.Warn("switches are not agreed upon with other gates; those that are known hold", "error", err)
			}
		case trouble:
			s.log.Info("switches are agreed upon again")
		}
		trouble = err != nil
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Agree takes in what the store has newer, and puts there what it has older, once.
func (s *Switches) Agree(ctx context.Context) error {
	defer func() { // also without the store: objects end
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refresh()
		if err := s.save(); err != nil {
			s.failed.Inc()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	forms, err := s.deps.Store.Switches(ctx)
	if err != nil {
		return err
	}
	missing := s.merge(forms)
	if len(missing) == 0 {
		return nil
	}
	return s.deps.Store.PutSwitches(ctx, missing)
}

// merge takes in stored forms, and returns those that are to be stored.
func (s *Switches) merge(forms map[string]string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := make(map[string]Object, len(forms))
	for id, form := range forms {
		o, err := s.deps.Codec.Decode(form)
		if err != nil || o.ID() != id {
			s.forged.Inc()
			continue
		}
		stored[id] = o
		old, known := s.objects[id]
		if known && !o.newer(&old) || !known && (len(s.objects) >= mostObjects || s.over(&o)) {
			continue
		}
		s.objects[id] = o
		s.dirty = true
	}
	missing := map[string]string{}
	for id, o := range s.objects {
		there, ok := stored[id]
		if (!ok || o.newer(&there)) && !s.over(&o) {
			missing[id] = s.deps.Codec.Encode(&o)
		}
	}
	return missing
}

// over reports whether an object has ended so long ago that nobody asks for it.
func (s *Switches) over(o *Object) bool {
	return s.now().UnixMilli() > o.Expires+keptAfter.Milliseconds()
}

// refresh works out what holds now, and tells the log what begins and ends. s.mu is
// held.
func (s *Switches) refresh() {
	now := s.now().UnixMilli()
	a := &Active{tenants: map[string]bool{}, routes: map[string]bool{}, rules: map[string]bool{}, entities: map[facet.Entity]policy.Action{}}
	changed := s.active.Load() == nil
	for _, id := range slices.Sorted(maps.Keys(s.objects)) {
		o := s.objects[id]
		if s.over(&o) {
			delete(s.objects, id)
			s.dirty = true
		}
		was, told := s.holding[id]
		if !o.Holds(now) {
			if told {
				s.audit("ended", id, &o)
				delete(s.holding, id)
				changed = true
			}
			continue
		}
		if !told || was != o {
			s.audit("in force", id, &o)
			s.holding[id] = o
			changed = true
		}
		s.add(a, &o)
	}
	if changed {
		s.active.Store(a)
	}
}

func (s *Switches) audit(state, id string, o *Object) {
	s.log.Warn("a switch, block or release changed", "state", state, "id", id, "action", o.Action, "owner", o.Owner, "reason", o.Reason, "cleared", o.Cleared, "expires", time.UnixMilli(o.Expires).UTC())
}

// add puts what an object says into a.
func (s *Switches) add(a *Active, o *Object) {
	a.n++
	switch o.Scope {
	case Global:
		a.global = true
	case Tenant:
		a.tenants[o.Name] = true
	case Route:
		a.routes[o.Name] = true
	case Rule:
		a.rules[o.Name] = true
	case Detector:
		for rule, detector := range s.deps.Detectors {
			if detector == o.Name {
				a.rules[rule] = true
			}
		}
	case Entity:
		if action, err := policy.ParseAction(o.Action); err == nil {
			a.entities[o.Entity()] = action
		}
	}
}

// load reads what is on disk.
func (s *Switches) load() error {
	if s.deps.Directory == "" {
		return nil
	}
	if err := os.MkdirAll(s.deps.Directory, 0o700); err != nil {
		return fmt.Errorf("gate.state: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(s.deps.Directory, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("gate.state: %w", err)
	}
	lines := bufio.NewScanner(strings.NewReader(string(data)))
	lines.Buffer(nil, 2*maxObject)
	for lines.Scan() {
		o, err := s.deps.Codec.Decode(lines.Text())
		if err != nil {
			s.forged.Inc()
			s.log.Error("gate.state holds something that is no switch of ours; it counts as none", "error", err)
			continue
		}
		if old, known := s.objects[o.ID()]; !known || o.newer(&old) {
			s.objects[o.ID()] = o
		}
	}
	return nil
}

// save writes all objects to disk where they changed. s.mu is held.
func (s *Switches) save() (err error) {
	if !s.dirty || s.deps.Directory == "" {
		return nil
	}
	f, err := os.CreateTemp(s.deps.Directory, fileName+".*")
	if err != nil {
		return fmt.Errorf("gate.state: %w", err)
	}
	w := bufio.NewWriter(f)
	for _, id := range slices.Sorted(maps.Keys(s.objects)) {
		o := s.objects[id]
		fmt.Fprintln(w, s.deps.Codec.Encode(&o)) // the writer keeps its error
	}
	err = errors.Join(w.Flush(), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.deps.Directory, fileName))
	}
	if err != nil {
		return fmt.Errorf("gate.state: %w", errors.Join(err, os.Remove(f.Name())))
	}
	s.dirty = false
	return nil
}
