package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strconv"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
)

// merged reads the lines of several logs in order of time, so that simultaneous
// events are close together. The order within a log is preserved. A line without a
// time counts with the line before it.
type merged struct {
	logs   []*head
	format format.Format // finds the time; nil: there is only one log, so no time is needed
	ids    names
	event  event.Event
}

// head is the next line of a log.
type head struct {
	lines
	line []byte // nil: the log has ended
	time int64  // Unix ms
}

// newMerged reads the first line of each log.
func newMerged(logs []series, format format.Format) (*merged, error) {
	m := &merged{}
	if len(logs) > 1 {
		m.format = format
	}
	for _, files := range logs {
		h := &head{lines: lines{files: files}}
		m.logs = append(m.logs, h)
		if err := m.advance(h); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

func (m *merged) advance(h *head) (err error) {
	line, err := h.next()
	if errors.Is(err, io.EOF) {
		h.line = nil
		return nil
	}
	if err != nil {
		return err
	}
	h.line = line
	if m.format != nil && m.format.Decode(line, &m.event) == nil && m.event.Has(event.Time) {
		h.time = max(h.time, m.event.Num(event.Time))
	}
	return nil
}

// each calls yield with the id and the text of each line.
func (m *merged) each(yield func(id string, line []byte) error) error {
	for {
		var first *head
		for _, h := range m.logs {
			if h.line != nil && (first == nil || h.time < first.time) {
				first = h
			}
		}
		if first == nil {
			return nil
		}
		if err := yield(m.ids.next(first.line), first.line); err != nil {
			return err
		}
		if err := m.advance(first); err != nil {
			return err
		}
	}
}

func (m *merged) close() error {
	var errs []error
	for _, h := range m.logs {
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}

// names gives each line an id that depends only on its text and on how often the
// same text came before. The id is therefore the same whichever file holds the
// line. Repetitions are recognised within the last million lines.
type names struct {
	recent, older map[[8]byte]int
}

const remembered = 1 << 20

func (n *names) next(line []byte) string {
	sum := sha256.Sum256(line)
	short := [8]byte(sum[:8])
	if n.recent == nil || len(n.recent) == remembered {
		n.recent, n.older = map[[8]byte]int{}, n.recent
	}
	seen, ok := n.recent[short]
	if !ok {
		seen = n.older[short]
	}
	n.recent[short] = seen + 1
	return hex.EncodeToString(short[:]) + "-" + strconv.Itoa(seen+1)
}

// content returns a digest of the content of logs, and the number of their lines.
// It does not depend on the division into files or on their compression.
func content(logs []series) (digest string, count int, err error) {
	h := sha256.New()
	for _, files := range logs {
		l := lines{files: files}
		for {
			line, err := l.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return "", 0, errors.Join(err, l.close())
			}
			count++
			_, _ = h.Write(line) // never fails
			_, _ = h.Write([]byte{'\n'})
		}
		_, _ = h.Write([]byte{0, '\n'})
	}
	return hex.EncodeToString(h.Sum(nil)), count, nil
}

// sample returns the first lines of every log, n in all.
func sample(logs []series, n int) (all [][]byte, err error) {
	for _, files := range logs {
		l := lines{files: files}
		for range max(1, n/len(logs)) {
			line, err := l.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, errors.Join(err, l.close())
			}
			all = append(all, bytes.Clone(line))
		}
		if err := l.close(); err != nil {
			return nil, err
		}
	}
	return all, nil
}
