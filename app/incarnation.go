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
	ranges, err := client.Offsets(ctx, topic)
	if err != nil {
		return i, false, err
	}
	b := kafka.Batch{Next: ranges[0].Start}
	for b.Next < ranges[0].End {
		if err := client.Fetch(ctx, topic, 0, b.Next, &b); err != nil {
			return i, false, err
		}
		for _, r := range b.Records {
			var got Incarnation
			if err := json.Unmarshal(r.Value, &got); err != nil {
				return i, false, fmt.Errorf("topic %s, offset %d: %w", topic, r.Offset, err)
			}
			if got.Number == number {
				return got, true, nil
			}
		}
	}
	return i, false, nil
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
