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

// Incarnation is what must stay as it is for as long as a stream has the same
// incarnation: where an entity's facets go, and which raw partitions there are.
// `weir migrate` writes it to a topic of its own; the first record of an
// incarnation counts, so that two who write at once agree.
type Incarnation struct {
	Number          uint32 `json:"incarnation"`
	EventPartitions int    `json:"event_partitions"`
	FacetPartitions int    `json:"facet_partitions"`
	Hash            string `json:"hash"` // names the key of the hash that places entities, and does not tell it
}

// incarnation is what a stream's topics are at present.
func (c StreamConfig) incarnation(events, facets int) (Incarnation, error) {
	k, err := c.derive(secret.EntityHashName)
	if err != nil {
		return Incarnation{}, err
	}
	sum := sha256.Sum256(k)
	return Incarnation{Number: c.Incarnation, EventPartitions: events, FacetPartitions: facets, Hash: hex.EncodeToString(sum[:8])}, nil
}

// recorded reads what was recorded of an incarnation; ok is false where nothing
// was.
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

// record writes what an incarnation is, unless that is written already, and
// returns what counts.
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
