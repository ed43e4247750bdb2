package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/retry"
)

// Semantics is raised when this package, or the code that it decodes and completes
// events with, derives something else from the same record under the same
// configuration.
const Semantics = 4

const manifestVersion = 2

// Manifest is everything that decides which facets an event has, where they go and
// what they hold. Its canonical bytes name an [Epoch].
type Manifest struct {
	Version        int                 `json:"v"`
	Semantics      int                 `json:"semantics"`
	Projection     map[string][]string `json:"projection"` // fields by kind of entity, both by name
	Format         string              `json:"format"`
	Mapping        *format.Mapping     `json:"mapping,omitempty"`
	Pattern        string              `json:"pattern,omitempty"`
	VerifiedUser   bool                `json:"verified_user,omitempty"` // the user name in a log is the account
	Routes         []string            `json:"routes"`
	TrustedProxies []string            `json:"trusted_proxies"`
	ConnectingFrom []string            `json:"connecting_ip_from,omitempty"`
	MaxLate        int64               `json:"max_late"` // ms
	Delayed        string              `json:"delayed"`
	MaxFuture      int64               `json:"max_future"` // ms
	Databases      map[string]string   `json:"databases"`  // geographic ones by kind: SHA-256, hex
}

// NewManifest describes cfg, a projection and databases.
func NewManifest(cfg Config, p facet.Projection, databases map[string]string) Manifest {
	m := Manifest{
		Version: manifestVersion, Semantics: Semantics, Projection: map[string][]string{}, Format: cfg.Format, Mapping: cfg.Mapping,
		Pattern: cfg.Pattern, VerifiedUser: cfg.RemoteUser == Verified,
		Routes: append([]string{}, cfg.Routes...), TrustedProxies: append([]string{}, cfg.TrustedProxies...), ConnectingFrom: cfg.ConnectingIPFrom,
		MaxLate: cfg.MaxLate.Milliseconds(), Delayed: cfg.Delayed, MaxFuture: cfg.MaxFuture.Milliseconds(), Databases: map[string]string{},
	}
	maps.Copy(m.Databases, databases)
	for _, k := range facet.Kinds() {
		if p[k] == nil {
			continue
		}
		fields := make([]string, 0, len(p[k]))
		for _, f := range p[k] {
			fields = append(fields, f.String())
		}
		m.Projection[k.String()] = fields
	}
	return m
}

// ErrNoEpoch means that an epoch cannot be loaded, however often one tries: it is
// missing or damaged, or needs code that this program does not have.
var ErrNoEpoch = errors.New("epoch cannot be had")

// ParseManifest reads the output of [Manifest.Bytes]. Its errors are [ErrNoEpoch].
func ParseManifest(b []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: manifest: %w", ErrNoEpoch, err)
	}
	if m.Version != manifestVersion {
		return m, fmt.Errorf("%w: its manifest has version %d, this program reads version %d", ErrNoEpoch, m.Version, manifestVersion)
	}
	if !bytes.Equal(m.Bytes(), b) {
		return m, fmt.Errorf("%w: this program would write its manifest in another way", ErrNoEpoch)
	}
	return m, nil
}

// Bytes returns the manifest in canonical form.
func (m Manifest) Bytes() []byte {
	b, _ := json.Marshal(m) // cannot fail: plain numbers and texts; keys of maps are sorted
	return b
}

// Epoch is a manifest ready for use, with the databases that it names. It never
// changes, and many goroutines may use it.
type Epoch struct {
	Name string // SHA-256 of the manifest's bytes, hex

	// Pushed is an offset of the topic of rules: the epoch has the fields of all
	// rules that records below it brought and that may be in force. It is no part
	// of the name, and of an epoch that was loaded it is 0.
	Pushed int64

	number     uint64 // what frames carry: the name's first 16 digits
	settings   Config // only the part that belongs to an epoch is set
	projection facet.Projection
	places     Places
}

