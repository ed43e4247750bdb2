package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// Follower reads one partition in order. It passes over what cannot be read, and over
// what was deleted before it was read: it is for readers that would rather miss a
// record than stop. One goroutine uses it.
type Follower struct {
	Log       Source
	Topic     string
	Partition int32
	Logger    *slog.Logger

	Next  int64 // offset of the next record to read
	Batch Batch // what was read last

	// Each may be nil.
	Unreadable func(records int64)             // is told how many records do not read
	Lost       func(records int64)             // is told how many were deleted
	Restarts   func(ctx context.Context) error // is called before a log that is shorter than it was is read from its start
}

// Source is the part of a Log that a follower reads.
type Source interface {
	Ends
	Fetch(ctx context.Context, topic string, partition int32, offset int64, b *Batch) error
	NextReadable(ctx context.Context, topic string, partition int32, offset int64) (int64, error)
}

// Fetch reads into Batch from Next on, which the caller moves. It reports false if
// Batch holds nothing: then it has moved Next itself, or ctx has ended. Once something
// is wrong with the log, the end of finish interrupts it, and not that of ctx.
func (f *Follower) Fetch(ctx, finish context.Context) (read bool, err error) {
	err = f.Log.Fetch(ctx, f.Topic, f.Partition, f.Next, &f.Batch)
	switch {
	case ctx.Err() != nil:
		return false, nil
	case errors.Is(err, ErrOffsetOutOfRange):
		return false, f.outside(finish)
	case errors.Is(err, ErrUnreadable):
		return false, f.skip(finish, err)
	case err != nil:
		return false, fmt.Errorf("fetch %s/%d at %d: %w", f.Topic, f.Partition, f.Next, err)
	}
	return true, nil
}

// skip passes over records that are unreadable however often they are fetched.
func (f *Follower) skip(ctx context.Context, cause error) error {
	to, err := f.Log.NextReadable(ctx, f.Topic, f.Partition, f.Next)
	if err != nil {
		return fmt.Errorf("look behind what does not read: %w", err)
	}
	if to > f.Next {
		f.Logger.Error("records do not read and are passed over", "from", f.Next, "to", to, "error", cause)
		if f.Unreadable != nil {
			f.Unreadable(to - f.Next)
		}
		f.Next = to
	}
	return nil
}

// outside continues at the start of a log that does not hold the next offset:
// retention deleted it, or the topic was made anew.
func (f *Follower) outside(ctx context.Context) error {
	log, err := Extent(ctx, f.Log, f.Topic, f.Partition)
	if err != nil {
		return err
	}
	if lost := log.Start - f.Next; lost > 0 {
		f.Logger.Error("records were deleted from the log before they were read", "from", f.Next, "to", log.Start)
		if f.Lost != nil {
			f.Lost(lost)
		}
	} else {
		f.Logger.Error("the log is shorter than it was; it is read from its start", "next", f.Next, "end", log.End)
		if f.Restarts != nil {
			if err := f.Restarts(ctx); err != nil {
				return err
			}
		}
	}
	f.Next = log.Start
	return nil
}
