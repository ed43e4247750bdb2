// Package switches holds the operators' manual settings: parts that are turned off,
// and entities that are blocked or released whatever their score. Gates synchronise
// them through Redis, and each keeps them on disk. The package makes no decisions.
package switches

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/secret"
)

// Scope is the subject of an object.
type Scope string

// The scopes. The first five are those of switches; the last is that of blocks and
// releases.
const (
	Global   Scope = "global"
	Detector Scope = "detector"
	Rule     Scope = "rule"
	Route    Scope = "route"
	Tenant   Scope = "tenant"
	Entity   Scope = "entity"
)

// Scopes lists the scopes of switches.
func Scopes() []Scope { return []Scope{Global, Detector, Rule, Route, Tenant} }

// Object is one version of a switch, block or release. Times are Unix milliseconds.
type Object struct {
	Scope  Scope  `json:"scope"`
	Tenant string `json:"tenant,omitempty"` // of an entity
	Kind   string `json:"kind,omitempty"`   // of an entity
	Name   string `json:"name,omitempty"`   // of the subject; for an entity, its key as ingest counts it
	Action string `json:"action,omitempty"` // of an entity: allow releases it, any other action blocks it

	Owner   string `json:"owner"`
	Reason  string `json:"reason"`
	Set     int64  `json:"set"`
	Expires int64  `json:"expires"`
	Cleared bool   `json:"cleared,omitempty"` // no longer in force
}

// Longest is the maximum duration of an object.
const Longest = 366 * 24 * time.Hour

const (
	maxText   = 1000 // bytes per text
	maxObject = 8 << 10
	codeLen   = 2 * sha256.Size
)

// ID identifies the object's subject. One version per id is in force.
func (o *Object) ID() string {
	switch o.Scope {
	case Entity: // a tenant may contain slashes, and clients choose names
		return "entity:" + o.Kind + ":" + url.PathEscape(o.Tenant) + "/" + o.Name
	case Global:
		return string(Global)
	}
	return string(o.Scope) + ":" + o.Name
}

// Entity returns the entity of a block or release.
func (o *Object) Entity() facet.Entity {
	kind, _ := facet.ParseKind(o.Kind)
	return facet.Entity{Kind: kind, Tenant: o.Tenant, Key: o.Name}
}

// Record returns the control record that tells the audit of the object. It is the same
// for everybody who tells of this version.
func (o *Object) Record(origin string) control.Record {
	text, _ := json.Marshal(o) // cannot fail for texts and numbers
	sum := sha256.Sum256(text)
	r := control.Record{
		ID: "s-" + hex.EncodeToString(sum[:20]), Action: control.GateOff, Time: o.Set, Tenant: o.Tenant, Kind: o.Kind, Key: o.Name, Who: o.Owner, Reason: o.Reason, Origin: origin,
	}
	switch {
	case o.Scope != Entity && o.Cleared:
		r.Action = control.GateOn
	case o.Scope != Entity:
	case o.Cleared:
		r.Action = control.GateClear
	case o.Action == policy.Allow.String():
		r.Action = control.GateRelease
	default:
		r.Action, r.Gate = control.GateBlock, o.Action
	}
	if o.Scope != Entity {
		r.Kind = string(o.Scope)
	}
	if !o.Cleared {
		r.Expires = o.Expires
	}
	return r
}

// Holds reports whether the object is in force.
func (o *Object) Holds(now int64) bool { return !o.Cleared && now < o.Expires }

// newer reports whether o replaces another version of the same object. Between two
// versions of the same millisecond, all gates choose the same one.
func (o *Object) newer(old *Object) bool {
	if o.Set != old.Set {
		return o.Set > old.Set
	}
	a, _ := json.Marshal(o) // cannot fail for texts and numbers
	b, _ := json.Marshal(old)
	return string(a) > string(b)
}

// Check returns an error if an object that is being set is invalid.
func (o *Object) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, text := range []struct{ name, value string }{{"owner", o.Owner}, {"reason", o.Reason}, {"name", o.Name}, {"tenant", o.Tenant}} {
		if !plain(text.value) {
			bad("%s: at most %d bytes of printable text are taken", text.name, maxText)
		}
	}
	if strings.TrimSpace(o.Owner) == "" {
		bad("owner: say who answers for it")
	}
	if strings.TrimSpace(o.Reason) == "" {
		bad("reason: say why")
	}
	if o.Set <= 0 || o.Expires <= o.Set || o.Expires-o.Set > Longest.Milliseconds() {
		bad("expires: it ends after it is set, within %d days", Longest/(24*time.Hour))
	}
	switch o.Scope {
	case Global:
		if o.Name != "" {
			bad("name: global has none")
		}
	case Detector, Rule, Route, Tenant:
		if o.Name == "" {
			bad("name: say which %s", o.Scope)
		}
	case Entity:
		if _, ok := facet.ParseKind(o.Kind); !ok || o.Name == "" {
			bad("kind, name: %q %q is no entity", o.Kind, o.Name)
		}
		if _, err := policy.ParseAction(o.Action); err != nil {
			errs = append(errs, err)
		}
	default:
		bad("scope: %q is none", o.Scope)
	}
	if o.Scope != Entity && (o.Kind != "" || o.Tenant != "" || o.Action != "") {
		bad("kind, tenant and action are those of entities")
	}
	return errors.Join(errs...)
}

func plain(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// Codec signs objects with a code that requires the stream's secret, and rejects
// all others.
type Codec struct{ key []byte }

// NewCodec returns the codec of a stream with the given secret.
func NewCodec(of []byte) Codec { return Codec{secret.Key(of, secret.Switches)} }

// Encode returns the stored form of an object: the lower-case hexadecimal
// HMAC-SHA-256 of the rest, a blank, and JSON.
func (c Codec) Encode(o *Object) string {
	text, _ := json.Marshal(o) // cannot fail for texts and numbers
	return c.code(text) + " " + string(text)
}

func (c Codec) code(text []byte) string {
	m := hmac.New(sha256.New, c.key)
	m.Write(text)
	return hex.EncodeToString(m.Sum(nil))
}

// ErrForged means that a text was not written by a gate or operator of the stream.
var ErrForged = errors.New("not an object of ours")

// Decode reads and verifies the stored form.
func (c Codec) Decode(text string) (o Object, err error) {
	if len(text) > maxObject || len(text) <= codeLen || text[codeLen] != ' ' {
		return o, ErrForged
	}
	code, body := text[:codeLen], []byte(text[codeLen+1:])
	if !hmac.Equal([]byte(code), []byte(c.code(body))) {
		return o, ErrForged
	}
	if err := json.Unmarshal(body, &o); err != nil {
		return o, fmt.Errorf("%w: %w", ErrForged, err)
	}
	return o, nil
}
