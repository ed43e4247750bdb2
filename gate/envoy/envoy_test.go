package envoy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/forwardauth"
	"github.com/weirdev/weir/gate/incoming"
	"github.com/weirdev/weir/gate/listen"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/rules"
)

const (
	decisionID = "0e0b4b04-4c6f-4f39-9d59-0b2a5f6ad7f1"
	secret     = "a shared token of the tests"
)

// decider decides what the account's name says, and remembers the last question.
type decider struct{ last atomic.Pointer[gate.Request] }

func (d *decider) Decide(_ context.Context, req gate.Request) gate.Decision {
	d.last.Store(&req)
	decision := gate.Decision{
		ID: decisionID, Score: 42, RetryAfter: 7, Policy: "default", PolicyVersion: "v1", Level: "low",
		Reasons: []gate.Reason{{Rule: "r", Reason: "too_many", Category: "fraud", Weight: 40, Phase: rules.Enforce, Entity: "account"}},
	}
	for _, e := range req.Entities {
		if e.Kind == facet.Account {
			if e.Key == "panic" {
				panic("an example")
			}
			if a, err := policy.ParseAction(e.Key); err == nil {
				decision.Action, decision.Would = a, a
			}
		}
	}
	return decision
}

// outcomes keeps what it is told.
type outcomes struct {
	mu    sync.Mutex
	all   []emit.Outcome
	last  gate.Request
	heard chan struct{}
}

func (o *outcomes) Logged(one emit.Outcome, read func() gate.Request) {
	o.mu.Lock()
	o.all, o.last = append(o.all, one), read()
	o.mu.Unlock()
	o.heard <- struct{}{}
}

func newReader(t testing.TB) *incoming.Reader {
	t.Helper()
	cfg := ingest.Defaults()
	cfg.Routes, cfg.TrustedProxies = []string{"/users/{id}"}, []string{"10.0.0.0/8"}
	reader, err := incoming.New(incoming.Config{Identify: []string{"account=claim:sub", "account=header:x-account", "session=cookie:sid", "token=bearer"}}, cfg, geo.Nowhere{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

func newRenderer(t testing.TB) *answer.Renderer {
	t.Helper()
	r, err := answer.New(answer.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// served is a server with a client.
type served struct {
	conn     *grpc.ClientConn
	decider  *decider
	outcomes *outcomes
	registry *prometheus.Registry
	stop     func() error
}

func serve(t *testing.T, cfg listen.Config, addr string, creds credentials.TransportCredentials) *served {
	t.Helper()
	access, err := listen.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := access.Open(t.Context(), addr, "h2")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{decider: &decider{}, outcomes: &outcomes{heard: make(chan struct{}, 100)}, registry: prometheus.NewRegistry()}
	server := New(Dependencies{
		Decider: s.decider, Reader: newReader(t), Renderer: newRenderer(t), Access: access, Outcomes: s.outcomes,
		Logger: slog.New(slog.DiscardHandler), Registerer: s.registry,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, l) }()
	s.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	target := addr
	if !strings.HasPrefix(addr, "unix:") {
		target = l.Addr().String()
	}
	s.conn, err = grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.conn.Close(); err != nil {
			t.Error(err)
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// onSocketAt serves on a Unix socket. Callers need the token.
func onSocketAt(t *testing.T, path string) *served {
	t.Helper()
	cfg := listen.Defaults()
	cfg.Token = secret
	return serve(t, cfg, "unix:"+path, insecure.NewCredentials())
}

// onSocket serves for a client with the token.
func onSocket(t *testing.T) (s *served, ctx context.Context) {
	t.Helper()
	s = onSocketAt(t, filepath.Join(t.TempDir(), "s"))
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "x-weir-token", secret), 20*time.Second)
	t.Cleanup(cancel)
	return s, ctx
}

func (s *served) check(ctx context.Context, req *auth.CheckRequest) (*auth.CheckResponse, error) {
	return auth.NewAuthorizationClient(s.conn).Check(ctx, req)
}

func address(ip string) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: ip}}}
}

// question is one about a request with these headers, in pairs.
func question(headers ...string) *auth.CheckRequest {
	h := &auth.AttributeContext_HttpRequest{Id: "17", Method: "GET", Host: "api.example", Path: "/users/17?x=1", Headers: map[string]string{":path": "/users/17?x=1"}}
	for i := 0; i < len(headers); i += 2 {
		h.Headers[headers[i]] = headers[i+1]
	}
	return &auth.CheckRequest{Attributes: &auth.AttributeContext{
		Source: &auth.AttributeContext_Peer{Address: address("10.0.0.1")}, Request: &auth.AttributeContext_Request{Http: h},
	}}
}

func actions() []policy.Action {
	return []policy.Action{policy.Allow, policy.Tag, policy.Throttle, policy.Challenge, policy.StepUp, policy.Deny}
}

func set(all []*core.HeaderValueOption) http.Header {
	h := http.Header{}
	for _, o := range all {
		if o.GetAppendAction() != core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			h.Add("Added", o.GetHeader().GetKey())
		}
		h.Add(o.GetHeader().GetKey(), o.GetHeader().GetValue())
	}
	return h
}

