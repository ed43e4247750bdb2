package haproxy

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/negasus/haproxy-spoe-go/action"
	"github.com/negasus/haproxy-spoe-go/message"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/incoming"
)

// Message is the name of the message that asks for a decision. Its arguments:
//
//	id             the id that HAProxy has made, such as unique-id
//	gateway        a name for HAProxy or its pool
//	method, host   of the request
//	path           with the query: pathq
//	src            the peer's address: src
//	headers        all headers: req.hdrs
//	header:NAME    one header; it replaces those of headers, even with nothing
//	claim:NAME     a claim of a token that HAProxy has verified
//	field:NAME     a field of events that HAProxy knows for certain
const Message = "decide"

// describe returns the request that HAProxy asks about, nil if it does not. An
// argument with an unknown name is left out and reported.
func describe(all *message.Messages) (in *incoming.Request, err error) {
	for _, m := range *all {
		if m.Name == Outcome {
			continue
		}
		if m.Name != Message {
			err = fmt.Errorf("there is no message %.64q; they are called %s and %s", m.Name, Message, Outcome)
			continue
		}
		in = &incoming.Request{Header: http.Header{}, Claims: map[string]string{}, Fields: map[string]string{}}
		listed := http.Header{}
		for _, arg := range m.KV.Data() {
			if !take(in, listed, arg.Name, arg.Value) {
				err = fmt.Errorf("there is no argument %.64q", arg.Name)
			}
		}
		for name, values := range listed {
			in.Header[name] = values
			if len(values) == 0 {
				delete(in.Header, name)
			}
		}
		return in, err
	}
	return nil, err
}

// take reads one argument. It reports whether it is known.
func take(in *incoming.Request, listed http.Header, name string, value any) bool {
	v, present := text(value)
	kind, key, hasKey := strings.Cut(name, ":")
	if hasKey && key == "" {
		return false
	}
	switch {
	case hasKey && kind == "header":
		key = http.CanonicalHeaderKey(key)
		if listed[key] = nil; present {
			listed[key] = []string{v}
		}
	case hasKey && kind == "claim":
		put(in.Claims, key, v)
	case hasKey && kind == "field":
		put(in.Fields, key, v)
	case name == "id":
		in.ID = v
	case name == "gateway":
		in.Gateway = v
	case name == "method":
		in.Method = v
	case name == "host":
		in.Host = v
	case name == "path":
		in.URI = v
	case name == "src":
		if in.Peer = v; !present { // HAProxy has no src on a Unix socket
			in.Peer = event.UnixPeer
		}
	case name == "headers":
		readHeaders(in.Header, v)
	default:
		return false
	}
	return true
}

func put(m map[string]string, key, v string) {
	if v != "" {
		m[key] = v
	}
}

// readHeaders reads what req.hdrs returns: lines that end with CR LF, the last one
// empty.
func readHeaders(into http.Header, text string) {
	for line := range strings.SplitSeq(text, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && name != "" {
			into.Add(name, strings.Trim(value, " \t"))
		}
	}
}

// text returns a value as text. present is false for NULL, which HAProxy sends for
// what a request does not have.
func text(value any) (s string, present bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	case net.IP:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case int32:
		return strconv.FormatInt(int64(v), 10), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case uint32:
		return strconv.FormatUint(uint64(v), 10), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	}
	return "", false
}

// variables returns the variables of a decision: action, score, decision_id and
// status; if the request is refused, also body and, where the answer has these
// headers, retry_after and www_authenticate.
func variables(a *answer.Answer) action.Actions {
	var all action.Actions
	set := func(name, value string) { all.SetVar(action.ScopeTransaction, name, value) }
	number := func(name, value string) {
		n, err := strconv.ParseInt(value, 10, 32)
		if err == nil && n >= 0 { // the library cannot encode negative numbers
			all.SetVar(action.ScopeTransaction, name, int32(n))
		}
	}
	set("action", a.Upstream.Get(answer.ActionHeader))
	number("score", a.Upstream.Get(answer.ScoreHeader))
	set("decision_id", a.Upstream.Get(answer.DecisionHeader))
	all.SetVar(action.ScopeTransaction, "status", int32(a.Status))
	if a.Served {
		return all
	}
	set("body", strings.TrimSuffix(string(a.Body), "\n"))
	if s := a.Client.Get("Retry-After"); s != "" {
		number("retry_after", s)
	}
	if s := a.Client.Get("WWW-Authenticate"); s != "" {
		set("www_authenticate", s)
	}
	return all
}
