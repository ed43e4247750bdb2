package switches

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	"github.com/weirdev/weir/internal/atomicfile"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/problem"
)

// Store holds the stored forms of objects by id. Calls may overlap.
type Store interface {
	Switches(ctx context.Context) (map[string]string, error)
	PutSwitches(ctx context.Context, forms map[string]string) error
	// DropSwitches removes those that still have the given form.
	DropSwitches(ctx context.Context, forms map[string]string) error
}

// Dependencies are the parts that Switches uses.
type Dependencies struct {
	Store      Store
	Codec      Codec
	Detectors  map[string]string     // by rule, of all rules
	Directory  string                // "": nothing is saved
	Audit      func(Object) error    // tells the audit what was set over HTTP; nil: nobody does
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
	Now        func() time.Time      // nil: time.Now
}

const (
	syncEvery   = 250 * time.Millisecond
	syncTimeout = 500 * time.Millisecond
	fileName    = "switches"
	mostObjects = 10_000
	maxFile     = mostObjects * (maxObject + 1)
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
	unsaved bool              // the last attempt to save failed
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

// ErrNotSaved means that an object is in force, but would not survive a restart.
var ErrNotSaved = errors.New("it is in force here, but cannot be saved")

// Put adds a version of an object, which takes effect at once. It is on disk when
// Put returns, and in Redis as soon as that can be reached. An error other than
// [ErrNotSaved] means that the object is invalid, or older than the known version.
//
// The clock of the caller does not count: the object is set now, and ends after as
// long as it says.
func (s *Switches) Put(o Object) error {
	_, err := s.Add(o)
	return err
}

// Added is the version that was added.
type Added struct {
	Object
	Warning string `json:"warning,omitempty"` // why it may be a mistake
}

// Warn adds a warning.
func (a *Added) Warn(text string) {
	if a.Warning != "" {
		a.Warning += "; "
	}
	a.Warning += text
}

// Add is [Switches.Put], and returns what was added.
func (s *Switches) Add(o Object) (Added, error) {
	if err := o.Check(); err != nil {
		return Added{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, lasts := s.now().UnixMilli(), o.Expires-o.Set
	old, known := s.objects[o.ID()]
	switch {
	case known && old.Set > now: // by a wrong clock; it must not stay for that
		o.Set = old.Set + 1
	case known && !o.newer(&old):
		return Added{}, fmt.Errorf("a version that was set later, at %v by %s, is known; is a clock wrong?", time.UnixMilli(old.Set).UTC(), old.Owner)
	case !known && len(s.objects) >= mostObjects:
		return Added{}, fmt.Errorf("there are %d objects already", mostObjects)
	default:
		o.Set = now
	}
	if o.Expires = now + lasts; o.Cleared {
		o.Expires = max(o.Expires, old.Expires) // an older version must not return
	}
	added := Added{Object: o, Warning: s.unknown(&o)}
	if o.Cleared && (!known || !old.Holds(now)) {
		added.Warning = fmt.Sprintf("%q was not in force here; \"weir switch list\" has what is", o.ID())
	}
	s.objects[o.ID()] = o
	s.dirty = true
	s.refresh()
	if err := s.save(); err != nil {
		return added, fmt.Errorf("%w: %w", ErrNotSaved, err)
	}
	return added, nil
}

// unknown says that a switch names a rule or detector that is not among the rules;
// "" if it is. It may still be one of a newer worker.
func (s *Switches) unknown(o *Object) string {
	var names []string
	switch o.Scope {
	case Rule:
		names = slices.Collect(maps.Keys(s.deps.Detectors))
	case Detector:
		names = slices.Collect(maps.Values(s.deps.Detectors))
	default:
		return ""
	}
	if slices.Contains(names, o.Name) {
		return ""
	}
	text := fmt.Sprintf("the rules here have no %s %q", o.Scope, o.Name)
	slices.Sort(names) // of several that are near, always the same
	if near := problem.Nearest(o.Name, names); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return text
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
		_ = s.save() // it counts and logs, and is tried again
	}()
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	forms, err := s.deps.Store.Switches(ctx)
	if err != nil {
		return err
	}
	missing, left := s.merge(forms)
	if len(missing) > 0 {
		if err := s.deps.Store.PutSwitches(ctx, missing); err != nil {
			return err
		}
	}
	if left > 0 {
		return fmt.Errorf("%d objects are not taken, because there are %d already", left, mostObjects)
	}
	return nil
}

// Sweep removes from the store what is over. Gates do not: one with a wrong clock would
// remove what is still in force, and may be the only one that knows it.
func (s *Switches) Sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	forms, err := s.deps.Store.Switches(ctx)
	if err != nil {
		return err
	}
	maps.DeleteFunc(forms, func(_, form string) bool {
		o, err := s.deps.Codec.Decode(form)
		return err != nil || !s.over(&o)
	})
	if len(forms) == 0 {
		return nil
	}
	return s.deps.Store.DropSwitches(ctx, forms)
}

// merge adds stored forms. missing holds those that the store lacks; left is how many
// could not be added.
func (s *Switches) merge(forms map[string]string) (missing map[string]string, left int) {
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
		switch {
		case known && !o.newer(&old), !known && s.over(&o):
		case !known && len(s.objects) >= mostObjects:
			left++
		default:
			s.objects[id] = o
			s.dirty = true
		}
	}
	missing = map[string]string{}
	for id, o := range s.objects {
		there, ok := stored[id]
		if (!ok || o.newer(&there)) && !s.over(&o) {
			missing[id] = s.deps.Codec.Encode(&o)
		}
	}
	return missing, left
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
				s.audit(ended, id, &o)
				delete(s.holding, id)
				changed = true
			}
			continue
		}
		if !told || was != o {
			s.audit(inForce, id, &o)
			s.holding[id] = o
			changed = true
		}
		s.add(a, &o)
	}
	if changed {
		s.active.Store(a)
	}
}

