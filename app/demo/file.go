package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
)

// runFiles runs log files through the whole path, and ends after the last line.
//
// The name of the stream depends on the content of the files and on everything that
// affects the result. A second run on the same data therefore finds all results, an
// interrupted run continues where it stopped, and other rules or another format
// create another stream.
func (d *demo) runFiles(ctx context.Context) (v Verdict, err error) {
	logs, err := d.inputs()
	if err != nil {
		return v, err
	}
	first, err := sample(logs, sampleLines)
	if err != nil {
		return v, err
	}
	how, err := settleFormat(&d.opts.Settings.Ingest, d.opts.FormatGiven, first)
	if err != nil {
		return v, err
	}
	for _, files := range logs {
		d.say("reading %s", listed(files))
	}
	d.say("format %s", how)
	stream, count, err := d.history(logs)
	if err != nil {
		return v, err
	}
	topics := app.TopicDefaults()
	topics.EventPartitions = 1 // one partition, to keep the order of the lines
	topics.EventRetention = forever
	guarded, err := d.start(ctx, stream, topics, nil)
	if err != nil {
		return v, err
	}
	if err := d.look(map[string]string{"weir-worker": d.stack.Config.Admin.Listen}); err != nil {
		return v, err
	}
	interrupted, err := d.passThrough(guarded, logs, count)
	if err != nil {
		return v, err
	}
	return d.finishFiles(guarded, interrupted)
}

// forever is the longest retention that a topic can have.
const forever = 100 * 365 * 24 * time.Hour

// inputs returns the logs to read. Standard input is stored until the end of the
// run, because it is read several times.
func (d *demo) inputs() ([]series, error) {
	files := slices.Clone(d.opts.Inputs)
	for i, f := range files {
		if f != "-" {
			in, err := open(f)
			if err != nil {
				return nil, &app.Misconfigured{Err: err}
			}
			_ = in.Close() // nothing was written
			continue
		}
		path, err := spool(d.opts.Stdin, "")
		if err != nil {
			return nil, err
		}
		d.temporary = append(d.temporary, path)
		files[i] = path
	}
	return gather(files), nil
}

func listed(files series) string {
	if len(files) == 1 {
		return files[0]
	}
	return fmt.Sprintf("%d files, from %s to %s", len(files), files[0], files[len(files)-1])
}

// history names the stream of the logs, and counts their lines.
func (d *demo) history(logs []series) (stream app.StreamConfig, count int, err error) {
	digest, count, err := content(logs)
	if err != nil {
		return stream, 0, err
	}
	c := app.Defaults()
	c.Stream.Secret = "of no use: nothing is keyed with it"
	d.adjust(&c)
	reading, err := app.Fingerprint(c)
	if err != nil {
		return stream, 0, err
	}
	sum := sha256.Sum256([]byte(digest + " " + reading))
	return app.StreamConfig{Name: "history-" + hex.EncodeToString(sum[:4]), Incarnation: 1, History: true}, count, nil
}

// passThrough sends the missing lines, and waits until all are through.
func (d *demo) passThrough(ctx context.Context, logs []series, count int) (interrupted bool, err error) {
	ctx, p := d.newProgress(ctx, count)
	defer p.end()
	err = d.send(ctx, logs, p)
	if err == nil {
		err = d.stack.Settle(ctx, forever) // or until there is no progress
	}
	if ctx.Err() != nil {
		return true, reason(ctx)
	}
	return false, err
}

// finishFiles stops the programs and judges the run. Lines that were not read
// because the user did not wait are not a complaint.
func (d *demo) finishFiles(ctx context.Context, interrupted bool) (v Verdict, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	v = Verdict{Complaints: d.stopped(ctx), Interrupted: interrupted}
	d.stack.Stop()
	return d.summarise(ctx, v, nil, nil)
}

