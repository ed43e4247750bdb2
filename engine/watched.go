package engine

import (
	"context"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
	"github.com/weirdev/weir/score"
)

// The watched forms tell an owner's loop when it waits for Kafka or for a store:
// that takes as long as an outage there, and is not the owner hanging.

type watchedLog struct {
	Log
	loop *watch.Loop
}

func (l watchedLog) Fetch(ctx context.Context, topic string, partition int32, offset int64, b *kafka.Batch) error {
	l.loop.Waiting()
	defer l.loop.Working()
	return l.Log.Fetch(ctx, topic, partition, offset, b)
}

func (l watchedLog) Produce(ctx context.Context, topic string, ps []kafka.Produce) error {
	l.loop.Waiting()
	defer l.loop.Working()
	return l.Log.Produce(ctx, topic, ps)
}

type watchedSignals struct {
	SignalTrack
	loop *watch.Loop
}

func (s watchedSignals) Append(ctx context.Context, offset int64, sig *score.Signal) error {
	s.loop.Waiting()
	defer s.loop.Working()
	return s.SignalTrack.Append(ctx, offset, sig)
}

func (s watchedSignals) Drain(ctx context.Context) error {
	s.loop.Waiting()
	defer s.loop.Working()
	return s.SignalTrack.Drain(ctx)
}

type watchedScores struct {
	ScoreTrack
	loop *watch.Loop
}

func (s watchedScores) Put(ctx context.Context, offset int64, u score.Update) error {
	s.loop.Waiting()
	defer s.loop.Working()
	return s.ScoreTrack.Put(ctx, offset, u)
}

func (s watchedScores) Drain(ctx context.Context) error {
	s.loop.Waiting()
	defer s.loop.Working()
	return s.ScoreTrack.Drain(ctx)
}

// watchedCommit is a commit that is waited for.
func watchedCommit(loop *watch.Loop, commit func(ctx context.Context, offset int64, metadata string) error) func(context.Context, int64, string) error {
	return func(ctx context.Context, offset int64, metadata string) error {
		loop.Waiting()
		defer loop.Working()
		return commit(ctx, offset, metadata)
	}
}
