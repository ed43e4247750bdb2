package engine

import (
	"context"

	"github.com/weirdev/weir/internal/watch"
	"github.com/weirdev/weir/score"
)

// The watched forms tell an owner's loop when it waits for a store, as
// kafka.Watched does for Kafka.

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