// stopped complains about stopped partitions. Their figures may balance, but no
// more records would pass through them.
func (d *demo) stopped(ctx context.Context) []string {
	n, err := d.stack.StoppedPartitions(ctx)
	switch {
	case err != nil:
		return []string{fmt.Sprintf("the worker does not say whether partitions have stopped: %v", err)}
	case n > 0:
		return []string{fmt.Sprintf("partitions that have stopped: %d; the worker's log says why: %s", n, d.stack.LogFile(d.stack.Worker))}
	}
	return nil
}

// headerLine holds the line number of a record, from 1.
const headerLine = "weir-line"

// send produces the lines that the topic lacks, and then the record that closes the
// stream.
func (d *demo) send(ctx context.Context, logs []series, p *progress) (err error) {
	done, closed, err := d.sentBefore(ctx)
	if err != nil {
		return err
	}
	p.sent(done)
	if closed {
		d.say("every line is there already, from an earlier run on this data")
		return nil
	}
	if done > 0 {
		d.say("%d lines are there already, from an earlier run on this data", done)
	}
	format, err := d.opts.Settings.Ingest.NewFormat()
	if err != nil {
		return err
	}
	m, err := newMerged(logs, format)
	if err != nil {
		return err
	}
	defer m.close()
	b := &batch{d: d}
	n := 0
	err = m.each(func(id string, line []byte) error {
		if n++; n <= done {
			return nil
		}
		if err := b.add(ctx, id, n, line); err != nil {
			return err
		}
		p.sent(n)
		return nil
	})
	if err != nil {
		return err
	}
	if err := b.flush(ctx); err != nil {
		return err
	}
	end := kafka.Outgoing{Key: []byte("end"), Headers: []kafka.Header{{Key: ingest.EndHeader, Value: []byte("1")}}}
	return d.produce(ctx, []kafka.Outgoing{end})
}

func (d *demo) produce(ctx context.Context, records []kafka.Outgoing) error {
	return d.stack.Kafka.Produce(ctx, d.stack.Config.Stream.Topic("events"), []kafka.Produce{{Records: records}})
}

// batch collects lines.
type batch struct {
	d       *demo
	records []kafka.Outgoing
	size    int
}

func (b *batch) add(ctx context.Context, id string, n int, line []byte) error {
	b.records = append(b.records, kafka.Outgoing{
		Key: []byte(id), Value: bytes.Clone(line), Headers: []kafka.Header{{Key: headerLine, Value: strconv.AppendInt(nil, int64(n), 10)}},
	})
	if b.size += len(line); len(b.records) == 1000 || b.size > 256<<10 {
		return b.flush(ctx)
	}
	return nil
}

func (b *batch) flush(ctx context.Context) error {
	if len(b.records) == 0 {
		return nil
	}
	err := b.d.produce(ctx, b.records)
	b.records, b.size = b.records[:0], 0
	return err
}

// sentBefore returns the last line that an earlier run sent, and whether it sent
// all.
func (d *demo) sentBefore(ctx context.Context) (line int, closed bool, err error) {
	topic := d.stack.Config.Stream.Topic("events")
	ends, err := d.stack.Kafka.Offsets(ctx, topic)
	if err != nil || ends[0].End == 0 {
		return 0, false, err
	}
	var b kafka.Batch
	if err := d.stack.Kafka.Fetch(ctx, topic, 0, ends[0].End-1, &b); err != nil {
		return 0, false, err
	}
	if len(b.Records) == 0 {
		return 0, false, fmt.Errorf("the last record of %s cannot be read", topic)
	}
	for _, h := range b.Records[0].Headers {
		switch h.Key {
		case ingest.EndHeader:
			return int(ends[0].End) - 1, true, nil
		case headerLine:
			if line, err = strconv.Atoi(string(h.Value)); err == nil {
				return line, false, nil
			}
		}
	}
	return 0, false, fmt.Errorf("%s holds a record with the key %q, which this command did not write; choose another -data", topic, b.Records[0].Key)
}
