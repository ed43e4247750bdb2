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

// Store holds the stored forms of objects by id. Calls may overlap.
type Store interface {
	Switches(ctx context.Context) (map[string]string, error)
	PutSwitches(ctx context.Context, forms map[string]string) error
}

// Dependencies are the parts that Switches uses.
type Dependencies struct {
	Store      Store
	Codec      Codec
	Detectors  map[string]string     // by rule, for switches of detectors
	Directory  string                // "": nothing is saved
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
	Now        func() time.Time      // nil: time.Now
}

const (
	syncEvery   = 250 * time.Millisecond
	syncTimeout = 500 * time.Millisecond
	fileName    = "switches"
	mostObjects = 10_000
	keptAfter   = 24 * time.Hour // how long an ended object is remembered
)

// Switches holds all objects that a gate knows.
type Switches struct {
	deps   Dependencies
	log    *slog.Logger
	now    func() time.Time
	active atomic.Pointer[Active]
	forged prometheus.Counter
	failed prometheus.Counter

	mu      sync.Mutex
	objects map[string]Object // by id
	holding map[string]Object // objects that were logged as being in force
	dirty   bool              // not saved yet
}

// New reads the saved objects. It starts nothing.
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

// Active is an immutable view of the objects in force at one time.
type Active struct {
	n        int
	global   bool
	tenants  map[string]bool
	routes   map[string]bool
	rules    map[string]bool
	entities map[facet.Entity]policy.Action
}

// Active returns the objects in force now.
func (s *Switches) Active() *Active { return s.active.Load() }

// Off returns the switch that turns the gate off for a request; "" if there is
// none.
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

// Mutes reports whether any rule is switched off.
func (a *Active) Mutes() bool { return len(a.rules) > 0 }

// By returns the manual action for entities: the strictest block, or a release if
// there is no block. found is false if there is neither.
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

// Put adds a version of an object, which takes effect at once. It is on disk when
// Put returns, and in Redis as soon as that can be reached. An error means that the
// object is invalid, or that it could not be saved; in the latter case it is still
// in force.
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

// List returns all objects in force, in order of id.
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

// Run synchronises with other gates until ctx ends.
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

// Agree synchronises with the store once: it takes the store's newer versions, and
// writes its own newer ones.
func (s *Switches) Agree(ctx context.Context) error {
	defer func() { // also without the store, because objects end
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

// merge adds stored forms, and returns those that the store lacks.
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

// over reports whether an object ended long enough ago to be forgotten.
func (s *Switches) over(o *Object) bool {
	return s.now().UnixMilli() > o.Expires+keptAfter.Milliseconds()
}

// refresh updates the objects in force, and logs those that begin and end. The
// caller holds s.mu.
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

// add adds an object to a.
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

// load reads the saved objects.
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

// save writes all objects to disk if they have changed. The caller holds s.mu.
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
		fmt.Fprintln(w, s.deps.Codec.Encode(&o)) // the writer keeps the error
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
