// Package format reads events in the formats that gateways write: Weir's own JSON,
// the logs of web servers, proxies and CDNs, and anything that a mapping or a
// pattern describes.
package format

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weirdev/weir/event"
)

// Format turns a gateway's record into an event. The values in the event alias the
// record or the Format itself, and are valid until the next Decode. One goroutine
// at a time uses a Format.
type Format interface {
	// Decode resets e and fills it. The error is a *[event.Refusal]; e is then
	// undefined.
	Decode(data []byte, e *event.Event) error

	// HasID reports whether the events have an id of their own. If not, [event.ID]
	// is left absent.
	HasID() bool
}

// New creates the format with that name. m is the mapping of format "mapping", and
// nil for all others. The error describes all errors in it.
func New(name string, m *Mapping) (Format, error) {
	return Config{Name: name, Mapping: m}.New()
}

// Config describes how the records of a stream are read.
type Config struct {
	Name    string   // one of [Names]
	Mapping *Mapping // of format "mapping", nil for all others
	Pattern string   // of format "pattern", "" for all others
}

// New creates the format. The error describes all errors.
func (c Config) New() (Format, error) {
	switch {
	case c.Mapping != nil && c.Name != "mapping":
		return nil, fmt.Errorf("format %s takes no mapping; format mapping does", c.Name)
	case c.Pattern != "" && c.Name != "pattern":
		return nil, fmt.Errorf("format %s takes no pattern; format pattern does", c.Name)
	}
	switch c.Name {
	case "weir":
		return &own{}, nil
	case "mapping":
		return newMapping(c.Mapping)
	case "pattern":
		return newPattern(c.Pattern)
	case "aws-alb": // written to files, with nothing around its lines
		return &balancer{}, nil
	}
	if lines := newLineFormat(c.Name); lines != nil {
		return &carried{Format: lines}, nil
	}
	if sources := presetSources(c.Name); sources != nil {
		return &carried{Format: newObjectFormat(sources), objects: true}, nil
	}
	return nil, fmt.Errorf("format %q is not known; there are %s", c.Name, strings.Join(Names(), ", "))
}

func newMapping(m *Mapping) (Format, error) {
	if m == nil {
		return nil, errors.New("format mapping: there is no mapping")
	}
	sources, err := m.compile()
	if err != nil {
		return nil, fmt.Errorf("mapping: %w", err)
	}
	return &carried{Format: newObjectFormat(sources), objects: true}, nil
}

func newPattern(text string) (Format, error) {
	if text == "" {
		return nil, errors.New("format pattern: there is no pattern")
	}
	p, err := compilePattern(text)
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	return &carried{Format: p}, nil
}

// own is Weir's own JSON.
type own struct{ Decoder }

func (*own) HasID() bool { return true }
