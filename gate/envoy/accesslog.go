package envoy

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/incoming"
	"github.com/weirdev/weir/gate/policy"
)

// Outcomes takes what became of requests. Calls may overlap.
type Outcomes interface {
	// Logged takes the outcome of a request. read returns the request, for an event of
	// one that the gate was not asked about.
	Logged(o emit.Outcome, read func() gate.Request)
}

// accessLog is the service that Envoy streams its log to.
type accessLog struct {
	accesslog.UnimplementedAccessLogServiceServer
	outcomes Outcomes
	reader   *incoming.Reader
}

// StreamAccessLogs reads entries until Envoy ends the stream. It never answers, as
// Envoy does not listen.
func (a *accessLog) StreamAccessLogs(stream accesslog.AccessLogService_StreamAccessLogsServer) error {
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, entry := range batch.GetHttpLogs().GetLogEntry() {
			if o, ok := outcome(entry); ok {
				a.outcomes.Logged(o, func() gate.Request { return a.read(entry) })
			}
		}
	}
}

// read makes a request of an entry, as of a question. Of the client's headers an
// entry has some, and others that Envoy is told to log.
func (a *accessLog) read(entry *data.HTTPAccessLogEntry) gate.Request {
	common, r := entry.GetCommonProperties(), entry.GetRequest()
	in := incoming.Request{Method: method(r.GetRequestMethod()), Host: r.GetAuthority(), URI: cmp.Or(r.GetOriginalPath(), r.GetPath()), Header: make(http.Header, 8)}
	in.Peer = peer(cmp.Or(common.GetDownstreamDirectRemoteAddress(), common.GetDownstreamRemoteAddress()))
	for name, v := range r.GetRequestHeaders() {
		in.Header[textproto.CanonicalMIMEHeaderKey(name)] = []string{v}
	}
	for name, v := range map[string]string{"User-Agent": r.GetUserAgent(), "Referer": r.GetReferer(), "X-Forwarded-For": r.GetForwardedFor(), "X-Request-Id": r.GetRequestId()} {
		if delete(in.Header, name); v != "" {
			in.Header[name] = []string{v}
		}
	}
	req := a.reader.Read(&in)
	if t := common.GetStartTime(); t.CheckValid() == nil && t.AsTime().UnixMilli() > 0 {
		req.Event.SetNum(event.Time, t.AsTime().UnixMilli())
	}
	return req
}

// method returns the name of a method; "" if it is none of those that Envoy knows.
func method(m core.RequestMethod) string {
	if m == core.RequestMethod_METHOD_UNSPECIFIED {
		return ""
	}
	return m.String()
}

// What Envoy says of requests that ext_authz did not let pass, in
// response_code_details.
const (
	detailsDenied = "ext_authz_denied"
	detailsError  = "ext_authz_error"
)

// authHeader is a header of the response that tells how a sign-in ended, where Envoy
// logs it.
const authHeader = "x-weir-auth"

const authzFilter = "envoy.filters.http.ext_authz"

// outcome reads an entry. ok is false if it is none of a request's end, or does not
// say of which.
func outcome(entry *data.HTTPAccessLogEntry) (o emit.Outcome, ok bool) {
	common, response := entry.GetCommonProperties(), entry.GetResponse()
	switch common.GetAccessLogType() {
	case data.AccessLogType_NotSet, data.AccessLogType_DownstreamEnd:
	default:
		return o, false
	}
	if common.GetIntermediateLogEntry() { //nolint:staticcheck // it is all that older Envoys say
		return o, false
	}
	authz := common.GetMetadata().GetFilterMetadata()[authzFilter].GetFields()
	o.DecisionID, _, _ = event.Keep(event.Decision, decided(authz, decisionKey, answer.DecisionHeader))
	o.RequestID, _, _ = event.Keep(event.RequestID, entry.GetRequest().GetRequestId())
	if o.DecisionID == "" && o.RequestID == "" {
		return o, false
	}
	o.Status = within(uint64(response.GetResponseCode().GetValue()), 999)
	o.ResponseBytes = within(response.GetResponseBodyBytes(), maxBytes)
	o.LatencyMicros = micros(common)
	o.Auth, _, _ = event.Keep(event.Auth, response.GetResponseHeaders()[authHeader])
	o.Action = action(common, response, decided(authz, actionKey, answer.ActionHeader))
	return o, true
}

// decided returns what the filter's metadata say of a decision: over gRPC under a key,
// over HTTP under the name of a header of the answer.
func decided(authz map[string]*structpb.Value, key, header string) string {
	return cmp.Or(authz[key].GetStringValue(), authz[strings.ToLower(header)].GetStringValue())
}

// maxBytes is more than any response has.
const maxBytes = 1 << 50

// within returns n, or 0 (unknown) if it is more than most.
func within(n, most uint64) int64 {
	if n > most {
		return 0
	}
	return int64(n)
}

// micros returns how long a request took.
func micros(common *data.AccessLogCommon) int64 {
	d := common.GetTimeToLastDownstreamTxByte()
	if d == nil {
		d = common.GetDuration()
	}
	if d == nil || d.CheckValid() != nil {
		return 0
	}
	return max(0, int64(d.AsDuration()/time.Microsecond))
}

// action returns what Envoy did, if not what the gate decided; "" if it followed
// the decision. An answer that came too late is one that Envoy did not follow.
func action(common *data.AccessLogCommon, response *data.HTTPResponseProperties, decided string) string {
	switch details := response.GetResponseCodeDetails(); {
	case details == detailsError:
		return policy.Deny.String()
	case details == detailsDenied, common.GetResponseFlags().GetUnauthorizedDetails() != nil:
		return ""
	case decided == policy.Allow.String(), decided == policy.Tag.String():
		return ""
	}
	return policy.Allow.String()
}
