package gate

import (
	"context"
	"log/slog"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

// sent keeps the records that a gate writes.
type sent struct {
	mu      sync.Mutex
	records map[string][]kafka.Outgoing
}

func (s *sent) Partitions(context.Context, string) (int, error) { return 1, nil }

func (s *sent) Produce(_ context.Context, topic string, ps []kafka.Produce) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range ps {
		s.records[topic] = append(s.records[topic], p.Records...)
	}
	return nil
}

// emitting returns a gate that writes to s, and a function that ends the writing.
func emitting(t *testing.T, topics emit.Topics) (g *Gate, s *sent, end func()) {
	t.Helper()
	s = &sent{records: map[string][]kafka.Outgoing{}}
	e, err := emit.New(emit.Defaults(), topics, emit.Dependencies{Log: s, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	deps := dependencies(t, attack(), "")
	deps.Emitter, deps.Now = e, func() time.Time { return time.UnixMilli(0) }
	if g, err = New(Defaults(), deps); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return g, s, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

var both = emit.Topics{Decisions: "decisions", Events: "events"}

func TestADecisionAndItsEventAreWritten(t *testing.T) {
	g, s, end := emitting(t, both)
	r := httptest.NewRequest("POST", "/v1/decide", strings.NewReader(`{"tenant":"shop","route":"/login","request":{"method":"POST","request_id":"r-1","gateway":"gw-3"},
		"entities":{"account":"alice","ip":"203.0.113.9","build":"4.2|Pixel 9","asn":"64500"}}`))
	r.Header.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	g.Handler().ServeHTTP(httptest.NewRecorder(), r)
	res, answer := ask(t, g, "POST", "/v1/outcome", "application/json", `{"request_id":"r-1","status":403,"latency_us":812,"response_bytes":99,"auth":"failure"}`)
	if res.StatusCode != 202 || answer["joined"] != true {
		t.Errorf("the outcome: %d %v", res.StatusCode, answer)
	}
	if res, answer = ask(t, g, "POST", "/v1/outcome", "application/json", `{"request_id":"r-1","status":403}`); res.StatusCode != 202 || answer["joined"] != false {
		t.Errorf("the outcome again: %d %v", res.StatusCode, answer)
	}
	end()
	if len(s.records["decisions"]) != 1 || len(s.records["events"]) != 1 {
		t.Fatalf("written is %v", s.records)
	}
	d, err := decision.Parse(s.records["decisions"][0].Value)
	if err != nil {
		t.Fatal(err)
	}
	if d.Action != "deny" || d.Would != "deny" || d.Phase != "enforce" || d.Level != "critical" || d.Score != 90 || d.ObservedScore != 95 || d.Time != 0 || d.Tenant != "shop" ||
		d.Route != "/login" || d.RequestID != "r-1" || d.Gateway != "gw-3" || d.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || d.Policy != "default" || d.PolicyVersion == "" {
		t.Errorf("decision %+v", d)
	}
	if got := slices.Sorted(maps.Keys(d.Entities)); strings.Join(got, " ") != "account asn build ip net net16" || d.Entities["ip"] != "203.0.113.9" {
		t.Errorf("entities %v", d.Entities)
	}
	if len(d.Reasons) != 3 || d.Reasons[0] != (decision.Reason{Rule: "credential-stuffing-ip", Reason: "many_accounts", Category: "account_takeover", Weight: 90, Phase: "enforce", Entity: "ip"}) {
		t.Errorf("reasons %+v", d.Reasons)
	}
	const want = `{"id":"ID","time":"1970-01-01T00:00:00.000Z","gateway":"gw-3","tenant":"shop","account":"alice","request_id":"r-1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",` +
		`"method":"POST","route":"/login","ip":"203.0.113.9","device_model":"Pixel 9","app_version":"4.2","decision":"ID","status":403,"latency_us":812,"response_bytes":99,"auth":"failure","decision_action":"deny"}`
	if got := strings.ReplaceAll(string(s.records["events"][0].Value), d.ID, "ID"); got != want {
		t.Errorf("event\n%s, want\n%s", got, want)
	}
	if key := string(s.records["events"][0].Key); key != d.ID {
		t.Errorf("the event's key is %q", key)
	}
}

func TestOnlyWhatIsConfiguredIsWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		topics            emit.Topics
		decisions, events int
		status            int
	}{
		"decisions": {emit.Topics{Decisions: "decisions"}, 1, 0, 404},
		"events":    {emit.Topics{Events: "events"}, 0, 1, 202},
	} {
		t.Run(name, func(t *testing.T) {
			g, s, end := emitting(t, tc.topics)
			g.Decide(t.Context(), Request{Entities: []facet.Entity{attacker}})
			res, answer := ask(t, g, "POST", "/v1/outcome", "", `{"decision_id":"d-1"}`)
			end()
			if res.StatusCode != tc.status || len(s.records["decisions"]) != tc.decisions || len(s.records["events"]) != tc.events {
				t.Errorf("%d %v, written %v", res.StatusCode, answer, s.records)
			}
		})
	}
	g := newGate(t, attack(), nil)
	if res, answer := ask(t, g, "POST", "/v1/outcome", "", `{"decision_id":"d-1"}`); res.StatusCode != 404 || answer["type"] != "urn:weir:problem:events-off" {
		t.Errorf("a gate without Kafka: %d %v", res.StatusCode, answer)
	}
}

func TestOutcomesThatAreRefused(t *testing.T) {
	g, _, end := emitting(t, both)
	defer end()
	for body, detail := range map[string]string{
		`{}`:                                        "neither decision_id nor request_id",
		`{"status":200}`:                            "neither decision_id nor request_id",
		`{"decision_id":"a","path":"/"}`:            `"path": unknown member`,
		`{"decision_id":"a","time":1}`:              `"time": unknown member`,
		`{"decision_id":"a","Status":200}`:          `"Status": unknown member`,
		`{"decision_id":"a","status":200}x`:         "something follows",
		`{"decision_id":"a","decision_id":"b"}`:     "given twice",
		`{"decision_id":7}`:                         "not a text",
		`{"decision_id":"a","status":1000}`:         `"status": malformed JSON at byte`,
		`{"decision_id":"a","status":"200"}`:        `"status": malformed JSON at byte`,
		`{"decision_id":"a","auth":"perhaps"}`:      `"auth": malformed JSON at byte`,
		`{"decision_id":"a","decision_action":"x"}`: `"decision_action": malformed JSON at byte`,
		`[]`: "not an object",
	} {
		res, answer := ask(t, g, "POST", "/v1/outcome", "application/json", body)
		if said, _ := answer["detail"].(string); res.StatusCode != 400 || !strings.Contains(said, detail) {
			t.Errorf("%s: %d %v, want %q", body, res.StatusCode, answer, detail)
		}
	}
	if res, _ := ask(t, g, "GET", "/v1/outcome", "", ""); res.StatusCode != 405 {
		t.Errorf("GET: %d", res.StatusCode)
	}
	if res, _ := ask(t, g, "POST", "/v1/outcome", "text/plain", "{}"); res.StatusCode != 415 {
		t.Errorf("text: %d", res.StatusCode)
	}
}

func FuzzParseOutcome(f *testing.F) {
	for _, seed := range []string{
		`{"request_id":"r-1","status":403,"latency_us":812,"response_bytes":99,"auth":"failure","decision_action":"allow"}`, `{"decision_id":"\ud800"}`,
		"{\"request_id\":\"\xff\n\"}", `{"request_id":"` + strings.Repeat("r", 300) + `"}`, `{}`, `[`, `{"decision_id":"a","status":-0}`, `{"decision_id":"a","status":1e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := ParseOutcome(body)
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("an error that cannot be sent: %q", err)
			}
			return
		}
		if o.DecisionID == "" && o.RequestID == "" || len(o.RequestID) > 128 || o.Status < 0 || o.Status > 999 || o.ResponseBytes < 0 || o.LatencyMicros < 0 {
			t.Fatalf("%q gives %+v", body, o)
		}
	})
}

// FuzzEventOfAQuestion: ingest reads the event of every question, whatever the
// client wrote, and finds the same client in it.
func FuzzEventOfAQuestion(f *testing.F) {
	for _, seed := range []string{
		`{"tenant":"shop","route":"/login","request":{"request_id":"r-1","trace_id":"t","path":"/a?\u0000","status":200,"auth":"success"},"entities":{"account":"alice","ip":"203.0.113.9","asn":"64500"}}`,
		`{"request":{"request_id":"a b","user_agent":"\ud800","gateway":"g"},"entities":{"ip":"2001:db8:1:2:3::4","token":"t","key":"k","attestation":"x","country":"DE"}}`,
		`{"request":{"request_id":"\u00e4\n"},"entities":{"build":"4|\u0000","device":"\ud83d","net":"198.51.100.0/24","route":"/x"}}`,
		`{"request":{"method":"G\u0001ET","host":"` + strings.Repeat("h", 300) + `","rooted":true,"attestation_age_s":5}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := ParseRequest(body)
		if err != nil {
			return
		}
		e := eventOf(&req, &Decision{ID: "0e0b4b04-4c6f-4f39-9d59-0b2a5f6ad7f1"}, time.UnixMilli(1763892000123))
		line := e.AppendJSON(nil)
		var d format.Decoder
		var got event.Event
		if err := d.Decode(line, &got); err != nil {
			t.Fatalf("%v in the event\n%s\nof\n%s", err, line, body)
		}
		for _, entity := range req.Entities {
			if entity.Kind != facet.IP {
				continue
			}
			if key, _, ok := facet.KeyOf(facet.IP, got.Text(event.IP)); !ok || key != entity.Key {
				t.Fatalf("%s is %q in the event of\n%s", entity.Key, key, body)
			}
		}
	})
}

func TestARecordNamesTheLimitsThatWereHit(t *testing.T) {
	d := &Decision{Limits: []Limit{{ID: "login", Exceeded: true}, {ID: "page"}, {ID: "trial", Exceeded: true}}, LimitedBy: "login"}
	r := recordOf(&Request{Event: new(event.Event)}, d)
	if strings.Join(r.Limits, " ") != "login trial" || r.LimitedBy != "login" {
		t.Errorf("limits %v, by %s", r.Limits, r.LimitedBy)
	}
	d.Limits = slices.Repeat(d.Limits, decision.MaxLimits)
	if r = recordOf(&Request{Event: new(event.Event)}, d); len(r.Limits) != decision.MaxLimits {
		t.Errorf("%d limits are named", len(r.Limits))
	}
}
