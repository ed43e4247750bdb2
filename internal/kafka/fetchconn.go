package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
)

// fetchConn is one connection to one broker. One goroutine uses it at a time.
type fetchConn struct {
	net.Conn
	addr    string
	client  string
	wait    time.Duration
	version int16
	id      int32 // of the last request
	broken  bool  // the next bytes may not be the response to the next request
	prefix  [8]byte
}

// dial connects and authenticates.
func (f *fetcher) dial(ctx context.Context, addr string) (*fetchConn, error) {
	ctx, cancel := context.WithTimeout(ctx, f.c.cfg.DialTimeout)
	defer cancel()
	raw, err := f.c.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn := &fetchConn{Conn: raw, addr: addr, client: f.c.cfg.ClientID, wait: f.c.cfg.FetchWait}
	defer conn.until(ctx)()
	if err := conn.greet(ctx, f.c.mechanism); err != nil {
		conn.close()
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return conn, nil
}

// until makes reads and writes end with ctx, until undo is called.
func (c *fetchConn) until(ctx context.Context) (undo func()) {
	deadline, _ := ctx.Deadline() // without one, the zero time, which means none
	_ = c.SetDeadline(deadline)   // fails only on a closed connection, which the next read reports
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if !stop() {
			c.broken = true // the deadline may still be moved, in the middle of the next request
		}
	}
}

func (c *fetchConn) close() { _ = c.Close() } // nothing was written that a failure could lose

// greet agrees on versions and, if a mechanism is given, authenticates.
func (c *fetchConn) greet(ctx context.Context, m sasl.Mechanism) error {
	pc := protocol.NewConn(c.Conn, c.client)
	r, err := pc.RoundTrip(&apiversions.Request{})
	if err != nil {
		return err
	}
	res := r.(*apiversions.Response)
	if res.ErrorCode != 0 {
		return kafkago.Error(res.ErrorCode)
	}
	versions := map[protocol.ApiKey]int16{}
	for _, k := range res.ApiKeys {
		key := protocol.ApiKey(k.ApiKey)
		versions[key] = key.SelectVersion(k.MinVersion, k.MaxVersion)
		if key == protocol.Fetch && (k.MaxVersion < oldestFetch || k.MinVersion > newestFetch) {
			return fmt.Errorf("%w: the broker fetches in versions %d to %d, and %d to %d are known here",
				kafkago.UnsupportedVersion, k.MinVersion, k.MaxVersion, oldestFetch, newestFetch)
		}
	}
	pc.SetVersions(versions)
	c.version = versions[protocol.Fetch]
	if m == nil {
		return nil
	}
	return c.authenticate(ctx, pc, m)
}

func (c *fetchConn) authenticate(ctx context.Context, pc *protocol.Conn, m sasl.Mechanism) error {
	r, err := pc.RoundTrip(&saslhandshake.Request{Mechanism: m.Name()})
	if err != nil {
		return err
	}
	if code := r.(*saslhandshake.Response).ErrorCode; code != 0 {
		return kafkago.Error(code)
	}
	session, say, err := m.Start(ctx)
	for done := false; err == nil && !done; {
		var r protocol.Message
		r, err = pc.RoundTrip(&saslauthenticate.Request{AuthBytes: say})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return kafkago.SASLAuthenticationFailed // some brokers just close the connection
		}
		if err != nil {
			return err
		}
		res := r.(*saslauthenticate.Response)
		if res.ErrorCode != 0 {
			return fmt.Errorf("%w: %s", kafkago.Error(res.ErrorCode), res.ErrorMessage)
		}
		done, say, err = session.Next(ctx, res.AuthBytes)
	}
	return err
}

// fetch sends one request, and reads the response into b. If it returns an error
// from the broker, or about records, the connection can still be used.
func (c *fetchConn) fetch(ctx context.Context, topic string, partition int32, size int, b *Batch) error {
	defer c.until(ctx)()
	c.broken = true
	if err := c.ask(topic, partition, size, b.Next); err != nil {
		return err
	}
	if err := c.readFrame(b); err != nil {
		return err
	}
	c.broken = false
	err := b.readSafely(c.version, partition)
	var code kafkago.Error
	if err == nil || errors.As(err, &code) {
		return err
	}
	c.broken = true // a fresh connection shows whether this one was the cause
	return fmt.Errorf("%w: %w", ErrUnreadable, err)
}

func (c *fetchConn) ask(topic string, partition int32, size int, offset int64) error {
	c.id++
	return protocol.WriteRequest(c.Conn, c.version, c.id, c.client, &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(c.wait.Milliseconds()), MinBytes: 1, MaxBytes: int32(size), SessionID: -1, SessionEpoch: -1,
		IsolationLevel: int8(kafkago.ReadCommitted),
		Topics: []fetch.RequestTopic{{Topic: topic, Partitions: []fetch.RequestPartition{{
			Partition: partition, CurrentLeaderEpoch: -1, FetchOffset: offset, LogStartOffset: -1, PartitionMaxBytes: int32(size),
		}}}},
	})
}

// maxFrame is the longest response that is read. A broker exceeds the requested
// size only to send a first batch completely.
const maxFrame = 2 * maxFetchBytes

// readFrame reads one response into b.frame.
func (c *fetchConn) readFrame(b *Batch) error {
	if _, err := io.ReadFull(c.Conn, c.prefix[:]); err != nil {
		return err
	}
	size, id := int64(int32(binary.BigEndian.Uint32(c.prefix[:]))), int32(binary.BigEndian.Uint32(c.prefix[4:]))
	if size < 4 || size > maxFrame {
		return fmt.Errorf("%w: it claims to have %d bytes", errResponse, size)
	}
	if id != c.id {
		return fmt.Errorf("%w: it is to question %d, not %d", errResponse, id, c.id)
	}
	return c.readInto(b, int(size-4))
}

// trustedFrame is the memory allocated on the claimed length of a response alone. A
// longer one gets memory as it arrives, because anybody could make the claim.
const trustedFrame = 4 << 20

func (c *fetchConn) readInto(b *Batch, size int) error {
	b.frame = b.frame[:0]
	for len(b.frame) < size {
		have := len(b.frame)
		more := min(size-have, max(have, trustedFrame))
		b.frame = slices.Grow(b.frame, more)[:have+more]
		if _, err := io.ReadFull(c.Conn, b.frame[have:]); err != nil {
			return err
		}
	}
	return nil
}

// readSafely reads the response in b.frame. A panic of a decompressor is an error
// like any other: it may stop a partition, but not the program.
func (b *Batch) readSafely(version int16, partition int32) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("decoding panicked: %v", v)
		}
	}()
	return b.readResponse(b.frame, version, partition)
}
