package lookup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirdev/weir/internal/atomicfile"
	"github.com/weirdev/weir/score"
)

const (
	saveEvery = 10 * time.Second
	fileName  = "scores"
	fileStart = "weir scores 1"
	// mostSaved limits the file to about 25 MB.
	mostSaved = 65_536
)

// load reads the saved scores. They never count as fresh. Lines with a wrong code
// are skipped.
func (l *Lookup) load() error {
	if l.cfg.State == "" {
		return nil
	}
	if err := os.MkdirAll(l.cfg.State, 0o700); err != nil {
		return fmt.Errorf("gate.state: %w", err)
	}
	f, err := os.Open(filepath.Join(l.cfg.State, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("gate.state: %w", err)
	}
	defer f.Close()
	good, bad := l.read(f)
	if bad > 0 {
		l.log.Warn("some of what is in gate.state is no score of ours and is passed over", "scores", good, "passed_over", bad)
	}
	return nil
}

// read reads the lines of a file. Each holds a key and a score in the form that
// Redis stores.
func (l *Lookup) read(r io.Reader) (good, bad int) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), 2*score.MaxValueBytes)
	if !lines.Scan() || lines.Text() != fileStart {
		return 0, 1
	}
	for good+bad < 2*mostSaved && lines.Scan() {
		key, text, _ := strings.Cut(lines.Text(), " ")
		v, err := l.deps.Codec.Parse(key, text)
		if err != nil {
			bad++
			continue
		}
		l.cache.put(key, entry{value: v}, time.Time{})
		good++
	}
	if lines.Err() != nil {
		bad++
	}
	return good, bad
}

// keep saves the cache periodically, and when ctx ends.
func (l *Lookup) keep(ctx context.Context) {
	if l.cfg.State == "" {
		<-ctx.Done()
		return
	}
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			l.save()
		case <-ctx.Done():
			l.save()
			return
		}
	}
}

// save writes a new file if anything has changed, and replaces the old one when it
// is complete.
func (l *Lookup) save() {
	heard := l.heard.Load()
	if heard == l.saved.Load() {
		return
	}
	if err := atomicfile.Write(filepath.Join(l.cfg.State, fileName), l.write); err != nil {
		if l.metrics.failed() {
			l.log.Error("what is known cannot be written to gate.state; a restart without Redis would know what is there now", "error", err)
		}
		return
	}
	l.metrics.written()
	l.saved.Store(heard)
}

func (l *Lookup) write(w *bufio.Writer) error {
	fmt.Fprintln(w, fileStart)
	now := l.nowOr(time.Now()).UnixMilli()
	var room []byte
	l.cache.scores(mostSaved, now, func(key string, v score.Value) {
		text, err := l.deps.Codec.Append(append(append(room[:0], key...), ' '), v)
		if err != nil {
			return // cannot fail: it was parsed before
		}
		room = append(text, '\n')
		w.Write(room)
	})
	return nil
}