// Epoch makes m ready for use. It returns [ErrNoEpoch] if m needs something that
// this program does not have.
func (m Manifest) Epoch(places Places) (*Epoch, error) {
	if m.Semantics != Semantics {
		return nil, fmt.Errorf("%w: it is of ingest's semantics %d, this program has %d", ErrNoEpoch, m.Semantics, Semantics)
	}
	sum := sha256.Sum256(m.Bytes())
	e := &Epoch{Name: hex.EncodeToString(sum[:]), number: binary.BigEndian.Uint64(sum[:]), places: places}
	e.settings = Config{
		Format: m.Format, Mapping: m.Mapping, Pattern: m.Pattern, Routes: m.Routes, TrustedProxies: m.TrustedProxies, ConnectingIPFrom: m.ConnectingFrom,
		MaxLate: time.Duration(m.MaxLate) * time.Millisecond, Delayed: m.Delayed, MaxFuture: time.Duration(m.MaxFuture) * time.Millisecond,
	}
	if m.Delayed != DelayedLate && m.Delayed != DelayedArrival {
		return nil, fmt.Errorf("%w: delayed events are %q", ErrNoEpoch, m.Delayed)
	}
	if m.VerifiedUser {
		e.settings.RemoteUser = Verified
	}
	for kind, names := range m.Projection {
		k, ok := facet.ParseKind(kind)
		if !ok {
			return nil, fmt.Errorf("%w: there is no kind of entity %q", ErrNoEpoch, kind)
		}
		fields := make([]event.Field, 0, len(names))
		for _, name := range names {
			f, ok := event.Lookup(name)
			if !ok {
				return nil, fmt.Errorf("%w: there is no field %q", ErrNoEpoch, name)
			}
			fields = append(fields, f.Field)
		}
		slices.Sort(fields)
		e.projection[k] = fields
	}
	if _, err := e.reader(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoEpoch, err)
	}
	return e, nil
}

// reader returns the reader of one owner's records.
func (e *Epoch) reader() (*Reader, error) { return NewReader(e.settings, e.places) }

// With returns the same epoch, whose facets serve more rules that were pushed.
func (e *Epoch) With(pushed int64) *Epoch {
	next := *e
	next.Pushed = pushed
	return &next
}

// named returns an epoch of which only the name is known: it can cover, and make no
// facets.
func named(name string) *Epoch {
	e := &Epoch{Name: name}
	e.number, _ = strconv.ParseUint(name[:min(len(name), 16)], 16, 64) // a name of another kind is the number 0
	return e
}

// Epochs supplies a stage with epochs. Calls may overlap.
type Epochs interface {
	// Present returns the epoch that this worker wants all sources to use. It is
	// stored already, so that a commit may name it. It changes when databases do,
	// and when rules are pushed. Its Pushed never falls.
	Present() *Epoch
	// Follow returns when the present epoch has Pushed or more, which may take until
	// ctx ends. An error means that this program cannot follow.
	Follow(ctx context.Context, pushed int64) error
	// Load loads an epoch that a commit names. It blocks for as long as the store
	// takes, until ctx ends. [ErrNoEpoch] means that it cannot be loaded; after any
	// other error, a retry may help.
	Load(ctx context.Context, name string) (*Epoch, error)
}

// enter continues under an epoch. Nothing may be gathered for a destination.
func (o *owner) enter(e *Epoch) error {
	if o.input.controls {
		o.epoch, o.progress.Epoch = e, e.Name
		return nil
	}
	reader, err := e.reader()
	if err != nil {
		return fmt.Errorf("epoch %s: %w", e.Name, err)
	}
	o.reader = reader
	o.bracket.maxLate, o.bracket.maxFuture = e.settings.MaxLate.Milliseconds(), e.settings.MaxFuture.Milliseconds()
	o.bracket.arrival = e.settings.Delayed == DelayedArrival
	o.epoch, o.progress.Epoch = e, e.Name
	o.progress.Pushed = max(o.progress.Pushed, e.Pushed)
	o.frames.under(e)
	return nil
}

