package incoming

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
)

// Config says where the fields of a request are found.
type Config struct {
	Identify []string `yaml:"identify" doc:"where raw headers have the fields of a request, such as account=header:x-account-id; sources are header:NAME, cookie:NAME, claim:NAME (of a token that the gateway verified), bearer (a hash of the Authorization header's token) and const:TEXT; hash: before one of them takes the SHA-256 of it; of several sources of a field, the first with a value counts"`
}

// Defaults returns what holds for every API.
func Defaults() Config { return Config{Identify: []string{"token=bearer"}} }

// Validate reports all errors in c.
func (c Config) Validate() error {
	_, err := c.sources()
	return err
}

// source is one place where a field may be found.
type source struct {
	field event.Field
	from  func(*Request) string
	hash  bool
}

func (s *source) value(in *Request) string {
	v := s.from(in)
	if v != "" && s.hash {
		sum := sha256.Sum256([]byte(v))
		return hex.EncodeToString(sum[:])
	}
	return v
}

// taken lists fields that every gateway gives in its own way, or that a decision
// makes.
var taken = []event.Field{
	event.ID, event.Time, event.SchemaVersion, event.Decision, event.DecisionAction, event.Method, event.Path, event.IP, event.ForwardedFor,
	event.Status, event.LatencyMicros, event.ResponseBytes, event.Auth,
}

func (c Config) sources() (all []source, err error) {
	var errs []error
	for _, text := range c.Identify {
		s, err := parseSource(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("gate.identify: %q: %w", text, err))
		}
		all = append(all, s)
	}
	return all, errors.Join(errs...)
}

func parseSource(text string) (s source, err error) {
	name, from, ok := strings.Cut(text, "=")
	if !ok {
		return s, errors.New("write FIELD=SOURCE, such as account=header:x-account-id")
	}
	if s.field, err = format.Givable(name); err != nil {
		return s, err
	}
	if slices.Contains(taken, s.field) {
		return s, errors.New("every gateway has this field in a place of its own")
	}
	if rest, ok := strings.CutPrefix(from, "hash:"); ok {
		from, s.hash = rest, true
	}
	kind, arg, _ := strings.Cut(from, ":")
	if s.from, err = sourceOf(kind, arg); err != nil {
		return s, err
	}
	if kind == "bearer" {
		s.hash = true // a token is never kept
	}
	e := new(event.Event)
	if kind == "const" && !s.hash {
		if _, refused := format.Put(e, s.field, arg); refused != 0 {
			return s, fmt.Errorf("no event has such a %s: %s", name, refused)
		}
	}
	return s, nil
}

func sourceOf(kind, arg string) (func(*Request) string, error) {
	if (kind == "bearer") != (arg == "") {
		return nil, errors.New("sources are header:NAME, cookie:NAME, claim:NAME, const:TEXT and bearer")
	}
	switch kind {
	case "header":
		arg = textproto.CanonicalMIMEHeaderKey(arg)
		return func(in *Request) string { return one(in.Header[arg]) }, nil
	case "cookie":
		return func(in *Request) string { return cookie(in.Header["Cookie"], arg) }, nil
	case "claim":
		return func(in *Request) string { return in.Claims[arg] }, nil
	case "const":
		return func(*Request) string { return arg }, nil
	case "bearer":
		return func(in *Request) string { return bearer(one(in.Header["Authorization"])) }, nil
	}
	return nil, fmt.Errorf("there is no source %q: sources are header:NAME, cookie:NAME, claim:NAME, const:TEXT and bearer", kind)
}

// one returns the value of a header that is there once. Of several, nobody knows
// which one the upstream takes.
func one(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// cookie returns the value of a cookie that is there once.
func cookie(headers []string, name string) (found string) {
	n := 0
	for _, h := range headers {
		for part := range strings.SplitSeq(h, ";") {
			if k, v, ok := strings.Cut(strings.Trim(part, " \t"), "="); ok && k == name {
				found = strings.Trim(v, `"`)
				n++
			}
		}
	}
	if n != 1 {
		return ""
	}
	return found
}

// bearer returns the token of an Authorization header: Bearer (RFC 6750) or DPoP
// (RFC 9449).
func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "DPoP") {
		return ""
	}
	return strings.Trim(token, " \t")
}

// Names lists the headers that are read, so that gateways can be told to send them.
func (c Config) Names() (all []string) {
	all = []string{"authorization", "cookie", "referer", "traceparent", "user-agent", "x-forwarded-for", "x-request-id"}
	for _, text := range c.Identify {
		if _, name, ok := strings.Cut(text, "header:"); ok {
			all = append(all, strings.ToLower(http.CanonicalHeaderKey(name)))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
