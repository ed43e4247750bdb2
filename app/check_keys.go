package app

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/kafka"
)

// lookedAt is how many of the last records of each raw partition a check reads.
const lookedAt = 100

// checkKeys warns of gateways that send events without a key. A starting worker
// does not call it: it reads records, and one gateway's behaviour is no reason to
// wait.
func checkKeys(ctx context.Context, log *kafka.Client, cfg Config) ([]Finding, error) {
	topic := cfg.Stream.Topic("events")
	ranges, err := log.Offsets(ctx, topic)
	if errors.Is(err, kafka.ErrUnknownTopic) || errors.Is(err, kafka.ErrDenied) {
		return nil, nil // already reported
	}
	if err != nil {
		return nil, err
	}
	var k keyCheck
	var g errgroup.Group
	g.SetLimit(8)
	for p, r := range ranges {
		g.Go(func() error { return k.read(ctx, log, cfg, topic, int32(p), r) })
	}
	err = g.Wait()
	if errors.Is(err, kafka.ErrDenied) {
		return []Finding{{Subject: "topic " + topic, Problem: "its records may not be read, and whether they have keys is not known", Fix: "allow Read on it"}}, nil
	}
	if n := k.keyless.Load(); err == nil && n > 0 {
		return []Finding{{Subject: "topic " + topic,
			Problem: fmt.Sprintf("of the last %d events %d came without a key: one that a gateway sends again may go to another partition, and count twice", k.events.Load(), n),
			Fix:     "have gateways send each event with its id as the record's key"}}, nil
	}
	return nil, err
}

// keyCheck counts records with the id of an event, and those among them without a
// key. Log lines without an id are not repeats of one another, whatever their keys.
type keyCheck struct{ events, keyless atomic.Int64 }

func (k *keyCheck) read(ctx context.Context, log *kafka.Client, cfg Config, topic string, partition int32, r kafka.OffsetRange) error {
	format, err := cfg.Ingest.NewFormat()
	if err != nil {
		return fmt.Errorf("ingest.format: %w", err)
	}
	var e event.Event
	var b kafka.Batch
	for next := max(r.Start, r.End-lookedAt); next < r.End; next = b.Next {
		err := log.Fetch(ctx, topic, partition, next, &b)
		if errors.Is(err, kafka.ErrUnreadable) || errors.Is(err, kafka.ErrOffsetOutOfRange) {
			return nil // a worker reports the unreadable offsets
		}
		if err != nil {
			return err
		}
		if b.Next == next {
			return nil // an open transaction
		}
		for i := range b.Records {
			e.Reset()
			if format.Decode(b.Records[i].Value, &e) != nil || !e.Has(event.ID) {
				continue
			}
			k.events.Add(1)
			if len(b.Records[i].Key) == 0 {
				k.keyless.Add(1)
			}
		}
	}
	return nil
}
