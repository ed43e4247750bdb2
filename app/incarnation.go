package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/secret"
)

// Incarnation describes what must not change within an incarnation of a stream:
// where an entity's facets go, and which raw partitions exist. `weir migrate`
// writes it to a topic of its own. The first record of an incarnation counts, so
// that two simultaneous writers agree.
type Incarnation struct {
	Number          uint32 `json:"incarnation"`
	EventPartitions int    `json:"event_partitions"`
	FacetPartitions int    `json:"facet_partitions"`
	Hash            string `json:"hash"` // names the key of the hash that places entities, and does not tell it
}

// incarnation describes a stream's current topics.
func (c StreamConfig) incarnation(events, facets int) (Incarnation, error) {
	k, err := c.derive(secret.EntityHashName)
	if err != nil {
		return Incarnation{}, err
	}
	sum := sha256.Sum256(k)
	return Incarnation{Number: c.Incarnation, EventPartitions: events, FacetPartitions: facets, Hash: hex.EncodeToString(sum[:8])}, nil
}

// recorded reads the record of an incarnation; ok is false if there is none.
func recorded(ctx context.Context, client *kafka.Client, topic string, number uint32) (i Incarnation, ok bool, err error) {
	err = eachIncarnation(ctx, client, topic, func(got Incarnation) {
		if got.Number == number && !ok {
			i, ok = got, true
		}
	})
	return i, ok, err
}

// IsPresent checks that no later incarnation of the stream has begun: what is written
// for an earlier one stops the partitions of the present one.
func (c StreamConfig) IsPresent(ctx context.Context, client *kafka.Client) error {
	last := uint32(0)
	err := eachIncarnation(ctx, client, c.Topic("incarnations"), func(got Incarnation) { last = max(last, got.Number) })
	switch {
	case err != nil:
		return err
	case last == 0:
		return fmt.Errorf("stream %s has no incarnation; `weir migrate` begins it", c.Name)
	case last != c.Incarnation:
		return &Misconfigured{fmt.Errorf("stream.incarnation: %d, but the stream %s is in its incarnation %d; use the settings of its workers", c.Incarnation, c.Name, last)}
	}
	return nil
}

func eachIncarnation(ctx context.Context, client *kafka.Client, topic string, each func(Incarnation)) error {
	ranges, err := client.Offsets(ctx, topic)
	if err != nil {
		return err
	}
	b := kafka.Batch{Next: ranges[0].Start}
	for b.Next < ranges[0].End {
		if err := client.Fetch(ctx, topic, 0, b.Next, &b); err != nil {
			return err
		}
		for _, r := range b.Records {
			var got Incarnation
			if err := json.Unmarshal(r.Value, &got); err != nil {
				return fmt.Errorf("topic %s, offset %d: %w", topic, r.Offset, err)
			}
			each(got)
		}
	}
	return nil
}

// record writes the description of an incarnation, unless one is stored already,
// and returns the one that counts.
func record(ctx context.Context, client *kafka.Client, topic string, i Incarnation) (Incarnation, error) {
	if got, ok, err := recorded(ctx, client, topic, i.Number); ok || err != nil {
		return got, err
	}
	value, err := json.Marshal(i)
	if err != nil {
		return i, err
	}
	if err := client.Produce(ctx, topic, []kafka.Produce{{Records: []kafka.Outgoing{{Value: value}}}}); err != nil {
		return i, err
	}
	got, ok, err := recorded(ctx, client, topic, i.Number)
	if err == nil && !ok {
		err = errors.New("the record just written is not there")
	}
	return got, err
}
