package sim

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/oracle"
	"github.com/weirdev/weir/score"
)

// change states that a facet partition is read under a set of rules from an offset
// on.
type change struct {
	from  int64
	rules int
}

// rulebook lists the rules that produced the state of a facet partition: the rules
// of the owners whose snapshots it builds on, and those of its owner. The state is a
// function of the facet log and the rulebook.
type rulebook []change

// then returns the rulebook of an owner that continues from a snapshot under c at an
// offset.
func (c rulebook) then(from int64, rules int) rulebook {
	if len(c) > 0 && c[len(c)-1].rules == rules {
		return c
	}
	return append(c[:len(c):len(c)], change{from, rules})
}

// version is a snapshot with its author.
type version struct {
	bytes []byte
	rules rulebook
}

// reign is an owner's commit, with the statements in it.
type reign struct {
	to       int64
	metadata string
	rules    rulebook
}

// anyRules draws a worker's rules.
func (w *world) anyRules() int {
	if w.plan.Rules < 2 {
		return 0
	}
	return w.rng.IntN(w.plan.Rules)
}

// recovered records the last snapshot read of a partition. The next owner here
// starts from it, unless it is damaged. nil: it starts from nothing.
func (p *process) recovered(partition int32, o *object, b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o == nil {
		delete(p.found, partition)
		return
	}
	p.found[partition] = found{*o, b}
}

// found is a snapshot that was read.
type found struct {
	object
	bytes []byte
}

// begin records the rulebook under which an owner starts after it has recovered its
// state.
func (p *process) begin(partition int32) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	c := rulebook{{0, p.rules}}
	if f, ok := p.found[partition]; ok {
		i := slices.IndexFunc(p.w.written[f.object], func(v version) bool { return bytes.Equal(v.bytes, f.bytes) })
		if i < 0 {
			p.w.problem("%s begins with a snapshot %v that nobody wrote", p, f.object)
			return
		}
		if c = p.w.written[f.object][i].rules.then(f.next, p.rules); len(c) > 1 {
			p.w.counts["other rules"]++
		}
	}
	p.books[partition] = c
	if !slices.ContainsFunc(p.w.books[partition], func(o rulebook) bool { return slices.Equal(o, c) }) {
		p.w.books[partition] = append(p.w.books[partition], c)
	}
	p.w.last[partition] = c
}

// book returns the rulebook of the owner here.
func (p *process) book(partition int32) rulebook {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.books[partition]
}

// keepVersion records the author of a snapshot. Under one rulebook there is one
// version.
func (w *world) keepVersion(o object, v version) {
	for _, old := range w.written[o] {
		if slices.Equal(old.rules, v.rules) {
			if !bytes.Equal(old.bytes, v.bytes) {
				w.problem("snapshot %v is written with two contents", o)
			}
			return
		}
	}
	w.written[o] = append(w.written[o], v)
}

// switchRules writes a switch record to every facet partition, late to some and
// twice to some.
func (w *world) switchRules() {
	w.switches++
	set := w.sets[w.rng.IntN(len(w.sets))]
	s := facet.Switch{Incarnation: 1, Number: w.switches, Lane: facet.Lane(w.rng.IntN(2))}
	if s.Lane == facet.Live || w.rng.IntN(4) > 0 {
		var err error
		if s.Bundle, err = set.Bundle(); err != nil {
			w.problem("%v", err)
		}
		s.Version = set.Version
	}
	w.note("switch %d of lane %d to %q", s.Number, s.Lane, s.Version)
	frame := facet.AppendSwitch(nil, &s)
	for _, log := range w.topics[topicFacets] {
		write := func() { log.append([]kafka.Outgoing{{Value: frame}}) }
		switch w.rng.IntN(4) {
		case 0:
			w.after(time.Duration(w.rng.IntN(300))*time.Millisecond, write)
		case 1:
			write()
			w.after(time.Duration(w.rng.IntN(300))*time.Millisecond, write)
		default:
			write()
		}
	}
}

// reading is the interpretation of a partition's log under a rulebook, by the engine
// and by an oracle, which must agree.
type reading struct {
	*verdict
	n     int32
	ahead rulebook
	cfg   engine.Config

	engine *engine.Partition
	oracle *oracle.Oracle
}

func (v *verdict) reading(n int32, c rulebook) (*reading, error) {
	r := &reading{verdict: v, n: n, ahead: c[1:], cfg: v.engine()}
	r.cfg.Sources, r.cfg.Partitions = v.plan.Raw, v.plan.Facets
	set := v.sets[c[0].rules]
	r.oracle = oracle.New(set, r.cfg, v.hasher, n, 1)
	if v.plan.Rules > 1 {
		r.oracle.Forget()
	}
	var err error
	r.engine, err = engine.NewPartition(r.cfg, set, v.hasher, n, 1)
	return r, err
}

// turn changes the rules if the rulebook says so before the record at offset.
func (r *reading) turn(offset int64) error {
	for ; len(r.ahead) > 0 && r.ahead[0].from <= offset; r.ahead = r.ahead[1:] {
		b, err := r.engine.Snapshot(r.ahead[0].from)
		if err != nil {
			return err
		}
		set := r.sets[r.ahead[0].rules]
		if r.engine, _, err = engine.RestorePartition(r.cfg, set, r.hasher, r.n, 1, b); err != nil {
			return err
		}
		r.oracle.Change(set)
	}
	return nil
}

// apply reads a record with both.
func (r *reading) apply(rec kafka.Record, out *engine.Output) error {
	out.Reset()
	if err := r.engine.Apply(rec.Offset, rec.Value, out); err != nil {
		return err
	}
	want, err := r.oracle.Apply(rec.Offset, rec.Value)
	if err != nil {
		return fmt.Errorf("the oracle: %w", err)
	}
	r.counts["watched"] += len(out.Shadow)
	return errors.Join(sameSignals(rec.Offset, out.Signals, want), sameSignals(rec.Offset, out.Shadow, r.oracle.Shadow()))
}

func sameSignals(offset int64, got, want []score.Signal) error {
	for i := range max(len(want), len(got)) {
		var is, should string
		if i < len(got) {
			is = signalText(&got[i])
		}
		if i < len(want) {
			should = signalText(&want[i])
		}
		if is != should {
			return fmt.Errorf("record %d: detect says %q, the oracle %q", offset, is, should)
		}
	}
	return nil
}