// TestEnvoyIsToldWhatGatewaysOverHTTPAre renders each action both ways.
func TestEnvoyIsToldWhatGatewaysOverHTTPAre(t *testing.T) {
	s, ctx := onSocket(t)
	overHTTP := forwardauth.Handler(s.decider, newReader(t), newRenderer(t))
	wantCode := map[policy.Action]codes.Code{
		policy.Throttle: codes.ResourceExhausted, policy.Challenge: codes.PermissionDenied, policy.StepUp: codes.Unauthenticated, policy.Deny: codes.PermissionDenied,
	}
	for _, action := range actions() {
		t.Run(action.String(), func(t *testing.T) {
			r := httptest.NewRequest("GET", forwardauth.Prefix+"envoy", nil)
			r.Header.Set("X-Account", action.String())
			want := httptest.NewRecorder()
			overHTTP.ServeHTTP(want, r)

			got, err := s.check(ctx, question("x-account", action.String()))
			if err != nil {
				t.Fatal(err)
			}
			if code := codes.Code(got.GetStatus().GetCode()); code != wantCode[action] {
				t.Errorf("code %v, want %v", code, wantCode[action])
			}
			if action <= policy.Tag {
				h := set(got.GetOkResponse().GetHeaders())
				h.Set("Cache-Control", "no-store") // for the gateway, not for the client
				if want.Code != 200 || !maps.EqualFunc(h, want.Header(), slices.Equal) || len(got.GetOkResponse().GetResponseHeadersToAdd()) != 0 {
					t.Errorf("%v\nwant %v", got, want.Header())
				}
				return
			}
			denied := got.GetDeniedResponse()
			if h := set(denied.GetHeaders()); int(denied.GetStatus().GetCode()) != want.Code || denied.GetBody() != want.Body.String() || !maps.EqualFunc(h, want.Header(), slices.Equal) {
				t.Errorf("%v\nwant %d %v %s", denied, want.Code, want.Header(), want.Body)
			}
		})
	}
}

func TestLogsOfEnvoyCanNameTheDecision(t *testing.T) {
	s, ctx := onSocket(t)
	for _, action := range actions() {
		got, err := s.check(ctx, question("x-account", action.String()))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"action": action.String(), "would": action.String(), "score": 42.0, "decision_id": decisionID, "level": "low", "policy": "default", "policy_version": "v1",
			"mode": rules.Phase(0).String(), "degraded": false, "limited_by": "",
		}
		told := got.GetDynamicMetadata().AsMap()
		reasons := told["reasons"].([]any)
		delete(told, "reasons")
		if !maps.Equal(told, want) || len(reasons) != 1 {
			t.Errorf("%s: %v\nwant %v", action, told, want)
			continue
		}
		if r := reasons[0].(map[string]any); !maps.Equal(r, map[string]any{
			"rule": "r", "reason": "too_many", "category": "fraud", "weight": 40.0, "phase": "enforce", "entity": "account", "lowers": false,
		}) {
			t.Errorf("%v", r)
		}
	}
}

