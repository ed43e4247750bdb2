package format

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/weirdev/weir/event"
)

// Guess describes how well a format reads a sample of records.
type Guess struct {
	Format   string
	Lines    int // records of the sample, without blank ones and those that the format passes over
	Read     int // of Lines: become events
	Complete int // of Read: have address, time and path
	Values   int // that the events hold, all together
}

// Fits reports whether the format is worth proposing: at least half of the sample
// becomes events that state who asked for what, and when.
func (g Guess) Fits() bool { return g.Complete > 0 && 2*g.Complete >= g.Lines }

// Detect tries every format that needs no configuration on sample, ideally some
// hundred records, and returns a guess for each that reads any of them, the best
// first. A format is better if more of its events are complete, because a wrong
// format often reads JSON and finds little in it; then if it reads more records,
// and finds more fields. If no format reads anything, the result is empty.
func Detect(sample [][]byte) []Guess {
	var guesses []Guess
	for _, name := range Names() {
		f, err := New(name, nil)
		if err != nil { // asks for configuration
			continue
		}
		if g := guess(name, f, sample); g.Read > 0 {
			guesses = append(guesses, g)
		}
	}
	slices.SortStableFunc(guesses, func(a, b Guess) int {
		return cmp.Or(cmp.Compare(b.Complete, a.Complete), cmp.Compare(b.Read, a.Read), cmp.Compare(b.Values, a.Values))
	})
	return guesses
}

func guess(name string, f Format, sample [][]byte) Guess {
	g := Guess{Format: name}
	var e event.Event
	for _, record := range sample {
		if len(bytes.TrimSpace(record)) == 0 {
			continue
		}
		err := f.Decode(record, &e)
		var refusal *event.Refusal
		if errors.As(err, &refusal) && refusal.Reason == event.Filtered {
			continue
		}
		g.Lines++
		if err != nil {
			continue
		}
		g.Read++
		for f := event.None; f < event.MaxField; f++ {
			if e.Has(f) {
				g.Values++
			}
		}
		if e.Has(event.Time) && e.Has(event.IP) && e.Has(event.Path) {
			g.Complete++
		}
	}
	return g
}
