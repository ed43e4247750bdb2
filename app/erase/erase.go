// Package erase removes a subject from everything that a stream keeps of it, and
// proves that nothing is left.
package erase

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirdev/weir/app/controls"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/clickhouse"
)

// Kinds lists the kinds of entities that may be erased: those that are, or stand
// for, a person.
func Kinds() []facet.Kind {
	return []facet.Kind{facet.Account, facet.Session, facet.Token, facet.Device, facet.IP, facet.Key, facet.Attestation}
}

// Check refuses entities that are no subjects.
func Check(k facet.Kind) error {
	if slices.Contains(Kinds(), k) {
		return nil
	}
	return fmt.Errorf("a %s is no subject: account, session, token, device, ip, key and attestation are", k)
}

// Log is what is needed of Kafka. A [kafka.Client] has it.
type Log interface {
	controls.Producer
	Offsets(ctx context.Context, topic string) ([]kafka.OffsetRange, error)
	Committed(ctx context.Context, group, topic string) ([]kafka.Commit, error)
}

// Scores reads values from Redis. A redis.Reader does.
type Scores interface {
	Fetch(ctx context.Context, keys []string) (values []score.Value, bad []bool, err error)
	Codec() *score.Codec
}

// Stream is a stream with its servers.
type Stream struct {
	Log        Log
	Topic      func(what string) string
	Group      func(stage string) string
	ClickHouse clickhouse.Config
	Name       clickhouse.Stream
	Scores     Scores
}

// Erase removes the subject that c names, whose action it sets. First the state and
// the score go, through the log; when every row that was under way is stored, the
// rows go. It returns the id of the control record, and where rows were. It blocks
// until all of this has happened, or ctx ends. Events that the subject causes
// meanwhile, or later, are new ones.
func (s *Stream) Erase(ctx context.Context, c controls.Control, told func(step string)) (id string, all []clickhouse.Trace, err error) {
	kind, _ := facet.ParseKind(c.Kind)
	if err := Check(kind); err != nil {
		return "", nil, &controls.Invalid{Err: err}
	}
	c.Action = facet.Erase.String()
	w := controls.New(s.Log, s.Topic("controls"))
	if c, err = w.Complete(c); err != nil {
		return "", nil, err
	}
	if id, err = w.Write(ctx, c); err != nil {
		return "", nil, err
	}
	told("state and score: the control record is written; waiting until it was obeyed")
	if err := s.settle(ctx); err != nil {
		return id, nil, err
	}
	told("tables: rows are removed")
	all, err = clickhouse.Erase(ctx, s.ClickHouse, c.Entity())
	return id, all, err
}

// settle waits until everything that is in the topics now has been read, applied and
// stored.
func (s *Stream) settle(ctx context.Context) error {
	for _, stage := range []struct{ group, topic string }{{"ingest", "events"}, {"controls", "controls"}, {"decisions", "decisions"}, {"detect", "facets"}} {
		if err := s.reach(ctx, stage.group, stage.topic); err != nil {
			return err
		}
	}
	return nil
}

// reach waits until a group has committed a topic up to its present end. Nobody
// needs to read decisions.
func (s *Stream) reach(ctx context.Context, group, topic string) error {
	ends, err := s.Log.Offsets(ctx, s.Topic(topic))
	if err != nil {
		return fmt.Errorf("ends of %s: %w", s.Topic(topic), err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		behind, err := s.behind(ctx, group, topic, ends)
		if err != nil || behind == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("group %s is %d records of %s behind: %w; a worker with that stage must run; then erase once more", s.Group(group), behind, s.Topic(topic), ctx.Err())
		}
	}
}

// behind returns how many records of a topic a group has not committed yet.
func (s *Stream) behind(ctx context.Context, group, topic string, ends []kafka.OffsetRange) (n int64, err error) {
	commits, err := s.Log.Committed(ctx, s.Group(group), s.Topic(topic))
	if err != nil {
		return 0, fmt.Errorf("commits of %s: %w", s.Group(group), err)
	}
	reads := false
	at := make([]int64, len(ends))
	for _, c := range commits {
		if int(c.Partition) < len(at) && c.Offset >= 0 {
			at[c.Partition], reads = c.Offset, true
		}
	}
	for p, r := range ends {
		n += max(0, r.End-max(at[p], r.Start))
	}
	if group == "decisions" && !reads {
		return 0, nil
	}
	return n, nil
}

// ErrNotErased means that no erasure of the subject is on record.
var ErrNotErased = errors.New("the audit has no erasure of it")

// Verify returns what is left of a subject, in words; nothing, if nothing is. That
// its state is gone follows from the log: detect has committed the partition of the
// subject beyond its erasure, and a commit stands for state, score and outputs.
func (s *Stream) Verify(ctx context.Context, e facet.Entity) (left []string, err error) {
	traces, err := clickhouse.Remains(ctx, s.ClickHouse, e)
	if err != nil {
		return nil, err
	}
	for _, t := range traces {
		left = append(left, fmt.Sprintf("table %s: %d rows", t.Table, t.Rows))
	}
	codec := s.Scores.Codec()
	values, _, err := s.Scores.Fetch(ctx, []string{codec.Key(e)})
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	if len(values) > 0 && len(values[0].Contributions) > 0 {
		left = append(left, fmt.Sprintf("redis: a score of %d contributions", len(values[0].Contributions)))
	}
	offsets, err := clickhouse.Erasures(ctx, s.ClickHouse, s.Name, codec.Digest(e))
	if err != nil {
		return nil, err
	}
	if len(offsets) == 0 {
		return append(left, "state: "+ErrNotErased.Error()), nil
	}
	if err := s.reach(ctx, "controls", "controls"); err != nil {
		return nil, err
	}
	return left, s.reach(ctx, "detect", "facets")
}