// TestNoClientSpeaksForTheGate: what looks like a header of ours is overwritten or
// removed.
func TestNoClientSpeaksForTheGate(t *testing.T) {
	s, ctx := onSocket(t)
	got, err := s.check(ctx, question("x-weir-action", "allow", "x-weir-score", "0", "x-weir-status", "200", "x_weir_action", "allow", "X-Weir_Score", "0", "x-weir-token", "t", "x-other", "1"))
	if err != nil {
		t.Fatal(err)
	}
	ok := got.GetOkResponse()
	if want := []string{"x-weir-status", "x-weir-token", "x-weir_score", "x_weir_action"}; !slices.Equal(ok.GetHeadersToRemove(), want) {
		t.Errorf("removed are %q, want %q", ok.GetHeadersToRemove(), want)
	}
	// Envoy removes after it has set.
	for _, name := range answer.Upstream() {
		if h := set(ok.GetHeaders()); len(h[name]) != 1 || slices.Contains(ok.GetHeadersToRemove(), strings.ToLower(name)) {
			t.Errorf("%s: %v, removed %q", name, h[name], ok.GetHeadersToRemove())
		}
	}
}

func TestWhatIsMadeOfAQuestion(t *testing.T) {
	s, ctx := onSocket(t)
	q := question("x-account", "mallory", "cookie", "sid=s1", "x-forwarded-for", "203.0.113.9", "user-agent", "app/1", "x-request-id", "e-1")
	q.Attributes.ContextExtensions = map[string]string{"weir.tenant": "shop", "weir.gateway": "edge", "virtual_host": "local"}
	jwt, err := structpb.NewStruct(map[string]any{"payload": map[string]any{"sub": "alice"}})
	if err != nil {
		t.Fatal(err)
	}
	q.Attributes.MetadataContext = &core.Metadata{FilterMetadata: map[string]*structpb.Struct{jwtFilter: jwt}}
	if _, err := s.check(ctx, q); err != nil {
		t.Fatal(err)
	}
	req := s.decider.last.Load()
	for f, want := range map[event.Field]string{
		event.ID: "17", event.RequestID: "e-1", event.Method: "GET", event.Host: "api.example", event.Path: "/users/17?x=1", event.Route: "/users/{id}", event.IP: "10.0.0.1",
		event.ClientIP: "203.0.113.9", event.UserAgent: "app/1", event.Account: "alice", event.Session: "s1", event.Tenant: "shop", event.Gateway: "edge",
	} {
		if got := req.Event.Text(f); got != want {
			t.Errorf("%s is %q, want %q", f, got, want)
		}
	}
	if req.Missing || req.Shortened || req.Tenant != "shop" {
		t.Errorf("%+v", req)
	}
}

func TestWhatIsMissingFromAQuestion(t *testing.T) {
	s, ctx := onSocket(t)
	for _, tc := range []struct {
		name    string
		change  func(*auth.AttributeContext)
		missing bool
	}{
		{"nothing", func(*auth.AttributeContext) {}, false},
		{"an address", func(a *auth.AttributeContext) { a.Source = nil }, true},
		{"an address within the machine", func(a *auth.AttributeContext) {
			a.Source.Address = &core.Address{Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: "@"}}}
		}, false},
		{"a field that is not there", func(a *auth.AttributeContext) { a.ContextExtensions = map[string]string{"weir.tennant": "shop"} }, true},
		{"a tenant that no event can have", func(a *auth.AttributeContext) {
			a.ContextExtensions = map[string]string{"weir.tenant": strings.Repeat("x", 100)}
		}, true},
	} {
		q := question()
		tc.change(q.Attributes)
		if _, err := s.check(ctx, q); err != nil || s.decider.last.Load().Missing != tc.missing {
			t.Errorf("%s: missing %v, want %v (%v)", tc.name, s.decider.last.Load().Missing, tc.missing, err)
		}
	}
}

// TestRepeatedHeadersAreApart: with encode_raw_headers, of which one() says nothing.
func TestRepeatedHeadersAreApart(t *testing.T) {
	s, ctx := onSocket(t)
	q := question()
	q.Attributes.Request.Http.Headers, q.Attributes.Request.Http.HeaderMap = nil, &core.HeaderMap{Headers: []*core.HeaderValue{
		{Key: ":path", Value: "/"}, {Key: "x-account", RawValue: []byte("alice")}, {Key: "x-account", RawValue: []byte("bob")}, {Key: "cookie", Value: "sid=s1"},
		{Key: "x-forwarded-for", RawValue: []byte("203.0.113.9")}, {Key: "x-forwarded-for", RawValue: []byte("10.0.0.2")},
	}}
	if _, err := s.check(ctx, q); err != nil {
		t.Fatal(err)
	}
	e := s.decider.last.Load().Event
	if e.Text(event.Account) != "" || e.Text(event.Session) != "s1" || e.Text(event.ClientIP) != "203.0.113.9" {
		t.Errorf("account %q, session %q, client %q", e.Text(event.Account), e.Text(event.Session), e.Text(event.ClientIP))
	}
}

