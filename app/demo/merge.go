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

// merged is the lines of several logs in the order of their times, so that what
// happened at once stands together. Within a log the order stays. A line without a
// time counts as one with that before it.
type merged struct {
	logs   []*head
	format format.Format // finds the time; nil: there is one log, and none is needed
	ids    names
	event  event.Event
}

// head is the next line of a log.
type head struct {
	lines
	line []byte // nil: the log is at its end
	time int64  // Unix ms
}

// newMerged begins with the first line of each log.
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

// names gives each line an id that is a function of its text, and of how many of the
// same text there were before: so it is the same in whichever file the line stands.
// The same text counts as such within the last million lines.
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

// content names what logs hold, and counts their lines. Where a file ends, and
// whether it is packed, makes no difference.
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

// sample is the first lines of every log, n in all.
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
