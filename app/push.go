package app

import (
	"time"

	"github.com/weirdev/weir/app/push"
)

// askEvery is how often a push asks how far workers are.
const askEvery = 100 * time.Millisecond

// NewPusher wires what pushes rules into a stream. tell is told of its progress.
func NewPusher(s StreamConfig, log push.Log, tell func(string)) *push.Pusher {
	return &push.Pusher{Log: log, Now: time.Now, Every: askEvery, Tell: tell, Stream: push.Stream{
		Rules: s.Topic("rules"), Events: s.Topic("events"), Facets: s.Topic("facets"), Ingest: s.Group("ingest"), Detect: s.Group("detect"), Incarnation: s.Incarnation,
	}}
}
