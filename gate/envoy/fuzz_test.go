package envoy

import (
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate"
)

func marshal(f *testing.F, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// FuzzQuestions: whatever clients send can be asked about and answered, and what is
// made of it is an event.
func FuzzQuestions(f *testing.F) {
	jwt, err := structpb.NewStruct(map[string]any{"p": map[string]any{"sub": "alice", "n": 1e300, "o": map[string]any{"a": []any{1}}}})
	if err != nil {
		f.Fatal(err)
	}
	q := question("x-account", "deny", "x-forwarded-for", "203.0.113.9, unknown", "cookie", "sid=1;sid=2", "x-request-id", "e-1", "x_weir_action", "allow")
	q.Attributes.MetadataContext = &core.Metadata{FilterMetadata: map[string]*structpb.Struct{jwtFilter: jwt}}
	q.Attributes.ContextExtensions = map[string]string{"weir.tenant": "shop", "weir.": "x", "weir.ip": "1.2.3.4"}
	f.Add(marshal(f, q))
	f.Add(marshal(f, &auth.CheckRequest{Attributes: &auth.AttributeContext{Request: &auth.AttributeContext_Request{Http: &auth.AttributeContext_HttpRequest{
		HeaderMap: &core.HeaderMap{Headers: []*core.HeaderValue{nil, {Key: "\x7f: "}, {Key: "x-weir-status", RawValue: []byte{0, 0xff}}}},
	}}}}))
	reader, renderer := newReader(f), newRenderer(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var q auth.CheckRequest
		if proto.Unmarshal(b, &q) != nil {
			return
		}
		in, _, ok := describe(&q)
		if !ok {
			return
		}
		req := reader.Read(&in)
		onlyWhatEventsHave(t, req.Event)
		for _, a := range actions() {
			d := gate.Decision{ID: decisionID, Action: a}
			rendered := renderer.Render(&d)
			r := respond(&d, &rendered, in.Header)
			if name := invalidHeader(r); name != "" {
				t.Errorf("%q is removed", name)
			}
		}
	})
}

func onlyWhatEventsHave(t *testing.T, e *event.Event) {
	t.Helper()
	for _, spec := range event.Fields() {
		if s := e.Text(spec.Field); spec.Kind == event.KindText && !spec.Derived && s != "" {
			if kept, _, refused := event.Keep(spec.Field, s); refused != 0 || kept != s {
				t.Errorf("%s is %q, which no event has", spec.Name, s)
			}
		}
	}
}

// invalidHeader returns a header that is to be removed, and is one of the gate's own.
func invalidHeader(r *auth.CheckResponse) string {
	for _, name := range r.GetOkResponse().GetHeadersToRemove() {
		if name == "x-weir-action" || name == "x-weir-score" || name == "x-weir-decision-id" {
			return name
		}
	}
	return ""
}

// FuzzLogEntries: an outcome can be part of an event, whatever the entry is.
func FuzzLogEntries(f *testing.F) {
	f.Add(marshal(f, denied(logged("e-1", 403, map[string]any{"decision_id": decisionID, "action": "deny"}), detailsDenied)))
	f.Add(marshal(f, logged("\x00", 1000, map[string]any{"decision_id": 7})))
	f.Add(marshal(f, told()))
	a := accessLog{reader: newReader(f)}
	f.Fuzz(func(t *testing.T, b []byte) {
		var entry data.HTTPAccessLogEntry
		if proto.Unmarshal(b, &entry) != nil {
			return
		}
		o, ok := outcome(&entry)
		if !ok {
			return
		}
		if o.Status < 0 || o.Status > 999 || o.ResponseBytes < 0 || o.LatencyMicros < 0 || o.DecisionID == "" && o.RequestID == "" {
			t.Errorf("%+v", o)
		}
		for f, s := range map[event.Field]string{event.Decision: o.DecisionID, event.RequestID: o.RequestID, event.DecisionAction: o.Action, event.Auth: o.Auth} {
			if kept, whole, refused := event.Keep(f, s); s != "" && (refused != 0 || !whole || kept != s) {
				t.Errorf("%s is %q, which no event has", f, s)
			}
		}
		onlyWhatEventsHave(t, a.read(&entry).Event)
	})
}
