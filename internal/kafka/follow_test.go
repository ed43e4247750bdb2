package kafka_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/weirdev/weir/internal/kafka"
)

// damaged is a log of offsets 5 to 9, of which 6 and 7 do not read.
type damaged struct{ start, end int64 }

func (d damaged) Offsets(context.Context, string) ([]kafka.OffsetRange, error) {
	return []kafka.OffsetRange{{Start: d.start, End: d.end}}, nil
}

func (d damaged) Fetch(_ context.Context, _ string, _ int32, offset int64, b *kafka.Batch) error {
	switch {
	case offset < d.start || offset > d.end:
		return kafka.ErrOffsetOutOfRange
	case offset == 6 || offset == 7:
		return kafka.ErrUnreadable
	}
	b.Records, b.Next = []kafka.Record{{Offset: offset}}, offset+1
	return nil
}

func (d damaged) NextReadable(context.Context, string, int32, int64) (int64, error) { return 8, nil }

func TestAFollowerGoesOn(t *testing.T) {
	ctx := t.Context()
	var unreadable, lost int64
	restarts := 0
	f := kafka.Follower{
		Log: damaged{5, 10}, Topic: "t", Logger: slog.New(slog.DiscardHandler), Next: 2,
		Unreadable: func(n int64) { unreadable += n }, Lost: func(n int64) { lost += n },
		Restarts: func(context.Context) error {
			if restarts++; restarts == 1 {
				return errors.New("not yet")
			}
			return nil
		},
	}
	var read []int64
	follow := func(turns int) {
		for range turns {
			ok, err := f.Fetch(ctx, ctx)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				read = append(read, f.Batch.Records[0].Offset)
				f.Next = f.Batch.Next
			}
		}
	}
	follow(5) // to the start, 5, behind what does not read, 8, 9
	if len(read) != 3 || read[0] != 5 || read[1] != 8 || read[2] != 9 || unreadable != 2 || lost != 3 || restarts != 0 {
		t.Errorf("it reads %v; %d do not read, %d are lost, %d restarts", read, unreadable, lost, restarts)
	}
	f.Log = damaged{0, 3} // the topic was made anew
	if _, err := f.Fetch(ctx, ctx); err == nil || f.Next != 10 {
		t.Errorf("what must be done first fails, and it goes on at %d: %v", f.Next, err)
	}
	follow(2)
	if read[3] != 0 || lost != 3 || restarts != 2 {
		t.Errorf("it reads %v, %d are lost, %d restarts", read, lost, restarts)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if ok, err := f.Fetch(over, ctx); ok || err != nil {
		t.Errorf("after the end of its context: %v, %v", ok, err)
	}
}
