package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Guard returns a context that ends when a program cannot be kept running, or when
// a partition has stopped, with that as its cause.
func (s *Stack) Guard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(guardEvery)
		defer tick.Stop()
		for {
			select {
			case err := <-s.Failed:
				cancel(err)
			case <-tick.C:
				if n, err := s.StoppedPartitions(ctx); err == nil && n > 0 {
					cancel(s.stoppedError(n))
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

const guardEvery = time.Second

// ErrStopped: a partition stopped rather than lose data.
var ErrStopped = errors.New("stopped rather than lose something")

func (s *Stack) stoppedError(n int) error {
	noun := "partition has"
	if n > 1 {
		noun = "partitions have"
	}
	return s.withLog(fmt.Errorf("%d %s %w", n, noun, ErrStopped), s.LogFile(s.Worker), 0)
}

// StoppedPartitions asks the worker how many of its partitions have stopped.
func (s *Stack) StoppedPartitions(ctx context.Context) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Config.Admin.Listen+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return countStopped(res.Body)
}

// countStopped adds up the partitions of both stages that have stopped.
func countStopped(metrics io.Reader) (n int, err error) {
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if name != "weir_ingest_stopped_partitions" && name != "weir_detect_stopped_partitions" {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		n += int(v)
	}
	return n, lines.Err()
}

// Explain adds the worker's recent complaints to an error.
func (s *Stack) Explain(err error) error { return s.withLog(err, s.LogFile(s.Worker), 0) }

// withLog adds to err the last lines of a program's log, from an offset on.
func (s *Stack) withLog(err error, file string, from int64) error {
	said := lastWords(file, from)
	where := "; its log is " + file
	if s.temporary {
		where = ""
	}
	if said == "" {
		return fmt.Errorf("%w%s", err, where)
	}
	return fmt.Errorf("%w%s; the log ends with\n%s", err, where, said)
}

const (
	lastLines = 25
	lastBytes = 16 << 10
)

// lastWords returns the end of a log, without routine messages; lines before the
// offset belong to former runs.
func lastWords(file string, from int64) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	b := make([]byte, min(size-from, lastBytes))
	if _, err := f.ReadAt(b, size-int64(len(b))); err != nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.Contains(line, " level=INFO ") || strings.Contains(line, " level=DEBUG ") {
			continue
		}
		lines = append(lines, "    "+line)
	}
	return strings.Join(lines[max(0, len(lines)-lastLines):], "\n")
}
