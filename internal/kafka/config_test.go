package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	if _, err := New(Defaults(), nil); err == nil {
		t.Error("a client without a logger is made")
	}
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	for _, c := range []struct {
		want string
		set  func(*Config)
	}{
		{"kafka.brokers: none", func(c *Config) { c.Brokers = nil }},
		{"kafka.brokers: address", func(c *Config) { c.Brokers = []string{"kafka"} }},
		{"kafka.compression", func(c *Config) { c.Compression = "zip" }},
		{"kafka.tls: cert_file", func(c *Config) { c.TLS.CertFile = "x" }},
		{"kafka.sasl.mechanism", func(c *Config) { c.SASL.Mechanism = "GSSAPI" }},
		{"kafka.sasl.username", func(c *Config) { c.SASL = SASL{Mechanism: "PLAIN", Password: "x"} }},
		{"one of password and password_file", func(c *Config) { c.SASL = SASL{Mechanism: "PLAIN", Username: "x"} }},
		{"one of password and password_file", func(c *Config) {
			c.SASL = SASL{Mechanism: "PLAIN", Username: "x", Password: "x", PasswordFile: "x"}
		}},
		{"it needs tls.enabled", func(c *Config) {
			c.Brokers, c.SASL = []string{"kafka.example:9092"}, SASL{Mechanism: "PLAIN", Username: "x", Password: "x"}
		}},
		{"kafka.heartbeat_interval", func(c *Config) { c.HeartbeatInterval = 4 * time.Second }},
		{"kafka.fetch_bytes", func(c *Config) { c.FetchBytes = 1 }},
		{"kafka.batch_bytes", func(c *Config) { c.BatchBytes = 1 << 30 }},
		{"kafka.fetch_wait", func(c *Config) { c.FetchWait = time.Hour }},
		{"kafka.request_timeout", func(c *Config) { c.RequestTimeout = 0 }},
		{"kafka.drain_timeout", func(c *Config) { c.DrainTimeout = 0 }},
	} {
		cfg := Defaults()
		c.set(&cfg)
		if _, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestErrorsAreTriedAgainAsTheyDeserve(t *testing.T) {
	for _, c := range []struct {
		err     error
		outlook outlook
		meaning error
	}{
		{kafkago.NotLeaderForPartition, soon, kafkago.NotLeaderForPartition},
		{fmt.Errorf("wrapped: %w", kafkago.GroupCoordinatorNotAvailable), soon, kafkago.GroupCoordinatorNotAvailable},
		{io.ErrUnexpectedEOF, soon, io.ErrUnexpectedEOF},
		{context.DeadlineExceeded, soon, context.DeadlineExceeded},
		{protocol.NewErrNoLeader("t", 1), soon, protocol.ErrNoLeader},
		{protocol.NewErrNoTopic("t"), shortly, ErrUnknownTopic},
		{protocol.NewErrNoPartition("t", 1), shortly, ErrUnknownTopic},
		{kafkago.UnknownTopicOrPartition, shortly, ErrUnknownTopic},
		{fmt.Errorf("%w: %w", ErrUnreadable, io.ErrUnexpectedEOF), shortly, ErrUnreadable},
		{kafkago.Unknown, shortly, kafkago.Unknown},
		{kafkago.Error(9999), shortly, kafkago.Error(9999)},
		{errors.New("what nobody thought of"), shortly, nil},
		{kafkago.OffsetOutOfRange, never, ErrOffsetOutOfRange},
		{kafkago.MessageSizeTooLarge, never, ErrTooLarge},
		{kafkago.UnknownMemberId, never, ErrFenced},
		{kafkago.TopicAuthorizationFailed, never, ErrDenied},
		{kafkago.OffsetMetadataTooLarge, never, ErrMetadataTooLarge},
		{ErrClosed, never, ErrClosed},
	} {
		o, err := classify(c.err)
		if o != c.outlook || c.meaning != nil && !errors.Is(err, c.meaning) || !errors.Is(err, c.err) {
			t.Errorf("%v is tried again %d and means %v; want %d, %v", c.err, o, err, c.outlook, c.meaning)
		}
	}
}

func TestPausesGrowAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{log: slog.New(slog.DiscardHandler), patience: defaultPatience}
		tries, started := c.newTries("test", "x"), time.Now()
		for i := range 100 {
			before := time.Now()
			if err := tries.failed(t.Context(), kafkago.NotLeaderForPartition); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(before); d < firstPause/2 || d > maxPause || i > 10 && d < maxPause/2 {
				t.Errorf("pause %d took %v", i, d)
			}
		}
		if d := time.Since(started); d > 100*maxPause {
			t.Errorf("a hundred attempts took %v", d)
		}
		tries.succeeded()
		started = time.Now()
		var err error
		for err == nil {
			err = tries.failed(t.Context(), kafkago.UnknownTopicOrPartition)
		}
		if d := time.Since(started); !errors.Is(err, ErrUnknownTopic) || d < defaultPatience || d > defaultPatience+2*maxPause {
			t.Errorf("after %v: %v", d, err)
		}
	})
}

func TestAttemptsEndWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{log: slog.New(slog.DiscardHandler), patience: defaultPatience}
		stopped := errors.New("the program stops")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(stopped) })
		tries, err := c.newTries("test", "x"), error(nil)
		for err == nil {
			err = tries.failed(ctx, io.EOF)
		}
		if !errors.Is(err, stopped) || !strings.Contains(err.Error(), "EOF") {
			t.Errorf("the attempts end with %v", err)
		}
	})
}

// levels counts what is logged.
type levels struct {
	slog.Handler
	n map[slog.Level]int
}

func (l levels) Enabled(context.Context, slog.Level) bool { return true }
func (l levels) Handle(_ context.Context, r slog.Record) error {
	l.n[r.Level]++
	return nil
}

func TestRepeatedErrorsAreLoggedOnceAndWhenTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := map[slog.Level]int{}
		c := &Client{log: slog.New(levels{slog.DiscardHandler, n}), patience: defaultPatience}
		tries := c.newTries("test", "x")
		for i := range 50 {
			err := error(io.EOF)
			if i >= 30 {
				err = kafkago.NotLeaderForPartition
			}
			if err := tries.failed(t.Context(), err); err != nil {
				t.Fatal(err)
			}
		}
		tries.succeeded()
		if n[slog.LevelDebug] != 1 || n[slog.LevelWarn] != 2 || n[slog.LevelInfo] != 1 {
			t.Errorf("logged %v, want one debug, two warnings and one info", n)
		}
	})
}