const (
	inForce = "in force"
	ended   = "ended"
)

func (s *Switches) audit(state, id string, o *Object) {
	if text := s.unknown(o); text != "" && state == inForce {
		s.log.Warn("a switch may do nothing", "id", id, "reason", text)
	}
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
	f, err := os.Open(filepath.Join(s.deps.Directory, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("gate.state: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return fmt.Errorf("gate.state: %w", err)
	}
	bad := 0
	for line := range bytes.Lines(data) {
		o, err := s.deps.Codec.Decode(strings.TrimSuffix(string(line), "\n"))
		if err != nil {
			bad++
			continue
		}
		if old, known := s.objects[o.ID()]; known && o.newer(&old) || !known && len(s.objects) < mostObjects {
			s.objects[o.ID()] = o
		}
	}
	if bad > 0 {
		s.forged.Add(float64(bad))
		s.log.Error("gate.state holds something that is no switch of ours; it counts as none", "lines", bad)
	}
	return nil
}

// save writes all objects to disk if they have changed. The caller holds s.mu.
func (s *Switches) save() error {
	if !s.dirty || s.deps.Directory == "" {
		return nil
	}
	err := atomicfile.Write(filepath.Join(s.deps.Directory, fileName), func(w *bufio.Writer) error {
		for _, id := range slices.Sorted(maps.Keys(s.objects)) {
			o := s.objects[id]
			fmt.Fprintln(w, s.deps.Codec.Encode(&o))
		}
		return nil
	})
	if err != nil {
		s.failed.Inc()
		if !s.unsaved {
			s.log.Error("switches cannot be saved to gate.state; a restart without Redis would forget the last ones", "error", err)
		}
		s.unsaved = true
		return fmt.Errorf("gate.state: %w", err)
	}
	s.dirty, s.unsaved = false, false
	return nil
}
