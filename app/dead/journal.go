package dead

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
)

// journal records replays. Each batch writes two entries to a topic of its own: one
// with its letters before it puts them back, and one afterwards.
//
//	begin {run, letters, end of each raw partition} ─▶ records ─▶ done {run, letters}
//
// A begin without a done belongs to a replay that is still running, or was
// interrupted. The records behind the ends in it show what it had put back.
type journal struct {
	log   Log
	topic string
	raw   string          // the topic that records are put back into
	done  map[string]bool // letters, by id
	open  []entry         // without a done, in the order of the log
}

// entry is a record of the journal.
type entry struct {
	Run     string   `json:"run"`
	Done    bool     `json:"done"`
	At      string   `json:"at"` // RFC 3339
	Letters []string `json:"letters"`
	From    []int64  `json:"from,omitempty"` // of a begin record: the end of each raw partition
}

// read reads the journal from the beginning. A missing journal is empty.
func (j *journal) read(ctx context.Context) error {
	j.done, j.open = map[string]bool{}, nil
	err := scan(ctx, j.log, j.topic, nil, func(_ int32, r *kafka.Record) error {
		var e entry
		if err := json.Unmarshal(r.Value, &e); err != nil {
			return fmt.Errorf("%s at %d: %w; this program did not write it", j.topic, r.Offset, err)
		}
		if !e.Done {
			j.open = append(j.open, e)
			return nil
		}
		for _, id := range e.Letters {
			j.done[id] = true
		}
		j.open = slices.DeleteFunc(j.open, func(o entry) bool { return o.Run == e.Run })
		return nil
	})
	if errors.Is(err, kafka.ErrUnknownTopic) {
		return nil
	}
	return err
}

// create creates the journal's topic with the settings of the dead-letter topic. An
// entry is younger than its letter, and so is kept at least as long.
func (j *journal) create(ctx context.Context, like string) error {
	spec, err := j.log.Describe(ctx, like)
	if err != nil {
		return err
	}
	settings := map[string]string{"cleanup.policy": "delete"}
	for _, name := range []string{"retention.ms", "min.insync.replicas"} {
		if v, ok := spec.Config[name]; ok {
			settings[name] = v
		}
	}
	return j.log.CreateTopic(ctx, kafka.TopicSpec{Name: j.topic, Partitions: 1, Replication: max(spec.Replication, 1), Config: settings})
}

func (j *journal) write(ctx context.Context, e entry) error {
	value, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return j.log.Produce(ctx, j.topic, []kafka.Produce{{Records: []kafka.Outgoing{{Key: []byte(e.Run), Value: value}}}})
}

// first reports whether a run is the first open one.
func (j *journal) first(run string) bool { return len(j.open) > 0 && j.open[0].Run == run }

// close ends interrupted replays: letters that are found behind the recorded ends
// were put back, and all others were not.
func (j *journal) close(ctx context.Context, now time.Time) error {
	for _, e := range slices.Clone(j.open) {
		var found []string
		err := scan(ctx, j.log, j.raw, e.From, func(_ int32, r *kafka.Record) error {
			for _, h := range r.Headers {
				if id := string(h.Value); h.Key == ingest.HeaderReplay && slices.Contains(e.Letters, id) && !slices.Contains(found, id) {
					found = append(found, id)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("look for what an earlier replay has put back: %w", err)
		}
		if err := j.write(ctx, entry{Run: e.Run, Done: true, At: stamp(now.UTC()), Letters: found}); err != nil {
			return err
		}
	}
	return j.read(ctx)
}
