package app

import (
	"context"
	"errors"
	"slices"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/kafka"
)

// openKafka makes what writes to Kafka, if anything does.
func (g *Gate) openKafka(cfg Config) (err error) {
	topics := cfg.emitted()
	if topics == (emit.Topics{}) {
		return nil
	}
	if g.kafka, err = kafka.New(cfg.Kafka, g.log); err != nil {
		return named("kafka", err)
	}
	g.emitter, err = emit.New(cfg.Gate.Emit, topics, emit.Dependencies{Log: g.kafka, Logger: g.log, Registerer: g.admin.Registry()})
	return err
}

// emitted returns the topics that a gate writes to.
func (c Config) emitted() (t emit.Topics) {
	configured := !slices.Equal(c.Kafka.Brokers, kafka.Defaults().Brokers)
	if d := c.Gate.Emit.Decisions; d == emit.On || d == emit.Auto && configured {
		t.Decisions = c.Stream.Topic("decisions")
	}
	if c.Gate.Emit.Events != emit.Off {
		t.Events = c.Stream.Topic("events")
	}
	if c.Gate.Emit.Controls == emit.On {
		t.Controls = c.Stream.Topic("controls")
	}
	return t
}

// write runs the emitter. The function that it returns ends it: after the last
// request, so that nothing is left unwritten.
func (g *Gate) write(ctx context.Context) (end func() error) {
	if g.emitter == nil {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- g.emitter.Run(ctx) }()
	return func() error {
		cancel()
		return errors.Join(<-ended, g.kafka.Close())
	}
}

// audit returns what tells the audit of switches; nil if the gate may not.
func (g *Gate) audit() func(switches.Object) error {
	if !g.emitter.Controls() {
		return nil
	}
	return func(o switches.Object) error {
		if !g.emitter.Control(o.Record(control.FromGate), emit.Trace{}) {
			return errors.New("kafka takes too few records")
		}
		return nil
	}
}
