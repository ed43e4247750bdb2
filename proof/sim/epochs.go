package sim

import (
	"context"
	"errors"
	"net/netip"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// Variants of the epochs in a plan. Each gives the same event other facets, in other
// partitions, or more of them.
const (
	epochPlain   = iota
	epochProxies // gateways are proxies: they name the client's address
	epochNets    // rules also look at networks, and delayed events count as of their arrival
	epochsAll
)

func newEpochs(set *rules.Set) (all []*ingest.Epoch) {
	for n := range epochsAll {
		cfg, p := ingest.Defaults(), set.Projection()
		switch n {
		case epochProxies:
			cfg.TrustedProxies = []string{"192.0.0.0/16", "198.51.0.0/16"}
		case epochNets:
			p[facet.Net] = []event.Field{event.Auth}
			cfg.Delayed = ingest.DelayedArrival
		}
		e, err := ingest.NewManifest(cfg, p, nil).Epoch(geo.Nowhere{})
		if err != nil {
			panic(err) // the table above is wrong
		}
		all = append(all, e)
	}
	return all
}

// keys returns the entities for which an event has facets under an epoch.
func (s *sent) keys(epoch int) map[facet.Kind]string {
	keys := map[facet.Kind]string{facet.Account: s.account, facet.IP: s.address(epoch)}
	if epoch == epochNets {
		addr := event.Canonical(netip.MustParseAddr(s.ip))
		keys[facet.Net] = string(event.AppendNetKey(nil, addr))
	}
	return keys
}

// address returns an event's client address under an epoch.
func (s *sent) address(epoch int) string {
	if epoch == epochProxies && s.forwarded != "" {
		return s.forwarded
	}
	return s.ip
}

// anyEpoch draws a worker's configuration.
func (w *world) anyEpoch() int {
	if w.plan.Epochs < 2 {
		return epochPlain
	}
	return w.rng.IntN(w.plan.Epochs)
}

// Present implements ingest.Epochs.
func (p *process) Present() *ingest.Epoch {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.w.epochs[p.epoch]
}

// Follow implements ingest.Epochs: no rules are pushed.
func (p *process) Follow(context.Context, int64) error { return nil }

var errNoAnswer = errors.New("sim: the store does not answer")

// Load implements ingest.Epochs.
func (p *process) Load(ctx context.Context, name string) (e *ingest.Epoch, err error) {
	c := &call{what: "load epoch " + name, sink: "epochs"}
	c.do = func() bool {
		if c.err = nil; p.w.chance(200) {
			c.err = errNoAnswer
			return true
		}
		e = p.w.epochs[p.w.epochNamed(name)]
		p.w.counts["epoch loaded"]++
		return true
	}
	err = p.call(ctx, c)
	return e, err
}

func (w *world) epochNamed(name string) int {
	for n, e := range w.epochs {
		if e.Name == name {
			return n
		}
	}
	w.problem("there is no epoch %q", name)
	return epochPlain
}

// decide records what a commit of ingest says about the epoch from its offset on.
func (w *world) decide(c kafka.Commit) {
	p, err := ingest.ParseProgress(c.Metadata)
	if err != nil {
		w.problem("%v", err)
		return
	}
	d := decision{c.Offset, w.epochNamed(p.Epoch)}
	all := w.decided[c.Partition]
	if n := len(all); n > 0 && all[n-1].epoch != d.epoch {
		w.counts["epoch change"]++
	}
	w.decided[c.Partition] = append(all, d)
}

// decision states that records from an offset on are read under an epoch.
type decision struct {
	offset int64
	epoch  int
}

// under returns the epoch under which every reader must read a record: that of the
// last commit at or before it.
func (w *world) under(s *sent) (epoch int) {
	for _, d := range w.decided[s.partition] {
		if d.offset <= s.offset {
			epoch = d.epoch
		}
	}
	return epoch
}