// follow keeps up with rules that were pushed and need no field that the epoch lacks:
// the present epoch then has the same name.
func (o *owner) follow() {
	if e := o.Epochs.Present(); e.Name == o.epoch.Name {
		o.epoch, o.progress.Pushed = e, max(o.progress.Pushed, e.Pushed)
	}
}

// awaited reports whether somebody who pushes rules waits for a commit.
func (o *owner) awaited() bool {
	e := o.Epochs.Present()
	return e.Name == o.epoch.Name && e.Pushed > o.progress.Pushed
}

// catchUp waits until the present epoch has the fields that the last owner promised
// to whoever pushes rules. An earlier epoch must not come back: rules that need its
// fields may be in force.
func (o *owner) catchUp(ctx context.Context) error {
	o.loop.Waiting()
	defer o.loop.Working()
	if err := o.Epochs.Follow(ctx, o.progress.Pushed); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w: rules were pushed that this worker does not follow: %w", errRefused, err)
	}
	return nil
}

// resume continues under the last owner's epoch for the records that the last owner
// may have read, because destinations may have a part of them. After those, or if
// that epoch cannot be loaded, it uses the present one.
func (o *owner) resume(ctx context.Context) error {
	present := o.Epochs.Present()
	if o.epoch.Name == present.Name {
		return o.enter(present)
	}
	if o.next >= o.behind {
		return o.change(ctx, present)
	}
	e, err := o.load(ctx, o.epoch.Name)
	if err == nil {
		o.log.Info("goes on under the epoch of the last owner", "epoch", e.Name, "from", o.next, "to", o.behind)
		return o.enter(e)
	}
	if !errors.Is(err, ErrNoEpoch) {
		return err
	}
	o.metrics.brokenEpochs.Inc()
	o.log.Error("the epoch of the last owner cannot be had: what it read beyond its commit is read again under other rules or data, and entities that only one of the two knows may miss some of it. "+
		"This cannot be mended afterwards; keep epochs (snapshots.url, the same store for all workers), and stop workers with SIGTERM before an upgrade that changes ingest's semantics",
		"error", err, "was", o.epoch.Name, "is", present.Name, "from", o.next, "to", o.behind)
	return o.change(ctx, present)
}

// due reports whether the owner can and should change to the present epoch: no
// former owner has read anything from here on.
func (o *owner) due() bool {
	return o.next >= o.behind && o.epoch.Name != o.Epochs.Present().Name
}

// change continues under another epoch. A commit of everything before decides it
// and names the epoch; only then the change is made. So every successor knows which
// records were read under which epoch.
func (o *owner) change(ctx context.Context, to *Epoch) error {
	if err := o.write(ctx, true); err != nil {
		return err
	}
	if err := o.store.Drain(ctx); err != nil {
		return fmt.Errorf("change of epoch: %w", err)
	}
	o.covered = nil
	p := o.present()
	p.Epoch, p.Pushed = to.Name, max(p.Pushed, to.Pushed)
	if err := o.commit(ctx, o.next, p.String()); err != nil {
		return fmt.Errorf("commit %d: %w", o.next, err)
	}
	o.log.Info("rules or data have changed", "was", o.epoch.Name, "is", to.Name, "from", o.next)
	o.metrics.epochs.Inc()
	o.loop.Beat()
	return o.enter(to)
}

// load loads the last owner's epoch, however long the store takes to answer.
func (o *owner) load(ctx context.Context, name string) (e *Epoch, err error) {
	o.loop.Waiting()
	defer o.loop.Working()
	err = retry.Do(ctx,
		func(ctx context.Context) (err error) { e, err = o.Epochs.Load(ctx, name); return err },
		func(err error) bool { return errors.Is(err, ErrNoEpoch) },
		func(err error, news bool) {
			if news {
				o.log.Warn("the epoch of the last owner cannot be read yet; the partition waits for it", "epoch", name, "error", err)
			}
		})
	return e, err
}
