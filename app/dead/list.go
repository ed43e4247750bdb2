package dead

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weirdev/weir/internal/printable"
)

// shown is the number of bytes of a record in a list.
const shown = 60

// List writes the last n selected letters, one per line, and the number of letters
// by reason. If n is 0, it writes all.
func List(ctx context.Context, log Log, topic string, f Filter, n int, asJSON bool, out io.Writer) error {
	var last []Letter
	counts := map[string]int{}
	total := 0
	err := each(ctx, log, topic, f, func(l Letter) error {
		total++
		counts[l.Reason]++
		if last = append(last, l); n > 0 && len(last) > n {
			last[0] = Letter{} // so that its bytes can be freed
			last = last[1:]
		}
		return nil
	})
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(out, last)
	}
	if total > 0 {
		fmt.Fprintf(out, "%-10s  %-24s  %-17s  %-24s  %s\n", "POSITION", "RECEIVED", "REASON", "FROM", "BEGINNING")
	}
	for i := range last {
		l := &last[i]
		fmt.Fprintf(out, "%-10s  %-24s  %-17s  %-24s  %s\n", l.Position, stamp(l.Received), printable.Text(l.Reason), l.from(), beginning(l.Value))
	}
	fmt.Fprintln(out, summary(total, len(last), counts))
	return nil
}

func summary(total, listed int, counts map[string]int) string {
	if total == 0 {
		return "there are no dead letters of this kind"
	}
	parts := make([]string, 0, len(counts))
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", printable.Text(reason), counts[reason]))
	}
	text := fmt.Sprintf("%s: %s", plural(total, "dead letter"), strings.Join(parts, ", "))
	if listed < total {
		text += fmt.Sprintf("; the last %d are listed, -n 0 lists all", listed)
	}
	return text
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// from formats the position of the original record.
func (l *Letter) from() string {
	if l.Until > 0 {
		return fmt.Sprintf("%s to %d", l.Source, l.Until-1)
	}
	return l.Source.String()
}

func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }

func beginning(value []byte) string {
	if len(value) <= shown {
		return printable.Text(string(value))
	}
	return printable.Text(string(value[:shown])) + "…"
}

// jsonLetter is the JSON form of a letter. Value holds the record's bytes if they
// are text; otherwise value_base64 does.
type jsonLetter struct {
	Position    string  `json:"position"`
	ID          string  `json:"id"`
	Reason      string  `json:"reason"`
	Detail      string  `json:"detail"`
	Topic       string  `json:"topic"`
	Partition   int32   `json:"partition"`
	Offset      int64   `json:"offset"`
	Until       int64   `json:"until,omitempty"`
	Received    string  `json:"received"`
	Bytes       int64   `json:"bytes"`
	Cut         bool    `json:"cut,omitempty"`
	Key         *string `json:"key,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 string  `json:"value_base64,omitempty"`
}

func writeJSON(out io.Writer, letters []Letter) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	for i := range letters {
		l := &letters[i]
		j := jsonLetter{Position: l.Position.String(), ID: l.ID, Reason: l.Reason, Detail: l.Detail, Topic: l.Topic, Partition: l.Source.Partition,
			Offset: l.Source.Offset, Until: l.Until, Received: stamp(l.Received), Bytes: l.Bytes, Cut: l.Cut()}
		if l.KeyKnown {
			key := string(l.Key)
			j.Key = &key
		}
		if text := string(l.Value); utf8.ValidString(text) {
			j.Value = &text
		} else {
			j.ValueBase64 = base64.StdEncoding.EncodeToString(l.Value)
		}
		if err := e.Encode(j); err != nil {
			return err
		}
	}
	return nil
}

// ErrNone means that there is no letter at a position.
var ErrNone = errors.New("there is no dead letter there")

// Show writes a complete letter. With raw, it writes only the bytes of the record.
func Show(ctx context.Context, log Log, topic string, at Position, raw, asJSON bool, out io.Writer) error {
	var found []Letter
	err := each(ctx, log, topic, Filter{Positions: []Position{at}}, func(l Letter) error { found = append(found, l); return nil })
	switch {
	case err != nil:
		return err
	case len(found) == 0:
		return fmt.Errorf("%s of %s: %w; it may be gone with the topic's retention, or be a copy of one before it", at, topic, ErrNone)
	case asJSON:
		return writeJSON(out, found)
	case raw:
		_, err := out.Write(found[0].Value)
		return err
	}
	found[0].show(out)
	return nil
}

func (l *Letter) show(out io.Writer) {
	line := func(name, value string) { fmt.Fprintf(out, "%-9s %s\n", name, value) }
	line("position", l.Position.String())
	line("received", stamp(l.Received))
	line("reason", printable.Text(l.Reason))
	line("detail", printable.Text(l.Detail))
	line("from", printable.Text(l.Topic)+" "+l.from())
	switch {
	case !l.KeyKnown:
		line("key", "not known")
	case len(l.Key) == 0:
		line("key", "none")
	default:
		line("key", printable.Text(string(l.Key)))
	}
	size := plural(int(l.Bytes), "byte")
	if l.Cut() {
		size += fmt.Sprintf(", of which the first %d are here", len(l.Value))
	}
	line("record", size)
	for text := range strings.Lines(string(l.Value)) {
		fmt.Fprintln(out, "  "+printable.Text(strings.TrimRight(text, "\r\n")))
	}
}
