package envoy

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/emit"
)

// logged is an entry of a request's end, with what ext_authz has told of it.
func logged(id string, status uint32, told map[string]any) *data.HTTPAccessLogEntry {
	e := &data.HTTPAccessLogEntry{
		CommonProperties: &data.AccessLogCommon{AccessLogType: data.AccessLogType_DownstreamEnd, TimeToLastDownstreamTxByte: durationpb.New(1500 * time.Microsecond), Duration: durationpb.New(time.Second)},
		Request:          &data.HTTPRequestProperties{RequestId: id},
		Response:         &data.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(status), ResponseBodyBytes: 99},
	}
	if told != nil {
		s, err := structpb.NewStruct(told)
		if err != nil {
			panic(err)
		}
		e.CommonProperties.Metadata = &core.Metadata{FilterMetadata: map[string]*structpb.Struct{authzFilter: s}}
	}
	return e
}

func denied(e *data.HTTPAccessLogEntry, details string) *data.HTTPAccessLogEntry {
	e.Response.ResponseCodeDetails = details
	e.CommonProperties.ResponseFlags = &data.ResponseFlags{UnauthorizedDetails: &data.ResponseFlags_Unauthorized{Reason: data.ResponseFlags_Unauthorized_EXTERNAL_SERVICE}}
	return e
}

func TestOutcomes(t *testing.T) {
	changed := func(change func(*data.HTTPAccessLogEntry)) *data.HTTPAccessLogEntry {
		e := logged("e-1", 200, nil)
		change(e)
		return e
	}
	of := func(action string) map[string]any { return map[string]any{"decision_id": decisionID, "action": action} }
	usual := emit.Outcome{RequestID: "e-1", Status: 200, ResponseBytes: 99, LatencyMicros: 1500, Action: "allow"}
	with := func(change func(*emit.Outcome)) *emit.Outcome { o := usual; change(&o); return &o }
	for _, tc := range []struct {
		name  string
		entry *data.HTTPAccessLogEntry
		want  *emit.Outcome // nil: none
	}{
		{"a decision that Envoy followed", logged("e-1", 401, of("tag")), &emit.Outcome{DecisionID: decisionID, RequestID: "e-1", Status: 401, ResponseBytes: 99, LatencyMicros: 1500}},
		{"a decision over HTTP", logged("e-1", 200, map[string]any{"x-weir-decision-id": decisionID, "x-weir-action": "tag"}), &emit.Outcome{DecisionID: decisionID, RequestID: "e-1", Status: 200, ResponseBytes: 99, LatencyMicros: 1500}},
		{"a refusal over HTTP", denied(logged("e-1", 429, nil), detailsDenied), &emit.Outcome{RequestID: "e-1", Status: 429, ResponseBytes: 99, LatencyMicros: 1500}},
		{"a refusal", denied(logged("e-1", 429, of("throttle")), detailsDenied), &emit.Outcome{DecisionID: decisionID, RequestID: "e-1", Status: 429, ResponseBytes: 99, LatencyMicros: 1500}},
		{"a refusal that Envoy did not follow", logged("e-1", 200, of("deny")), with(func(o *emit.Outcome) { o.DecisionID = decisionID })},
		{"a decision that came too late", logged("e-1", 200, nil), &usual},
		{"one without which Envoy refuses", denied(logged("e-1", 403, nil), detailsError), with(func(o *emit.Outcome) { o.Status, o.Action = 403, "deny" })},
		{"an older Envoy", changed(func(e *data.HTTPAccessLogEntry) {
			e.CommonProperties.AccessLogType, e.CommonProperties.TimeToLastDownstreamTxByte = data.AccessLogType_NotSet, nil
		}), with(func(o *emit.Outcome) { o.LatencyMicros = 1_000_000 })},
		{"no response", changed(func(e *data.HTTPAccessLogEntry) { e.Response = nil }), with(func(o *emit.Outcome) { o.Status, o.ResponseBytes = 0, 0 })},
		{"numbers that are none", changed(func(e *data.HTTPAccessLogEntry) {
			e.Response.ResponseCode.Value, e.Response.ResponseBodyBytes = 1000, math.MaxUint64
			e.CommonProperties.TimeToLastDownstreamTxByte = &durationpb.Duration{Seconds: math.MaxInt64, Nanos: -1}
		}), with(func(o *emit.Outcome) { o.Status, o.ResponseBytes, o.LatencyMicros = 0, 0, 0 })},
		{"a negative time", changed(func(e *data.HTTPAccessLogEntry) {
			e.CommonProperties.TimeToLastDownstreamTxByte = durationpb.New(-time.Second)
		}), with(func(o *emit.Outcome) { o.LatencyMicros = 0 })},
		{"a decision's id that is none", logged("e-1", 200, map[string]any{"decision_id": strings.Repeat("x", 1000), "action": 7}), &usual},
		{"a sign-in that failed", changed(func(e *data.HTTPAccessLogEntry) {
			e.Response.ResponseHeaders = map[string]string{"x-weir-auth": "failure", "other": "x"}
		}), with(func(o *emit.Outcome) { o.Auth = "failure" })},
		{"a result that no sign-in has", changed(func(e *data.HTTPAccessLogEntry) {
			e.Response.ResponseHeaders = map[string]string{"x-weir-auth": "maybe"}
		}), &usual},
		{"a part of a long request", changed(func(e *data.HTTPAccessLogEntry) {
			e.CommonProperties.AccessLogType = data.AccessLogType_NotSet
			e.CommonProperties.IntermediateLogEntry = true //nolint:staticcheck // as older Envoys do
		}), nil},
		{"a period", changed(func(e *data.HTTPAccessLogEntry) {
			e.CommonProperties.AccessLogType = data.AccessLogType_DownstreamPeriodic
		}), nil},
		{"an attempt upstream", changed(func(e *data.HTTPAccessLogEntry) { e.CommonProperties.AccessLogType = data.AccessLogType_UpstreamEnd }), nil},
		{"no id", changed(func(e *data.HTTPAccessLogEntry) { e.Request = nil }), nil},
		{"nothing", &data.HTTPAccessLogEntry{}, nil},
	} {
		got, ok := outcome(tc.entry)
		if ok != (tc.want != nil) || ok && got != *tc.want {
			t.Errorf("%s: %+v, %v\nwant %+v", tc.name, got, ok, tc.want)
		}
	}
}

