package envoy

import (
	"context"
	"net/http"
	"slices"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	httptype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/listen"
)

// authorization is the service that ext_authz asks.
type authorization struct {
	auth.UnimplementedAuthorizationServer
	deps *Dependencies
}

// Check decides on a request. Its errors leave the decision to Envoy's
// failure_mode_allow.
func (a *authorization) Check(ctx context.Context, check *auth.CheckRequest) (*auth.CheckResponse, error) {
	in, whole, ok := describe(check)
	if !ok {
		return nil, status.Error(codes.InvalidArgument, "attributes.request.http is missing: the gate decides on requests of HTTP")
	}
	req := a.deps.Reader.Read(&in)
	req.Missing = req.Missing || !whole
	d := a.deps.Decider.Decide(ctx, req)
	rendered := a.deps.Renderer.Render(&d)
	return respond(&d, &rendered, in.Header), nil
}

// respond makes a response of an answer. client are the headers of the request.
func respond(d *gate.Decision, a *answer.Answer, client http.Header) *auth.CheckResponse {
	r := &auth.CheckResponse{Status: &rpc.Status{Code: int32(code(a))}, DynamicMetadata: dynamicMetadata(d)}
	if a.Served {
		r.HttpResponse = &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{
			Headers: headers(a.Upstream), HeadersToRemove: spoofed(client, a.Upstream), ResponseHeadersToAdd: headers(a.Client),
		}}
		return r
	}
	r.HttpResponse = &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
		Status: &httptype.HttpStatus{Code: httptype.StatusCode(a.Status)}, Headers: headers(a.Client), Body: string(a.Body),
	}}
	return r
}

// code returns the code of gRPC for an answer. Envoy only asks whether it is OK.
func code(a *answer.Answer) codes.Code {
	switch {
	case a.Served:
		return codes.OK
	case a.Status == http.StatusUnauthorized:
		return codes.Unauthenticated
	case a.Status == http.StatusTooManyRequests:
		return codes.ResourceExhausted
	}
	return codes.PermissionDenied
}

// headers lists headers that replace those of the same name.
func headers(h http.Header) (all []*core.HeaderValueOption) {
	for name, values := range h {
		for _, v := range values {
			all = append(all, &core.HeaderValueOption{
				Header:       &core.HeaderValue{Key: strings.ToLower(name), Value: v},
				AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			})
		}
	}
	slices.SortFunc(all, func(a, b *core.HeaderValueOption) int { return strings.Compare(a.Header.Key, b.Header.Key) })
	return all
}

const ours = "x-weir-"

// spoofed lists the headers of the client that no upstream may see: all that look
// like ours, also to servers that take an underscore for a hyphen. Those in set are
// overwritten, and Envoy removes after that.
func spoofed(client, set http.Header) (all []string) {
	all = []string{strings.ToLower(listen.TokenHeader)}
	for name := range client {
		name = strings.ToLower(name)
		_, overwritten := set[http.CanonicalHeaderKey(name)]
		if strings.HasPrefix(strings.ReplaceAll(name, "_", "-"), ours) && !overwritten {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// dynamicMetadata describes a decision for access logs and later filters of Envoy,
// which find it as envoy.filters.http.ext_authz.
func dynamicMetadata(d *gate.Decision) *structpb.Struct {
	reasons := make([]*structpb.Value, len(d.Reasons))
	for i := range d.Reasons {
		r := &d.Reasons[i]
		reasons[i] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"rule": text(r.Rule), "reason": text(r.Reason), "category": text(r.Category), "phase": text(r.Phase.String()),
			"entity": text(r.Entity), "weight": number(r.Weight), "lowers": structpb.NewBoolValue(r.Lowers),
		}})
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		actionKey: text(d.Action.String()), "would": text(d.Would.String()), "score": number(d.Score), decisionKey: text(d.ID),
		"level": text(string(d.Level)), "policy": text(d.Policy), "policy_version": text(d.PolicyVersion), "mode": text(d.Mode.String()),
		"limited_by": text(d.LimitedBy), "degraded": structpb.NewBoolValue(d.Degraded), "reasons": structpb.NewListValue(&structpb.ListValue{Values: reasons}),
	}}
}

// Names of the action and of the decision's id in the dynamic metadata.
const (
	actionKey   = "action"
	decisionKey = "decision_id"
)

// text keeps a response whole if its text is not: protobuf refuses invalid UTF-8.
func text(s string) *structpb.Value { return structpb.NewStringValue(strings.ToValidUTF8(s, "\uFFFD")) }

func number(n int) *structpb.Value { return structpb.NewNumberValue(float64(n)) }
