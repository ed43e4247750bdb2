package engine

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

// What does not read stops its partition, and is tried again after a while: it may
// be mended by then.
func TestAPartitionThatStoppedIsTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 40)
		sound := w.frames[20]
		w.frames[20] = append(bytes.Clone(sound[:len(sound)-1]), sound[len(sound)-1]^1)
		s := w.stage(t)
		s.cfg.Sources, s.cfg.Partitions, s.signalsPartitions = testSources, testPartitions, 1
		lease := kafka.NewLease(testPartitionID, func(_ context.Context, offset int64, _ string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.commit = offset
			return nil
		})
		began := time.Now()
		err := s.own(t.Context(), lease)
		if took := time.Since(began); !errors.Is(err, facet.ErrFrame) || took < 5*time.Minute || took > 6*time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
		if w.commit > 20 {
			t.Errorf("committed %d, beyond what does not read", w.commit)
		}
		w.frames[20] = sound
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := s.own(ctx, lease); err != nil || w.commit != 40 {
			t.Errorf("once it reads: committed %d, %v", w.commit, err)
		}
	})
}
