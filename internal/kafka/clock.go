package kafka

import (
	"time"

	"github.com/segmentio/kafka-go/protocol/produce"
)

// clockTolerance is how far two clocks may be apart without anybody minding.
const clockTolerance = 5 * time.Second

// Ahead is how far this machine's clock is ahead of the brokers', below 0 where
// it is behind: at least, and 0 where it is less than 5 s or not known. Brokers
// tell their time with every produce to a topic that keeps the time of
// appending.
func (c *Client) Ahead() time.Duration { return time.Duration(c.ahead.Load()) }

// compare takes the time that a broker appended at, between two moments of the
// clock here.
func (c *Client) compare(asked, answered time.Time, res *produce.Response) {
	for i := range res.Topics {
		for j := range res.Topics[i].Partitions {
			p := &res.Topics[i].Partitions[j]
			if p.ErrorCode == 0 && p.LogAppendTime > 0 {
				c.ahead.Store(int64(apart(asked, answered, time.UnixMilli(p.LogAppendTime))))
				return
			}
		}
	}
}

// apart is how far a clock that said asked before, and answered after, is ahead
// of one that said there in between.
func apart(asked, answered, there time.Time) time.Duration {
	switch ahead, behind := asked.Sub(there), there.Sub(answered); {
	case ahead > clockTolerance:
		return ahead
	case behind > clockTolerance:
		return -behind
	}
	return 0
}
