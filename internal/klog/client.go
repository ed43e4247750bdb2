package klog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sort"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
)

// Errors that callers tell apart. Everything that passes by itself (a leader
// that moves, a connection that is cut) is retried inside.
var (
	ErrOffsetOutOfRange = errors.New("offset is out of the log's range")
	ErrTooLarge         = errors.New("record is larger than the topic allows")
	ErrUnknownTopic     = errors.New("topic does not exist")
	ErrFenced           = errors.New("the partition belongs to another member now")
	ErrUnreadable       = errors.New("record batch cannot be read")
	errInflated         = errors.New("record batch inflates beyond the limit")
)

// Client reaches one Kafka cluster. It is safe for use by many goroutines.
type Client struct {
	cfg       Config
	log       *slog.Logger
	transport *kafka.Transport
	client    *kafka.Client
	codec     compress.Compression
}

// New makes a client; it connects when it is first used.
func New(cfg Config, log *slog.Logger) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	limitInflation()
	tlsConfig, err := cfg.tls()
	if err != nil {
		return nil, err
	}
	mechanism, err := cfg.sasl()
	if err != nil {
		return nil, err
	}
	t := &kafka.Transport{
		Dial:        (&net.Dialer{Timeout: cfg.DialTimeout}).DialContext,
		DialTimeout: cfg.DialTimeout,
		IdleTimeout: time.Minute,
		MetadataTTL: time.Second, // a moved leader is found this late at most
		ClientID:    cfg.ClientID,
		TLS:         tlsConfig,
		SASL:        mechanism,
	}
	c := &Client{cfg: cfg, log: log, transport: t}
	c.client = &kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Timeout: cfg.Timeout, Transport: t}
	if cfg.Compression == "lz4" {
		c.codec = compress.Lz4
	}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// maxInflated is how large one record batch may become when it is decompressed.
const maxInflated = 64 << 20

var limitOnce sync.Once

// limitInflation wraps kafka-go's table of codecs, which it exports as a
// package variable, so that a small batch cannot inflate without bound. There
// is no other place to set that limit.
func limitInflation() {
	limitOnce.Do(func() {
		for i, c := range compress.Codecs {
			if c != nil {
				compress.Codecs[i] = limitedCodec{c}
			}
		}
	})
}

type limitedCodec struct{ compress.Codec }

func (c limitedCodec) NewReader(r io.Reader) io.ReadCloser {
	return &limitedReader{ReadCloser: c.Codec.NewReader(r), left: maxInflated}
}

type limitedReader struct {
	io.ReadCloser
	left int
}

func (r *limitedReader) Read(b []byte) (int, error) {
	if r.left <= 0 {
		return 0, errInflated
	}
	n, err := r.ReadCloser.Read(b[:min(len(b), r.left)])
	r.left -= n
	return n, err
}

// WriteTo hides a shortcut of the wrapped reader that would pass the limit by.
func (r *limitedReader) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{r})
}

// retry calls f until it succeeds, fails for good, or ctx ends. Waits grow from
// 20 ms to 1 s, with jitter. The first failure and each change are logged.
func (c *Client) retry(ctx context.Context, what string, f func() error) error {
	wait, last := 20*time.Millisecond, ""
	for {
		err := f()
		if err == nil {
			if last != "" {
				c.log.Info("kafka answers again", "request", what)
			}
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w (%w)", what, ctx.Err(), err)
		}
		if err = classify(err); permanent(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err.Error() != last {
			c.log.Warn("kafka request fails and is retried", "request", what, "error", err)
			last = err.Error()
		}
		t := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		wait = min(2*wait, time.Second)
	}
}

// classify gives the errors that matter here a name of ours.
func classify(err error) error {
	name := func(ours error) error { return fmt.Errorf("%w: %w", ours, err) }
	switch {
	case errors.Is(err, kafka.OffsetOutOfRange):
		return name(ErrOffsetOutOfRange)
	case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.InvalidMessageSize):
		return name(ErrTooLarge)
	case errors.Is(err, kafka.IllegalGeneration), errors.Is(err, kafka.UnknownMemberId), errors.Is(err, kafka.RebalanceInProgress):
		return name(ErrFenced)
	}
	return err
}

func permanent(err error) bool {
	for _, p := range []error{ErrOffsetOutOfRange, ErrTooLarge, ErrFenced, ErrUnreadable, ErrUnknownTopic,
		kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.SASLAuthenticationFailed,
		kafka.InvalidTopic} {
		if errors.Is(err, p) {
			return true
		}
	}
	return false
}

