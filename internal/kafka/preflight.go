package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
)

// ErrUnsupported: the broker does not support what we need.
var ErrUnsupported = errors.New("this version of Kafka cannot be used")

// needed are the requests that this package sends, each with the versions that the
// library writes. Those for groups are older than the rest, and fixed: with a
// broker that drops them everything works except Join, which would fail without
// saying why.
var needed = []struct {
	key      protocol.ApiKey
	from, to int16
}{
	{protocol.Produce, 3, 8},
	{protocol.Fetch, oldestFetch, newestFetch},
	{protocol.ListOffsets, 1, 5},
	{protocol.Metadata, 1, 6},
	{protocol.OffsetCommit, 2, 7},
	{protocol.OffsetFetch, 1, 1},
	{protocol.FindCoordinator, 0, 0},
	{protocol.JoinGroup, 1, 2},
	{protocol.SyncGroup, 0, 0},
	{protocol.Heartbeat, 0, 0},
	{protocol.LeaveGroup, 0, 0},
	{protocol.DescribeConfigs, 0, 3},
	{protocol.CreateTopics, 0, 5},
}

// Preflight asks a broker for its supported requests, and returns [ErrUnsupported]
// with all that are missing.
func (c *Client) Preflight(ctx context.Context) error {
	var res *apiversions.Response
	err := c.ask(ctx, "ask for versions", strings.Join(c.cfg.Brokers, ","), func(ctx context.Context) (err error) {
		res, err = c.versions(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return lacking(res)
}

// Ping asks a broker once. Questions about topics are answered from the library's
// cache, which outlives the brokers.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.versions(ctx)
	return err
}

func (c *Client) versions(ctx context.Context) (*apiversions.Response, error) {
	m, err := c.roundTrip(ctx, &apiversions.Request{})
	if err != nil {
		return nil, err
	}
	res := m.(*apiversions.Response)
	if res.ErrorCode != 0 {
		return nil, kafkago.Error(res.ErrorCode)
	}
	return res, nil
}

func lacking(res *apiversions.Response) error {
	var missing []string
	for _, n := range needed {
		known := "it has none"
		spoken := false
		for _, k := range res.ApiKeys {
			if protocol.ApiKey(k.ApiKey) == n.key {
				known = fmt.Sprintf("it has %d to %d", k.MinVersion, k.MaxVersion)
				spoken = k.MinVersion <= n.to && k.MaxVersion >= n.from
			}
		}
		if !spoken {
			missing = append(missing, fmt.Sprintf("%s in one of the versions %d to %d (%s)", n.key, n.from, n.to, known))
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("%w: the broker lacks %s; tested are Apache Kafka 3.9 to 4.1", ErrUnsupported, strings.Join(missing, ", "))
}
