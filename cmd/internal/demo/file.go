package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/weirdev/weir/cmd/internal/app"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/klog"
)

// runFile runs a file of log lines through the path, and ends when the last one
// is through.
//
// The stream is named after the file's content, and each line's key says which
// line it is: a second run on the same data finds everything there, and an
// interrupted one goes on where it stopped.
func (d *demo) runFile(ctx context.Context) (balanced bool, err error) {
	digest, lines, err := measure(d.opts.Input)
	if err != nil {
		return false, err
	}
	topics := app.TopicDefaults()
	topics.EventPartitions = 1 // a file has one order, and so has its topic
	stream := app.StreamConfig{Name: "history-" + digest, Incarnation: 1, History: true}
	if err := d.start(ctx, stream, topics); err != nil {
		return false, err
	}
	d.say("sending %d lines of %s as %s", lines, d.opts.Input, d.opts.Format)
	sent, err := d.send(ctx, digest)
	if err != nil {
		return false, err
	}
	if sent == 0 {
		d.say("every line is there already, from an earlier run on this data")
	}
	if err := d.stack.Settle(ctx, 10*time.Minute); err != nil {
		return false, err
	}
	d.stack.Stop()
	return d.summarise(ctx, nil, nil)
}

const longestLine = 1 << 20

// measure names a file's content, and counts its lines.
func measure(path string) (digest string, lines int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	err = eachLine(io.TeeReader(f, h), func(int, []byte) error { lines++; return nil })
	return hex.EncodeToString(h.Sum(nil))[:8], lines, err
}

// eachLine calls yield with the number, from 1, and the text of each line.
func eachLine(r io.Reader, yield func(n int, line []byte) error) error {
	in := bufio.NewReaderSize(r, longestLine)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("line %d is longer than %d bytes: is this a log?", n, longestLine)
		}
		if len(line) > 0 {
			if e := yield(n, bytes.TrimRight(line, "\r\n")); e != nil {
				return e
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// send produces the lines that are not in the topic yet, and then the record
// that closes the stream.
func (d *demo) send(ctx context.Context, digest string) (sent int, err error) {
	done, closed, err := d.sentBefore(ctx, digest)
	if err != nil || closed {
		return 0, err
	}
	f, err := os.Open(d.opts.Input)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var batch []klog.Outgoing
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := d.stack.Kafka.Produce(ctx, d.stack.Config.Stream.Topic("events"), []klog.Produce{{Records: batch}})
		sent += len(batch)
		batch, size = batch[:0], 0
		return err
	}
	err = eachLine(f, func(n int, line []byte) error {
		if n <= done {
			return nil
		}
		batch = append(batch, klog.Outgoing{Key: []byte(digest + ":" + strconv.Itoa(n)), Value: bytes.Clone(line)})
		if size += len(line); len(batch) == 1000 || size > 256<<10 {
			return flush()
		}
		return nil
	})
	if err != nil {
		return sent, err
	}
	if err := flush(); err != nil {
		return sent, err
	}
	end := klog.Outgoing{Key: []byte(digest + ":end"), Headers: []klog.Header{{Key: ingest.EndHeader, Value: []byte("1")}}}
	return sent, d.stack.Kafka.Produce(ctx, d.stack.Config.Stream.Topic("events"), []klog.Produce{{Records: []klog.Outgoing{end}}})
}

// sentBefore says which line an earlier run sent last, and whether it sent all.
func (d *demo) sentBefore(ctx context.Context, digest string) (line int, closed bool, err error) {
	topic := d.stack.Config.Stream.Topic("events")
	ends, err := d.stack.Kafka.Offsets(ctx, topic)
	if err != nil || ends[0].End == 0 {
		return 0, false, err
	}
	var b klog.Batch
	if err := d.stack.Kafka.Fetch(ctx, topic, 0, ends[0].End-1, &b); err != nil {
		return 0, false, err
	}
	if len(b.Records) == 0 {
		return 0, false, fmt.Errorf("the last record of %s cannot be read", topic)
	}
	name, found := strings.CutPrefix(string(b.Records[0].Key), digest+":")
	if name == "end" {
		return 0, true, nil
	}
	line, err = strconv.Atoi(name)
	if !found || err != nil {
		return 0, false, fmt.Errorf("%s holds a record with the key %q, which this command did not write", topic, b.Records[0].Key)
	}
	return line, false, nil
}
