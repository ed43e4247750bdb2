package demo

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/telemetry"
)

// sampleLines is the number of lines that are examined before anything starts.
const sampleLines = 300

// settleFormat detects the format of logs unless one is given. It refuses a given
// format that reads no line if another one does, because all lines would become
// dead letters.
func settleFormat(c *ingest.Config, given bool, lines [][]byte) (how string, err error) {
	if len(lines) == 0 {
		return "", &app.Misconfigured{Err: errors.New("-input: there is no line in it")}
	}
	best, found := fitting(lines)
	if !given {
		if !found {
			return "", &app.Misconfigured{Err: fmt.Errorf("no format reads the lines of -input; the first is\n    %s\n"+
				"-format names one of %s; docs/formats.md shows what they read, and how a mapping reads other JSON",
				excerpt(lines[0]), strings.Join(format.Names(), ", "))}
		}
		c.Format = best
		return best + ", which reads them best; -format names another", nil
	}
	format, err := c.NewFormat()
	if err != nil {
		return "", &app.Misconfigured{Err: fmt.Errorf("ingest.format: %w%s", err, adviseFormat(c.Format))}
	}
	if !found || best == c.Format {
		return c.Format, nil
	}
	if line, why := refusal(format, lines); why != nil {
		return "", &app.Misconfigured{Err: fmt.Errorf("format %s reads none of the first %d lines of -input; the first is\n    %s\n    %v\n"+
			"-format %s reads them; without -format it is found by itself", c.Format, len(lines), excerpt(line), why, best)}
	}
	return c.Format, nil
}

func adviseFormat(name string) string {
	switch {
	case name == "mapping":
		return "; write one under ingest.mapping in the file that -config names (docs/formats.md has an example)"
	case name == "pattern":
		return "; ingest.pattern is one, docs/formats.md has examples"
	case slices.Contains(format.Names(), name):
		return ""
	}
	return "; without -format it is found by itself"
}

// fitting returns the format that reads most lines, if it reads enough of them.
func fitting(lines [][]byte) (name string, ok bool) {
	guesses := format.Detect(lines)
	if len(guesses) == 0 || !guesses[0].Fits() {
		return "", false
	}
	return guesses[0].Format, true
}

// refusal returns the first line and why the format does not read it, if the format
// reads no line.
func refusal(f format.Format, lines [][]byte) (first []byte, why error) {
	var e event.Event
	for i := len(lines) - 1; i >= 0; i-- {
		err := f.Decode(lines[i], &e)
		if err == nil {
			return nil, nil
		}
		first, why = lines[i], errors.New(err.Error()) // the format reuses its own error
	}
	return first, why
}

const excerptBytes = 200

// excerpt returns the beginning of a line, made safe for a terminal.
func excerpt(line []byte) string {
	cut := ""
	if len(line) > excerptBytes {
		line, cut = line[:excerptBytes], "…"
	}
	return strings.ReplaceAll(telemetry.Clean(string(line)), "\n", "�") + cut
}
