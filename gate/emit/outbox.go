package emit

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/retry"
)

// batchBytes is the most that is taken from an outbox at once.
const batchBytes = 1 << 20

// recordOverhead is roughly what a buffered record costs beside its bytes.
const recordOverhead = 256

// record is a record for Kafka. Records with the same place go to the same
// partition.
type record struct {
	kafka.Outgoing
	place uint32
	bytes int // charged to the outbox
}

func newRecord(key, place string, value []byte, headers []kafka.Header) record {
	h := fnv.New32a()
	_, _ = h.Write([]byte(place)) // never fails
	r := record{Outgoing: kafka.Outgoing{Key: []byte(key), Value: value, Headers: headers}, place: h.Sum32()}
	r.bytes = recordOverhead + len(key) + len(value)
	for _, h := range headers {
		r.bytes += len(h.Key) + len(h.Value)
	}
	return r
}

// outbox holds the records for one topic until Kafka has them. While Kafka is away
// it fills up; then new records are dropped.
type outbox struct {
	topic   string
	log     Log
	logger  *slog.Logger
	limit   int
	metrics boxMetrics

	mu      sync.Mutex
	queue   []record
	bytes   int // reserved: queued, on their way, or waiting elsewhere
	full    bool
	dropped int // since it is full
	closed  bool

	wake       chan struct{}
	partitions int // of the topic; 0: not known
}

func newOutbox(topic string, limit int, log Log, logger *slog.Logger, m boxMetrics) *outbox {
	return &outbox{topic: topic, log: log, logger: logger.With("topic", topic), limit: limit, metrics: m, wake: make(chan struct{}, 1)}
}

// reserve takes room for a record. If there is none, it counts the record as
// dropped.
func (o *outbox) reserve(bytes int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		o.metrics.shutdown.Inc()
		return false
	case o.bytes+bytes > o.limit:
		o.metrics.full.Inc()
		if o.dropped++; !o.full {
			o.full = true
			o.logger.Warn("records are dropped, because Kafka takes too few and the buffer is full", "buffer_bytes", o.limit)
		}
		return false
	}
	o.bytes += bytes
	o.metrics.bytes.Set(float64(o.bytes))
	return true
}

// release gives the room of a record back that is not written.
func (o *outbox) release(bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= bytes
	o.metrics.bytes.Set(float64(o.bytes))
}

// put queues a record, whose room is reserved.
func (o *outbox) put(r record) {
	o.mu.Lock()
	if o.closed {
		o.metrics.shutdown.Inc()
	} else {
		o.queue = append(o.queue, r)
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take removes the first records of the queue.
func (o *outbox) take() []record {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, bytes := 0, 0
	for n < len(o.queue) && bytes < batchBytes {
		bytes += o.queue[n].bytes
		n++
	}
	taken := o.queue[:n:n]
	if o.queue = o.queue[n:]; len(o.queue) == 0 {
		o.queue = nil
	}
	return taken
}

// run writes until ctx ends, then what is left until finish ends. The rest is
// dropped.
func (o *outbox) run(ctx, finish context.Context) {
	for {
		batch := o.take()
		switch {
		case len(batch) > 0 && !o.send(finish, batch):
			o.abandon(batch)
			return
		case len(batch) > 0:
			o.took(batch)
			continue
		case ctx.Err() != nil:
			if o.close() {
				return
			}
			continue
		}
		select {
		case <-o.wake:
		case <-ctx.Done():
		}
	}
}

// close refuses what comes from now on. It reports false if something is queued.
func (o *outbox) close() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = len(o.queue) == 0
	return o.closed
}

// took gives the room of a batch back.
func (o *outbox) took(batch []record) {
	bytes := 0
	for i := range batch {
		bytes += batch[i].bytes
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= bytes
	o.metrics.bytes.Set(float64(o.bytes))
	if o.full {
		o.logger.Warn("Kafka takes records again", "dropped", o.dropped)
		o.full, o.dropped = false, 0
	}
}

// abandon drops a batch and everything that is queued.
func (o *outbox) abandon(batch []record) {
	o.mu.Lock()
	n := len(batch) + len(o.queue)
	o.queue, o.closed = nil, true
	o.mu.Unlock()
	o.metrics.shutdown.Add(float64(n))
	o.logger.Error("records are dropped, because the gate ends and Kafka does not take them", "records", n)
}

// send writes a batch, however long Kafka is away. It reports false if finish ended
// first. A batch that is refused as too large is dropped.
func (o *outbox) send(finish context.Context, batch []record) bool {
	pauses, last := retry.Backoff{First: 100 * time.Millisecond, Most: 10 * time.Second}, ""
	for {
		err := o.produce(finish, batch)
		switch {
		case err == nil:
			o.metrics.written.Add(float64(len(batch)))
			return true
		case finish.Err() != nil:
			return false
		case errors.Is(err, kafka.ErrTooLarge):
			o.metrics.tooLarge.Add(float64(len(batch)))
			o.logger.Error("records are dropped, because they are larger than the topic takes", "records", len(batch), "error", err)
			return true
		}
		o.partitions = 0 // the topic may have been made anew
		if err.Error() != last {
			o.logger.Error("records cannot be written, trying on", "records", len(batch), "error", err)
			last = err.Error()
		}
		if !pauses.Wait(finish) {
			return false
		}
	}
}

func (o *outbox) produce(ctx context.Context, batch []record) (err error) {
	if o.partitions == 0 {
		if o.partitions, err = o.log.Partitions(ctx, o.topic); err != nil {
			return err
		}
	}
	byPartition := make([]kafka.Produce, o.partitions)
	for i := range batch {
		p := &byPartition[batch[i].place%uint32(o.partitions)]
		p.Records = append(p.Records, batch[i].Outgoing)
	}
	for i := range byPartition {
		byPartition[i].Partition = int32(i)
	}
	return o.log.Produce(ctx, o.topic, byPartition)
}