// TestFailuresAreErrors: so that Envoy's failure_mode_allow decides, and no client is
// refused for a fault of ours.
func TestFailuresAreErrors(t *testing.T) {
	s, ctx := onSocket(t)
	large := question("x-large", strings.Repeat("x", maxMessage))
	for _, tc := range []struct {
		name string
		req  *auth.CheckRequest
		want codes.Code
	}{
		{"a panic", question("x-account", "panic"), codes.Internal},
		{"no attributes", &auth.CheckRequest{}, codes.InvalidArgument},
		{"no request", &auth.CheckRequest{Attributes: &auth.AttributeContext{Source: &auth.AttributeContext_Peer{Address: address("10.0.0.1")}}}, codes.InvalidArgument},
		{"too large", large, codes.ResourceExhausted},
	} {
		if got, err := s.check(ctx, tc.req); status.Code(err) != tc.want || got != nil {
			t.Errorf("%s: %v, %v", tc.name, got, err)
		}
	}
	if _, err := s.check(ctx, question()); err != nil {
		t.Errorf("after that: %v", err)
	}
	if n := testutil.CollectAndCount(s.registry); n == 0 {
		t.Error("no failure is counted")
	}
}

func TestOnlyGatewaysWithTheTokenMayAsk(t *testing.T) {
	s, ctx := onSocket(t)
	for _, tokens := range [][]string{nil, {"wrong"}, {secret, secret}, {secret, "wrong"}} {
		stranger := metadata.NewOutgoingContext(ctx, metadata.MD{"x-weir-token": tokens})
		if got, err := s.check(stranger, question()); status.Code(err) != codes.Unauthenticated || got != nil {
			t.Errorf("%q: %v, %v", tokens, got, err)
		}
		stream, err := accesslog.NewAccessLogServiceClient(s.conn).StreamAccessLogs(stranger)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&accesslog.StreamAccessLogsResponse{}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%q: a log: %v", tokens, err)
		}
	}
	if s.decider.last.Load() != nil {
		t.Error("a stranger got a decision")
	}
}

func TestHealthIsToldToEverybody(t *testing.T) {
	s, _ := onSocket(t)
	for _, service := range []string{"", "envoy.service.auth.v3.Authorization"} {
		got, err := healthpb.NewHealthClient(s.conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", service, got, err)
		}
	}
}

// TestAServerStopsAlthoughLogsStream: Envoy never ends the stream of its log.
func TestAServerStopsAlthoughLogsStream(t *testing.T) {
	s, ctx := onSocket(t)
	stream, err := accesslog.NewAccessLogServiceClient(s.conn).StreamAccessLogs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := healthpb.NewHealthClient(s.conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatal(got, err)
	}
	start := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > drainTimeout {
		t.Errorf("it took %v", took)
	}
	if err := stream.RecvMsg(&accesslog.StreamAccessLogsResponse{}); status.Code(err) != codes.Unavailable {
		t.Errorf("the log: %v", err)
	}
}

// TestEnvoysWithACertificate: TLS with client certificates, as gate.access says.
func TestEnvoysWithACertificate(t *testing.T) {
	dir := t.TempDir()
	pair, pool := certificate(t, dir, "envoy.example")
	cfg := listen.Defaults()
	cfg.CertFile, cfg.KeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cfg.ClientCA, cfg.ClientNames = cfg.CertFile, []string{"envoy.example"}
	s := serve(t, cfg, "127.0.0.1:0", credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{pair}}))
	if _, err := s.check(t.Context(), question()); err != nil {
		t.Error(err)
	}
	conn, err := grpc.NewClient(s.conn.Target(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := auth.NewAuthorizationClient(conn).Check(t.Context(), question()); status.Code(err) != codes.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}
}

func certificate(t *testing.T, dir, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for file, text := range map[string][]byte{"cert.pem": certPEM, "key.pem": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pair, pool
}
