package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/traffic"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/telemetry"
)

func trafficCommand() *cobra.Command {
	c := traffic.Defaults()
	c.Each, c.Variants, c.Duration = 1, []string{"fast-single-careless"}, time.Hour
	t := &liveTraffic{world: c}
	cmd := &cobra.Command{
		Use:   "traffic",
		Short: "Write invented events to Kafka as they happen, for a trial",
		Long: `traffic writes the events of invented people, and of campaigns against them, to the
topic of events (stream.name), each when its time comes, as a gateway does. It is for
trying dashboards, alerts and a new installation; never point it at a stream that
looks after real users.

The people are those of weir generate with the same -seed. After each -round the world
begins anew, with the same people and the same attackers; campaigns begin after a
quarter of it. It ends with Ctrl-C, or after -n events, and with 3 if Kafka does not
answer at the start.`,
		Example: `  weir traffic -kafka.brokers 127.0.0.1:19092
  weir traffic -rate 200 -round 20m -kinds credential_stuffing,scraping`,
		Args: cobra.NoArgs,
	}
	s := cli.ConfigureSections(cmd, app.Defaults(), app.TrafficSettings()...)
	f := cmd.Flags()
	f.Uint64Var(&t.world.Seed, "seed", t.world.Seed, "seed of the invented world")
	f.Float64Var(&t.world.Rate, "rate", t.world.Rate, "innocent events a second, the mean over a week")
	f.DurationVar(&t.world.Duration, "round", t.world.Duration, "time after which the world begins anew")
	f.StringSliceVar(&t.world.Kinds, "kinds", nil, "kinds of campaigns; empty: all")
	f.StringSliceVar(&t.world.Variants, "variants", t.world.Variants, "variants of campaigns; empty: all")
	f.IntVar(&t.world.Each, "each", t.world.Each, "campaigns of every kind and variant in a round; 0: none at all")
	f.Int64Var(&t.most, "n", 0, "end after so many events; 0: never")
	wait := f.Duration("wait", untilKafka, "longest time to wait for Kafka at the start")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.Read(cmd); err != nil {
			return err
		}
		if err := t.world.Validate(); err != nil {
			return cli.UsageError(err)
		}
		if t.most < 0 {
			return cli.UsageError(fmt.Errorf("-n %d: a number of events, or 0 for no end", t.most))
		}
		if *wait <= 0 {
			return cli.UsageError(fmt.Errorf("-wait %v: no time to wait", *wait))
		}
		log := telemetry.NewLogger(cmd.ErrOrStderr(), s.Config.Log)
		client, err := kafka.New(s.Config.Kafka, log)
		if err != nil {
			return s.Invalid(err)
		}
		defer client.Close()
		if err := app.Reach(cmd.Context(), s.Config, client, *wait); err != nil {
			if cmd.Context().Err() != nil {
				return nil
			}
			return err
		}
		t.client, t.log, t.topic = client, log, s.Config.Stream.Topic("events")
		err = t.run(cmd.Context())
		fmt.Fprintf(cmd.ErrOrStderr(), "%d events were written to %s\n", t.sent, t.topic)
		if cmd.Context().Err() != nil {
			return nil // Ctrl-C is its usual end
		}
		return err
	}
	return cmd
}

// liveTraffic writes events when their time comes.
type liveTraffic struct {
	world  traffic.Config
	most   int64
	client *kafka.Client
	log    *slog.Logger
	topic  string

	ctx     context.Context // of the run
	parts   []kafka.Produce
	waiting int64
	last    time.Time // of the newest event that is waiting
	flushed time.Time
	sent    int64
}

// between is the time between two writes. Events are at most that late.
const between = 100 * time.Millisecond

func (t *liveTraffic) run(ctx context.Context) error {
	n, err := t.client.Partitions(ctx, t.topic)
	if err != nil {
		return fmt.Errorf("topic %s: %w; `weir migrate` makes it", t.topic, err)
	}
	for p := range n {
		t.parts = append(t.parts, kafka.Produce{Partition: int32(p)})
	}
	t.ctx, t.flushed = ctx, time.Now()
	for {
		c := t.world
		c.Start = time.Now().UnixMilli()
		c.Run = fmt.Sprintf("t%d", c.Start) // ids of a round are its own
		t.log.Info("a round of invented traffic begins", "seed", c.Seed, "rate", c.Rate, "round", c.Duration)
		_, err := traffic.Run(c, t.add)
		if errors.Is(err, errEnough) {
			return nil
		}
		if err == nil {
			err = t.flush()
		}
		if err != nil {
			return err
		}
	}
}

// add takes an event whose time may be still to come, and waits for it.
func (t *liveTraffic) add(e *event.Event, _ int) error {
	due := time.UnixMilli(e.Num(event.Time))
	if due.After(t.flushed.Add(between)) {
		if err := t.flush(); err != nil {
			return err
		}
		if err := wait(t.ctx, time.Until(due)); err != nil {
			return err
		}
	}
	t.last = due
	id := strings.Clone(e.Text(event.ID))
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	p := &t.parts[h.Sum32()%uint32(len(t.parts))]
	p.Records = append(p.Records, kafka.Outgoing{Key: []byte(id), Value: e.AppendJSON(nil)})
	if t.waiting++; t.sent+t.waiting == t.most {
		return errors.Join(t.flush(), errEnough)
	}
	return t.ctx.Err()
}

// flush writes what is waiting, once its time has come.
func (t *liveTraffic) flush() error {
	if err := wait(t.ctx, time.Until(t.last)); err != nil {
		return err
	}
	t.flushed = time.Now()
	if err := t.client.Produce(t.ctx, t.topic, t.parts); err != nil {
		return err
	}
	for i := range t.parts {
		t.parts[i].Records = t.parts[i].Records[:0]
	}
	t.sent, t.waiting = t.sent+t.waiting, 0
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
