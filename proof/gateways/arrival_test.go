package gateways

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/internal/sandbox"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/sink/clickhouse"
)

// TestEachRequestArrivesOnce sends requests through every gateway, beside gates that
// write their events and decisions: ClickHouse has one of both for each, with what
// the gateway knows.
func TestEachRequestArrivesOnce(t *testing.T) {
	testkit.ChDB(t)
	if testkit.Raced {
		t.Skip("gateways are other processes")
	}
	at := startSandbox(t)
	cfg := writing(t, at)
	cfg.Gate.Emit.Events, cfg.Gate.Emit.OutcomeWait = emit.On, 0 // nobody tells outcomes
	if err := app.Migrate(t.Context(), cfg, app.TopicDefaults(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	worker, err := app.NewWorker(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	run(t, worker.Run)
	var all arrivals
	w := newWorld(t, startGate(t, cfg))
	for i, g := range gateways() {
		t.Run(g.name, func(t *testing.T) {
			addr := g.start(t, w, w.startProxy(t, g.asks), false)
			awaitGateway(t, addr)
			all.sendOne(t, addr, i, false)
		})
	}
	pairs := newCertificates(t)
	for _, g := range withCertificates() {
		t.Run(plain(g.name)+" "+clientCerts, func(t *testing.T) { all.sendCertificates(t, cfg, pairs, g) })
	}
	cfg = writing(t, at)
	cfg.Gate.Emit.Events, cfg.Gate.Emit.OutcomeWait = emit.All, time.Minute // an event that came has its outcome
	cfg.Gate.LogListen = free(t)
	w = newWorld(t, startGate(t, cfg))
	w.with, w.log = []string{itsLog, outcomes}, cfg.Gate.LogListen
	var exact []string // paths of sign-ins through gateways that know more than whole milliseconds
	signIns := 0
	for i, g := range withOutcomes() { // they run on, as outcomes are told later
		addr := g.start(t, w, w.startProxy(t, g.asks), false)
		awaitGateway(t, addr)
		all.sendOne(t, addr, 100+i, g.tells)
		if g.asks == "grpc" {
			all.sendUnasked(t, addr)
		}
		if g.name != "Go" { // a service knows by itself
			signIns++
			all.sendSignIn(t, addr, fmt.Sprint(100+i))
			if g.name == "Caddy" || g.asks != "http" {
				exact = append(exact, signIn+fmt.Sprint(100+i))
			}
		}
	}
	conn, err := clickhouse.OpenToRead(cfg.ClickHouse)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var events, decisions map[string][]string
	defer func() {
		for _, a := range all {
			if events[a.id] == nil {
				t.Logf("no event of %s", &a)
			}
		}
	}()
	eventually(t, "not all of them arrived", func() bool {
		// The path stands for requests without a decision.
		events = rows(t, conn, `SELECT if(decision = '', path, decision),
			concat(method, ' ', path, ' from ', toString(client_ip), ': ', toString(decision_action), ' ', toString(status), ' ', toString(auth), ' ', device, ' ', ja4) FROM v_events`)
		decisions = rows(t, conn, `SELECT id, toString(action) FROM v_decisions`)
		return !slices.ContainsFunc(all, func(a arrival) bool { return events[a.id] == nil || a.action != "" && decisions[a.id] == nil })
	})
	for _, a := range all {
		if got := events[a.id]; len(got) != 1 || !a.is(got[0]) {
			t.Errorf("events %q, want one like %s", got, &a)
		}
		if got := decisions[a.id]; a.action != "" && !slices.Equal(got, []string{a.action}) {
			t.Errorf("decisions %q on %s", got, &a)
		}
	}
	for path, texts := range rows(t, conn, `SELECT path, 'has no latency' FROM v_events WHERE startsWith(path, '`+signIn+`') AND latency_us = 0`) {
		if slices.Contains(exact, path) {
			t.Errorf("%s: %q", path, texts)
		}
	}
	if want := (len(gateways())+len(withOutcomes()))*len(tokens()) + 2*len(withCertificates()) + signIns + 1; len(all) != want {
		t.Errorf("%d requests were sent, not %d", len(all), want)
	}
}

// writing returns the settings of a gate that writes to Kafka.
func writing(t *testing.T, at sandbox.Addresses) app.Config {
	t.Helper()
	cfg := configure(t, at.Redis)
	cfg.Kafka.Brokers, cfg.ClickHouse.Addrs = []string{at.Kafka}, []string{at.ClickHouse}
	return cfg
}

// withOutcomes lists the gateways that tell the gate what became of requests.
func withOutcomes() []gateway {
	return slices.DeleteFunc(gateways(), func(g gateway) bool { return !g.tells })
}

// withCertificates lists the gateways whose pages say how client certificates reach
// the gate: all but Go, which is a service's own code.
func withCertificates() []gateway {
	return slices.DeleteFunc(gateways(), func(g gateway) bool { return g.name == "Go" })
}

// plain is a name that may stand in a path within YAML.
func plain(name string) string { return strings.ReplaceAll(name, ",", "") }

// arrival is a request, and what its event is to have.
type arrival struct {
	id           string // of the decision; the path, if there is none
	method, path string
	action       string // "": the gate was not asked
	status       int    // 0: nobody tells it
	auth         string // how the API says that a sign-in ended; "": nobody tells it
	device       string
	ja4          string // how it begins
}

func (a *arrival) String() string {
	return fmt.Sprintf("%s %s from %s: %s %d %s %s %s", a.method, a.path, ordinary, a.action, a.status, a.auth, a.device, a.ja4)
}

func (a *arrival) is(event string) bool {
	return event == a.String() || a.ja4 != "" && strings.HasPrefix(event, a.String())
}

type arrivals []arrival

// tokens are named after what is done with them.
func tokens() []string { return []string{"allow", "tag", "throttle", "step_up", "challenge", "deny"} }

// sendOne sends a request for each action through a gateway. tells says whether it
// tells the gate what became of it.
func (all *arrivals) sendOne(t *testing.T, addr string, number int, tells bool) {
	t.Helper()
	c := newClient(t, ordinary, addr)
	for _, token := range tokens() {
		a := arrival{method: "POST", path: fmt.Sprintf("/arrives/%d?as=%s", number, token), action: token}
		got := c.decided(t, ask{token: token, method: a.method, path: a.path, body: "twelve bytes"})
		if tells {
			a.status = got.status
		}
		if got.api != nil {
			a.id = got.api.Header.Get(decisionHeader)
			*all = append(*all, a)
			continue
		}
		var problem struct{ Instance string }
		if err := json.Unmarshal([]byte(got.body), &problem); err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		a.id = strings.TrimPrefix(problem.Instance, "urn:uuid:")
		*all = append(*all, a)
	}
}

// sendSignIn sends a request of which the API says how a sign-in ended.
func (all *arrivals) sendSignIn(t *testing.T, addr, name string) {
	t.Helper()
	a := arrival{method: "POST", path: signIn + name, action: "allow", status: 200, auth: "failure"}
	got := newClient(t, ordinary, addr).decided(t, ask{method: a.method, path: a.path})
	a.id = got.apiHeader(t).Get(decisionHeader)
	*all = append(*all, a)
}

// sendUnasked sends a request on a route for which Envoy does not ask the gate.
func (all *arrivals) sendUnasked(t *testing.T, addr string) {
	t.Helper()
	const path = "/static/logo.svg"
	got := newClient(t, ordinary, addr).do(t, ask{path: path})
	if got.api == nil || !got.undecided() {
		t.Errorf("it was decided on: %s", got)
	}
	*all = append(*all, arrival{id: path, method: "GET", path: path, status: got.status})
}

// sendCertificates sends a request with a client's certificate through a gateway, and
// one that only claims to have it.
func (all *arrivals) sendCertificates(t *testing.T, cfg app.Config, with *certificates, g gateway) {
	t.Helper()
	cfg.Gate.Listen, cfg.Gate.EnvoyListen, cfg.Gate.HAProxyListen = free(t), free(t), free(t)
	cfg.Gate.Incoming.Identify = identify(t, g)
	w := newWorld(t, startGate(t, cfg))
	w.with = []string{clientCerts}
	w.certificates = with.files
	der := with.visitor.Pair.Certificate[0]
	whole, hash, short := base64.StdEncoding.EncodeToString(der), sha256.Sum256(der), sha1.Sum(der)
	device, ja4 := hex.EncodeToString(hash[:]), ""
	switch g.name {
	case "nginx, auth_request", "nginx, njs":
		device = hex.EncodeToString(short[:])
	case "Traefik", "Caddy":
		of := sha256.Sum256([]byte(whole))
		device = hex.EncodeToString(of[:])
	case "Envoy, gRPC", "Envoy, HTTP":
		ja4 = "t1" // TLS 1.2 or 1.3 over TCP
	}
	addr := g.start(t, w, w.startProxy(t, g.asks), false)
	trust := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: with.authority.Pool(), ServerName: "shop.example"}
	forged := http.Header{"X-Client-Cert": {device}, "X-Forwarded-Tls-Client-Cert": {whole}, "X-Ja4": {"forged"}}
	for i, certificates := range [][]tls.Certificate{{with.visitor.Pair}, nil} {
		c := newClient(t, ordinary, addr)
		c.tls = true
		of := trust.Clone()
		of.Certificates = certificates
		c.http.Transport.(*http.Transport).TLSClientConfig = of
		a := arrival{method: "GET", path: fmt.Sprintf("/certificates/%s/%d", strings.ToLower(strings.Fields(plain(g.name))[0]), i), action: "allow", device: device, ja4: ja4}
		if certificates == nil {
			a.device = ""
		}
		eventually(t, "the gateway passes no decision on", func() bool {
			got, err := c.send(t.Context(), ask{host: "shop.example", path: a.path + "?awaited", header: forged})
			return err == nil && got.api != nil && !got.undecided()
		})
		a.id = c.decided(t, ask{host: "shop.example", path: a.path, header: forged}).api.Header.Get(decisionHeader)
		*all = append(*all, a)
	}
}

// identify returns the sources that a gateway's page names for certificates.
func identify(t *testing.T, g gateway) []string {
	t.Helper()
	all := []string{"token=bearer"}
	if g.asks == "spoe" { // the message names the field
		return all
	}
	name, _, _ := strings.Cut(strings.ToLower(g.name), ",")
	page := testkit.ReadPage(t, "docs/gateways/"+name+".md").Text
	for _, source := range []string{"device=header:x-client-cert", "device=hash:header:x-client-cert", "device=hash:header:x-forwarded-tls-client-cert", "ja4=header:x-ja4"} {
		if strings.Contains(page, source) {
			all = append(all, source)
		}
	}
	return all
}

// certificates are those of a gateway and of a client.
type certificates struct {
	authority *testkit.Authority
	visitor   testkit.Identity
	files     *strings.Replacer // replaces the names of files in the pages
}

func newCertificates(t *testing.T) *certificates {
	t.Helper()
	c := &certificates{authority: testkit.NewAuthority(t)}
	server := c.authority.Identity("shop.example", nil)
	c.visitor = c.authority.Identity("visitor", nil)
	var both []byte
	for _, file := range []string{server.CertFile, server.KeyFile} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, b...)
	}
	dir := t.TempDir()
	write(t, dir, "both.pem", string(both))
	pairs := []string{"/etc/haproxy/server.pem", filepath.Join(dir, "both.pem"), "/etc/haproxy/clients.pem", c.authority.File}
	for _, dir := range []string{"/etc/nginx/", "/etc/envoy/", "/etc/caddy/", "/etc/traefik/"} {
		pairs = append(pairs, dir+"server.pem", server.CertFile, dir+"server.key", server.KeyFile, dir+"clients.pem", c.authority.File)
	}
	c.files = strings.NewReplacer(pairs...)
	return c
}

// rows reads pairs of texts, by the first one.
func rows(t *testing.T, conn driver.Conn, query string) map[string][]string {
	t.Helper()
	result, err := conn.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer result.Close()
	all := map[string][]string{}
	for result.Next() {
		var key, text string
		if err := result.Scan(&key, &text); err != nil {
			t.Fatal(err)
		}
		all[key] = append(all[key], text)
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func startSandbox(t *testing.T) sandbox.Addresses {
	t.Helper()
	s, err := sandbox.New(sandbox.Defaults(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Addresses()
}
