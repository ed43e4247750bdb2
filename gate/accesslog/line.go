package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/emit"
)

var (
	errTooLong  = errors.New("the line is longer than 16 KiB")
	errNoObject = errors.New("the line holds no JSON object")
)

// line is what matters of a log's line. Gateways write more, which is passed over.
type line struct {
	Decision text   `json:"decision_id"`
	Status   number `json:"status"`
	Bytes    number `json:"response_bytes"`
	Auth     text   `json:"auth"`
	Micros   number `json:"latency_us"`
	Millis   number `json:"latency_ms"`
	Seconds  number `json:"latency_s"`
}

// text is a text. Of several members of one name, the last that is not empty counts:
// Caddy has no other way to say "this header, or that one". Anything else is unknown.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil && s != "" && s != "-" { // HAProxy's word for nothing
		*t = text(s)
	}
	return nil
}

// number is a number, or one in quotes, as some formats have to write it. Anything
// else counts as unknown, which is 0.
type number float64

func (n *number) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(bytes.Trim(b, `"`)), 64)
	if err != nil || math.IsNaN(f) || f < 0 {
		f = 0
	}
	*n = number(f)
	return nil
}

// Limits of what an event can have.
const (
	maxStatus = 999
	maxBytes  = 1 << 50
	maxMicros = 1 << 50
)

// upTo returns n as an integer; 0 (unknown) if it is more than most.
func (n number) upTo(most int64) int64 {
	if float64(n) > float64(most) {
		return 0
	}
	return int64(n)
}

// Parse reads a line of a gateway's log: one JSON object, with anything before it.
// Members are decision_id, status, response_bytes, one of latency_us, latency_ms and
// latency_s, and auth; all may be missing or empty. Without decision_id, the gateway had
// not asked.
func Parse(b []byte) (o emit.Outcome, err error) {
	start := bytes.IndexByte(b, '{')
	if start < 0 {
		return o, errNoObject
	}
	var l line
	if err := json.Unmarshal(bytes.TrimRight(b[start:], "\x00"), &l); err != nil {
		return o, err
	}
	o.DecisionID, _, _ = event.Keep(event.Decision, string(l.Decision))
	o.Status, o.ResponseBytes = l.Status.upTo(maxStatus), l.Bytes.upTo(maxBytes)
	o.LatencyMicros = (l.Micros + 1e3*l.Millis + 1e6*l.Seconds).upTo(maxMicros)
	o.Auth, _, _ = event.Keep(event.Auth, string(l.Auth))
	return o, nil
}
