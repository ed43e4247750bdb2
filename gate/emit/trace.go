package emit

import (
	"strings"

	"github.com/weirdev/weir/internal/kafka"
)

// Trace is the W3C trace context of a request: the values of its headers
// traceparent and tracestate, as they came.
type Trace struct{ Parent, State string }

// maxState is the longest tracestate that is passed on; the standard asks for at
// least that.
const maxState = 512

// parentShape is a traceparent of version 00: hexadecimal digits where it has an x.
const parentShape = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx"

// ID returns the trace id, 32 hexadecimal digits; "" if the context is absent or
// invalid.
func (t Trace) ID() string {
	p := t.Parent
	if len(p) < len(parentShape) || p[:2] == "ff" || p[:2] == "00" && len(p) > len(parentShape) {
		return ""
	}
	for i := range len(parentShape) {
		if hex := strings.IndexByte("0123456789abcdef", p[i]) >= 0; hex != (parentShape[i] == 'x') || !hex && p[i] != '-' {
			return ""
		}
	}
	if len(p) > len(parentShape) && p[len(parentShape)] != '-' || strings.Trim(p[3:35], "0") == "" || strings.Trim(p[36:52], "0") == "" {
		return ""
	}
	return p[3:35]
}

// headers returns the context as headers of a record; nil if it is invalid.
func (t Trace) headers() []kafka.Header {
	if t.ID() == "" {
		return nil
	}
	all := []kafka.Header{{Key: "traceparent", Value: []byte(t.Parent[:len(parentShape)])}}
	if t.State != "" && len(t.State) <= maxState {
		all = append(all, kafka.Header{Key: "tracestate", Value: []byte(t.State)})
	}
	return all
}

// Sampled reports whether the context is valid and whoever began the trace keeps it.
func (t Trace) Sampled() bool {
	if len(t.Parent) < len(parentShape) || strings.IndexByte("13579bdf", t.Parent[54]) < 0 {
		return false
	}
	return t.ID() != ""
}