// TopicSpec says how a topic is made.
type TopicSpec struct {
	Name        string
	Partitions  int
	Replication int
	Config      map[string]string
}

// CreateTopic makes a topic; one that exists is left as it is.
func (c *Client) CreateTopic(ctx context.Context, s TopicSpec) error {
	t := kafka.TopicConfig{Topic: s.Name, NumPartitions: s.Partitions, ReplicationFactor: s.Replication}
	for k, v := range s.Config {
		t.ConfigEntries = append(t.ConfigEntries, kafka.ConfigEntry{ConfigName: k, ConfigValue: v})
	}
	sort.Slice(t.ConfigEntries, func(i, j int) bool { return t.ConfigEntries[i].ConfigName < t.ConfigEntries[j].ConfigName })
	return c.retry(ctx, "create topic "+s.Name, func() error {
		res, err := c.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{t}})
		if err != nil {
			return err
		}
		if err := res.Errors[s.Name]; err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
			if e := kafka.Error(0); errors.As(err, &e) && !e.Temporary() {
				return fmt.Errorf("%w: %w", kafka.InvalidTopic, err)
			}
			return err
		}
		return nil
	})
}

// metadata asks for a topic's partitions, in order.
func (c *Client) metadata(ctx context.Context, topic string) (ps []kafka.Partition, err error) {
	err = c.retry(ctx, "metadata of "+topic, func() error {
		res, err := c.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		if err != nil {
			return err
		}
		for _, t := range res.Topics {
			if t.Name != topic {
				continue
			}
			if errors.Is(t.Error, kafka.UnknownTopicOrPartition) {
				return ErrUnknownTopic
			}
			if t.Error != nil {
				return t.Error
			}
			ps = t.Partitions
		}
		return nil
	})
	if err == nil && len(ps) == 0 {
		return nil, fmt.Errorf("metadata of %s: %w", topic, ErrUnknownTopic)
	}
	sort.Slice(ps, func(i, j int) bool { return ps[i].ID < ps[j].ID })
	return ps, err
}

// Partitions is the number of partitions of a topic, or [ErrUnknownTopic].
func (c *Client) Partitions(ctx context.Context, topic string) (int, error) {
	ps, err := c.metadata(ctx, topic)
	return len(ps), err
}

// TopicConfig is a topic's effective configuration.
func (c *Client) TopicConfig(ctx context.Context, topic string) (map[string]string, error) {
	config := map[string]string{}
	err := c.retry(ctx, "configuration of "+topic, func() error {
		res, err := c.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
			Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}},
		})
		if err != nil {
			return err
		}
		for _, r := range res.Resources {
			if r.Error != nil {
				return r.Error
			}
			for _, e := range r.ConfigEntries {
				config[e.ConfigName] = e.ConfigValue
			}
		}
		return nil
	})
	return config, err
}

// OffsetRange is what a partition holds: Start ≤ offset < End.
type OffsetRange struct{ Start, End int64 }

// Offsets is the range of every partition of a topic.
func (c *Client) Offsets(ctx context.Context, topic string) ([]OffsetRange, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	var asked []kafka.OffsetRequest
	for p := range n {
		asked = append(asked, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
	}
	ranges := make([]OffsetRange, n)
	err = c.retry(ctx, "offsets of "+topic, func() error {
		res, err := c.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: asked}})
		if err != nil {
			return err
		}
		for _, p := range res.Topics[topic] {
			if p.Error != nil {
				return p.Error
			}
			ranges[p.Partition] = OffsetRange{Start: max(p.FirstOffset, 0), End: max(p.LastOffset, 0)}
		}
		return nil
	})
	return ranges, err
}

// Commit is a group's progress in one partition. Offset is that of the next
// record to read; −1 where nothing was committed.
type Commit struct {
	Partition int32
	Offset    int64
	Metadata  string
}

// Committed is what a group has committed, by partition.
func (c *Client) Committed(ctx context.Context, group, topic string) ([]Commit, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i
	}
	commits := make([]Commit, n)
	err = c.retry(ctx, "commits of "+group, func() error {
		res, err := c.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: ids}})
		if err != nil {
			return err
		}
		if res.Error != nil {
			return res.Error
		}
		for _, p := range res.Topics[topic] {
			if p.Error != nil {
				return p.Error
			}
			commits[p.Partition] = Commit{Partition: int32(p.Partition), Offset: p.CommittedOffset, Metadata: p.Metadata}
		}
		return nil
	})
	return commits, err
}
