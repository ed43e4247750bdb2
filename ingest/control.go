package ingest

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/internal/kafka"
)

// ControlTrack stores control records, in order.
type ControlTrack interface {
	// Append copies c. It blocks while the store is behind, until ctx ends.
	Append(ctx context.Context, offset int64, owner uint64, received int64, c *control.Record) error
	// Stored returns an offset below which every appended record is acknowledged.
	Stored() int64
	// Drain returns when everything appended is acknowledged.
	Drain(ctx context.Context) error
}

// track is what both stores have in common.
type track interface {
	Stored() int64
	Drain(ctx context.Context) error
}

// input is a topic that ingest reads.
type input struct {
	topic, group string
	first        int32 // source number of its first partition
	controls     bool  // its records are control records
}

// events returns the raw topic.
func (s *Stage) events() input { return input{topic: s.Topics.Events, group: s.Topics.Group} }

// errControl means that a record is no control record.
var errControl = errors.New("no control record")

// reasonControl is the reason of dead letters of the topic of controls.
const reasonControl = "control"

// takeControl turns a control record into its facet. Of two with one id, the first
// counts. Records about gates have none.
func (in *intake) takeControl(r *kafka.Record) (o Outcome, p placed, facets int64, err error) {
	again, err := in.seeControl(r)
	if err != nil {
		return Dead, p, 0, err
	}
	if again {
		return Repeated, p, 0, nil
	}
	if in.said.OfGates() {
		return Accepted, p, 0, nil
	}
	c := in.said.Facet()
	in.frames.addControl(r.Offset, in.said.Time, in.said.Entity(), &c)
	return Accepted, p, 1, nil
}

// seeControl reads a control record, and reports whether its id is in the window of
// repeats. Records that are none leave no trace there.
func (in *intake) seeControl(r *kafka.Record) (again bool, err error) {
	if in.said, err = control.Parse(r.Value); err != nil {
		return false, fmt.Errorf("%w: %w", errControl, err)
	}
	return in.repeats.see(r.Offset, []byte(in.said.ID), nil), nil
}

// controlsEpoch is the only epoch of the topic of controls: what its facets are
// depends on no rules and no data.
type controlsEpoch struct{}

func (controlsEpoch) Present() *Epoch { return named("controls-1") }

func (controlsEpoch) Follow(context.Context, int64) error { return nil }

func (controlsEpoch) Load(_ context.Context, name string) (*Epoch, error) {
	return nil, fmt.Errorf("%w: controls are read in another way by this program than under %s", ErrNoEpoch, name)
}

// letterKey returns the key of a dead letter.
func (o *owner) letterKey(offset int64) string {
	key := strconv.Itoa(int(o.partition)) + "-" + strconv.FormatInt(offset, 10)
	if o.input.controls {
		return "controls-" + key
	}
	return key
}
