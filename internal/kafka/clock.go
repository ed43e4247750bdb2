package kafka

import (
	"time"

	"github.com/segmentio/kafka-go/protocol/produce"
)

// clockTolerance is the accepted difference between two clocks.
const clockTolerance = 5 * time.Second

// Ahead returns how far this machine's clock is at least ahead of the brokers',
// negative if it is behind; 0 if the difference is less than 5 s or unknown.
// Brokers report their time with every produce to a topic that keeps the append
// time.
func (c *Client) Ahead() time.Duration { return time.Duration(c.ahead.Load()) }

// compare takes a broker's append time, between two times of the local clock.
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

// apart returns how far a clock that showed asked before, and answered after, is
// ahead of one that showed there in between.
func apart(asked, answered, there time.Time) time.Duration {
	switch ahead, behind := asked.Sub(there), there.Sub(answered); {
	case ahead > clockTolerance:
		return ahead
	case behind > clockTolerance:
		return -behind
	}
	return 0
}
