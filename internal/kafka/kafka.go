// Package kafka presents Kafka as a set of logs: it reads a partition from an
// offset, writes to partitions until the broker has acknowledged, shares partitions
// in a consumer group, and commits offsets with metadata, fenced by generation. It
// is the only package that speaks to Kafka.
//
// It does not choose partitions, keep positions, skip unreadable records or reset
// an offset: all of that decides what is lost, and belongs to callers. Nor does it
// promise that a record is written once: a produce without a reply is sent again,
// so readers recognise repeats by position.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/weirdev/weir/internal/tlsconfig"
)

// metadataTTL limits how long a moved leader goes unnoticed. The library's default
// of 6 s would delay every hand-over.
const metadataTTL = time.Second

// Client is a connection to a Kafka cluster. Its methods may be called from
// many goroutines.
type Client struct {
	cfg       Config
	log       *slog.Logger
	now       func() time.Time
	addr      net.Addr
	dialer    *tlsconfig.Dialer
	transport *kafkago.Transport
	fetcher   *fetcher
	admin     kafkago.Client // for rare requests
	mechanism sasl.Mechanism
	patience  time.Duration
	ahead     atomic.Int64 // ns; see Ahead
	closed    atomic.Bool
	groups    sync.WaitGroup
}

// Option changes how a client is created.
type Option func(*Client)

// WithClock sets the clock for the time at which a fetch was sent (Batch.Asked).
func WithClock(now func() time.Time) Option { return func(c *Client) { c.now = now } }

// WithPatience sets how long records that may be damaged, or topics that may not be
// known yet, are retried before they are an error; the default is 5 s.
func WithPatience(d time.Duration) Option { return func(c *Client) { c.patience = d } }

// New checks cfg and reads the files it names. It connects to nothing yet.
func New(cfg Config, log *slog.Logger, options ...Option) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		return nil, errors.New("kafka: no logger is given")
	}
	dialer, err := cfg.TLS.Dialer("kafka.tls", cfg.DialTimeout)
	if err != nil {
		return nil, err
	}
	mechanism, err := cfg.SASL.mechanism()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, log: log, now: time.Now, addr: kafkago.TCP(cfg.Brokers...), dialer: dialer, mechanism: mechanism, patience: defaultPatience}
	for _, o := range options {
		o(c)
	}
	c.transport = &kafkago.Transport{
		Dial:        dialer.DialContext,
		DialTimeout: cfg.DialTimeout,
		MetadataTTL: metadataTTL,
		ClientID:    cfg.ClientID,
		SASL:        mechanism,
	}
	c.fetcher = newFetcher(c)
	c.admin = kafkago.Client{Addr: c.addr, Transport: c.transport}
	return c, nil
}

// Close closes the connections. Leave all groups first: it waits for running Joins
// to return.
func (c *Client) Close() error {
	c.closed.Store(true)
	c.groups.Wait()
	c.transport.CloseIdleConnections()
	c.fetcher.close()
	return nil
}

// roundTrip sends one request, and waits at most for the request timeout.
func (c *Client) roundTrip(ctx context.Context, req protocol.Message) (protocol.Message, error) {
	if c.closed.Load() {
		return nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	return c.transport.RoundTrip(ctx, c.addr, req)
}

// ask repeats an administrative request until it is answered, is refused
// permanently or ctx ends. It waits only shortly for a topic that does not exist.
func (c *Client) ask(ctx context.Context, what, subject string, request func(context.Context) error) error {
	t := c.newTries(what, subject)
	for {
		if c.closed.Load() {
			return ErrClosed
		}
		attempt, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
		err := request(attempt)
		cancel()
		if err == nil {
			t.succeeded()
			return nil
		}
		if err := t.failed(ctx, err); err != nil {
			return fmt.Errorf("%s %s: %w", what, subject, err)
		}
	}
}
