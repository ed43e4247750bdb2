// Package controls writes control records: labels, releases, passed challenges and
// erasures. The command line and the console use it.
package controls

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

// DefaultHold is how long a false positive holds its rule back unless it says
// otherwise.
const DefaultHold = 30 * 24 * time.Hour

// Control is what somebody says about an entity. The members that are missing get
// defaults: an id, the present time, and of a false positive the expiry.
type Control = control.Record

// Producer writes records to topics of Kafka. A [kafka.Client] is one.
type Producer interface {
	Produce(ctx context.Context, topic string, ps []kafka.Produce) error
}

// Writer writes to one topic of controls. Several goroutines may use it.
type Writer struct {
	log   Producer
	topic string
	now   func() time.Time
}

// New creates a writer to a topic, which is STREAM.controls.
func New(log Producer, topic string) *Writer { return &Writer{log: log, topic: topic, now: time.Now} }

// Invalid is the error about a control that cannot be written as it is.
type Invalid struct{ Err error }

func (e *Invalid) Error() string { return e.Err.Error() }
func (e *Invalid) Unwrap() error { return e.Err }

// Write writes c, and returns its id once the brokers have it. The entity's key may
// have every form that a gateway may write. If a write fails, it may be repeated
// with the same id: of two records with one id, the first counts. The error is an
// [*Invalid] if c must not be written; nothing is written then.
func (w *Writer) Write(ctx context.Context, c Control) (id string, err error) {
	all, err := w.WriteAll(ctx, []Control{c})
	if err != nil {
		return "", err
	}
	return all[0].ID, nil
}

// mostTogether is how many records are written in one request.
const mostTogether = 500

// WriteAll writes several control records, in order, and returns them as they were
// written. If it fails, all is a beginning of them that the brokers have; others may have
// been written, too.
func (w *Writer) WriteAll(ctx context.Context, cs []Control) (all []Control, err error) {
	out := make([]kafka.Outgoing, 0, len(cs))
	done := make([]Control, 0, len(cs))
	for _, c := range cs {
		if c, err = w.Complete(c); err != nil {
			return nil, err
		}
		value, err := c.Encode()
		if err != nil {
			return nil, fmt.Errorf("write the control record: %w", err)
		}
		done, out = append(done, c), append(out, kafka.Outgoing{Key: []byte(c.ID), Value: value})
	}
	for from := 0; from < len(out); from += mostTogether {
		to := min(from+mostTogether, len(out))
		if err := w.produce(ctx, out[from:to]); err != nil {
			return done[:from], err
		}
	}
	return done, nil
}

func (w *Writer) produce(ctx context.Context, records []kafka.Outgoing) error {
	if err := w.log.Produce(ctx, w.topic, []kafka.Produce{{Records: records}}); err != nil {
		return fmt.Errorf("write to %s: %w; `weir migrate` makes the topic, and whoever writes to it needs the right to", w.topic, err)
	}
	return nil
}

// Complete returns c with its defaults, as [Writer.Write] writes it.
func (w *Writer) Complete(c Control) (Control, error) {
	c.Version = control.Version
	if c.ID == "" {
		c.ID = "c-" + strings.ToLower(rand.Text())
	}
	if c.Time == 0 {
		c.Time = w.now().UnixMilli()
	}
	if c.Expires == 0 && c.Action == facet.FalsePositive.String() {
		c.Expires = c.Time + DefaultHold.Milliseconds()
	}
	if k, ok := facet.ParseKind(c.Kind); ok {
		if key, _, ok := facet.KeyOf(k, c.Key); ok {
			c.Key = key
		}
	}
	if err := c.Check(); err != nil {
		return c, &Invalid{err}
	}
	return c, nil
}

// Entity reads an entity as people write it: kind:key.
func Entity(text string) (kind, key string, err error) {
	kind, key, ok := strings.Cut(text, ":")
	if !ok {
		return "", "", fmt.Errorf("%q is no entity: write its kind and its key, such as account:alice", text)
	}
	k, ok := facet.ParseKind(kind)
	if !ok {
		names := make([]string, 0, facet.MaxKind)
		for _, k := range facet.Kinds() {
			names = append(names, k.String())
		}
		return "", "", fmt.Errorf("%q is no kind of entity: one of %s is possible", kind, strings.Join(names, ", "))
	}
	if key, _, ok = facet.KeyOf(k, key); !ok {
		return "", "", fmt.Errorf("%q is no key of an entity of kind %s", text[len(kind)+1:], kind)
	}
	return kind, key, nil
}
