package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// topic returns the metadata of a topic. The transport caches it for up to
// metadataTTL, so this usually costs no round trip.
func (c *Client) topic(ctx context.Context, name string) (*metadata.ResponseTopic, error) {
	m, err := c.roundTrip(ctx, &metadata.Request{TopicNames: []string{name}})
	if err != nil {
		return nil, err
	}
	return oneTopic(m.(*metadata.Response), name)
}

func oneTopic(res *metadata.Response, name string) (*metadata.ResponseTopic, error) {
	if len(res.Topics) != 1 {
		return nil, protocol.NewErrNoTopic(name)
	}
	t := &res.Topics[0]
	if t.ErrorCode != 0 {
		return nil, kafkago.Error(t.ErrorCode)
	}
	return t, nil
}

// leaders lists the leader of each partition; −1 if there is none now.
func (c *Client) leaders(ctx context.Context, topic string) ([]int32, error) {
	t, err := c.topic(ctx, topic)
	if err != nil {
		return nil, err
	}
	leaders := slices.Repeat([]int32{-1}, len(t.Partitions))
	for _, p := range t.Partitions {
		if p.PartitionIndex >= 0 && int(p.PartitionIndex) < len(leaders) {
			leaders[p.PartitionIndex] = p.LeaderID
		}
	}
	return leaders, nil
}

// Partitions returns the number of partitions of a topic, or [ErrUnknownTopic].
func (c *Client) Partitions(ctx context.Context, topic string) (n int, err error) {
	err = c.ask(ctx, "look up topic", topic, func(ctx context.Context) error {
		t, err := c.topic(ctx, topic)
		if err == nil {
			n = len(t.Partitions)
		}
		return err
	})
	return n, err
}

// CreateTopic creates a topic, and returns when every partition has a leader. It
// does not change an existing topic, whatever its partitions and settings.
func (c *Client) CreateTopic(ctx context.Context, spec TopicSpec) error {
	err := c.ask(ctx, "create topic", spec.Name, func(ctx context.Context) error {
		res, err := c.admin.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{{
			Topic: spec.Name, NumPartitions: spec.Partitions, ReplicationFactor: spec.Replication, ConfigEntries: spec.entries(),
		}}})
		if err != nil {
			return err
		}
		if err := res.Errors[spec.Name]; !errors.Is(err, kafkago.TopicAlreadyExists) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.ask(ctx, "wait for topic", spec.Name, func(ctx context.Context) error {
		leaders, err := c.leaders(ctx, spec.Name)
		if err == nil && slices.Contains(leaders, -1) {
			return kafkago.LeaderNotAvailable
		}
		return err
	})
}

// Describe returns a topic's settings; Config has all of them, defaults included. A
// missing topic is [ErrUnknownTopic].
func (c *Client) Describe(ctx context.Context, topic string) (spec TopicSpec, err error) {
	err = c.ask(ctx, "describe topic", topic, func(ctx context.Context) error {
		t, err := c.topic(ctx, topic)
		if err != nil {
			return err
		}
		spec = TopicSpec{Name: topic, Partitions: len(t.Partitions)}
		for i, p := range t.Partitions {
			if n := len(p.ReplicaNodes); i == 0 || n < spec.Replication {
				spec.Replication = n
			}
		}
		spec.Config, err = c.topicConfig(ctx, topic)
		return err
	})
	return spec, err
}

func (c *Client) topicConfig(ctx context.Context, topic string) (map[string]string, error) {
	res, err := c.admin.DescribeConfigs(ctx, &kafkago.DescribeConfigsRequest{
		Resources: []kafkago.DescribeConfigRequestResource{{ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic}},
	})
	if err != nil {
		return nil, err
	}
	if len(res.Resources) != 1 {
		return nil, fmt.Errorf("%d resources answered, not 1", len(res.Resources))
	}
	if err := res.Resources[0].Error; err != nil {
		return nil, err
	}
	settings := make(map[string]string, len(res.Resources[0].ConfigEntries))
	for _, e := range res.Resources[0].ConfigEntries {
		settings[e.ConfigName] = e.ConfigValue
	}
	return settings, nil
}