func TestLogsBecomeOutcomes(t *testing.T) {
	s, ctx := onSocket(t)
	stream, err := accesslog.NewAccessLogServiceClient(s.conn).StreamAccessLogs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	partial := logged("e-2", 200, nil)
	partial.CommonProperties.AccessLogType = data.AccessLogType_DownstreamPeriodic
	for _, m := range []*accesslog.StreamAccessLogsMessage{
		{Identifier: &accesslog.StreamAccessLogsMessage_Identifier{LogName: "weir"}, LogEntries: &accesslog.StreamAccessLogsMessage_HttpLogs{HttpLogs: &accesslog.StreamAccessLogsMessage_HTTPAccessLogEntries{
			LogEntry: []*data.HTTPAccessLogEntry{logged("e-1", 200, nil), partial, nil},
		}}},
		{LogEntries: &accesslog.StreamAccessLogsMessage_TcpLogs{}},
		{LogEntries: &accesslog.StreamAccessLogsMessage_HttpLogs{HttpLogs: &accesslog.StreamAccessLogsMessage_HTTPAccessLogEntries{
			LogEntry: []*data.HTTPAccessLogEntry{logged("e-3", 404, nil)},
		}}},
	} {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		select {
		case <-s.outcomes.heard:
		case <-ctx.Done():
			t.Fatal("an outcome is missing")
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	s.outcomes.mu.Lock()
	defer s.outcomes.mu.Unlock()
	ids := []string{}
	for _, o := range s.outcomes.all {
		ids = append(ids, o.RequestID)
	}
	if !slices.Equal(ids, []string{"e-1", "e-3"}) {
		t.Errorf("outcomes of %q", ids)
	}
}

// told is an entry with all that Envoy tells of a request.
func told() *data.HTTPAccessLogEntry {
	e := logged("e-1", 200, nil)
	at := func(ip string) *core.Address {
		return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: ip}}}
	}
	e.CommonProperties.StartTime = timestamppb.New(time.UnixMilli(1_764_000_000_123))
	e.CommonProperties.DownstreamRemoteAddress, e.CommonProperties.DownstreamDirectRemoteAddress = at("192.0.2.1"), at("10.0.0.1")
	e.Request = &data.HTTPRequestProperties{
		RequestMethod: core.RequestMethod_PUT, Authority: "api.example", Path: "/rewritten", OriginalPath: "/users/17?x=1", RequestId: "e-1",
		UserAgent: "curl", Referer: "https://a.example/", ForwardedFor: "203.0.113.9, 10.0.0.1",
		RequestHeaders: map[string]string{"x-account": "alice", "user-agent": "another", "x-forwarded-for": "198.51.100.1"},
	}
	return e
}

// TestARequestOfALogIsReadLikeAQuestion: the same client, the same entities.
func TestARequestOfALogIsReadLikeAQuestion(t *testing.T) {
	a := accessLog{reader: newReader(t)}
	e := a.read(told()).Event
	for f, want := range map[event.Field]string{
		event.Method: "PUT", event.Host: "api.example", event.Path: "/users/17?x=1", event.Route: "/users/{id}", event.RequestID: "e-1",
		event.ClientIP: "203.0.113.9", event.UserAgent: "curl", event.Account: "alice", event.Decision: "",
	} {
		if got := e.Text(f); got != want {
			t.Errorf("%s is %q, want %q", f, got, want)
		}
	}
	if got := e.Num(event.Time); got != 1_764_000_000_123 {
		t.Errorf("its time is %d", got)
	}
	bare := a.read(&data.HTTPAccessLogEntry{}).Event
	if bare.Num(event.Time) <= 0 || bare.Text(event.Method) != "" {
		t.Errorf("an empty entry is at %d, %q", bare.Num(event.Time), bare.Text(event.Method))
	}
}
