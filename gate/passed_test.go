package gate

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

var controlled = emit.Topics{Controls: "controls"}

// said returns the control records that were written, as ingest reads them.
func (s *sent) said(t *testing.T) (all []control.Record) {
	t.Helper()
	for _, r := range s.records["controls"] {
		c, err := control.Parse(r.Value)
		if err != nil {
			t.Fatalf("%v: %s", err, r.Value)
		}
		if string(r.Key) != c.ID {
			t.Errorf("the key of %s is %s", c.ID, r.Key)
		}
		all = append(all, c)
	}
	return all
}

// TestPassedChallengesAreControlRecords: one for each entity and category. Told twice,
// or at another gate, they have the same ids, so that they count once.
func TestPassedChallengesAreControlRecords(t *testing.T) {
	const human = `{"decision_id":"d-1","challenge":"challenge","tenant":"shop","gateway":"login","entities":{"device":"d-81","account":"","session":"s-1"}}`
	const owner = `{"decision_id":"d-1","challenge":"step_up","tenant":"shop","entities":{"device":"d-81"}}`
	var first []control.Record
	for range 2 {
		g, s, end := emitting(t, controlled)
		g.now = func() time.Time { return time.UnixMilli(1763892000123) }
		for body, want := range map[string]float64{human: 4, owner: 1} {
			if res, answer := ask(t, g, "POST", "/v1/passed", "application/json", body); res.StatusCode != 202 || answer["records"] != want {
				t.Errorf("%s: %d %v", body, res.StatusCode, answer)
			}
		}
		end()
		all, ids := s.said(t), map[string]string{}
		for _, c := range all {
			if c.Action != "challenge_passed" || c.Tenant != "shop" || c.Rule != "" || c.Expires != 0 || !strings.Contains(c.Reason, "decision d-1") {
				t.Errorf("%+v", c)
			}
			ids[c.ID] = c.Kind + " " + c.Key + " " + c.Category + " " + c.Who
		}
		has := map[string]bool{}
		for _, what := range ids {
			has[what] = true
		}
		for _, want := range []string{
			"session s-1 bot gate of login", "session s-1 scraping gate of login", "device d-81 bot gate of login", "device d-81 scraping gate of login", "device d-81 account_takeover gate",
		} {
			if !has[want] {
				t.Errorf("%q is not among %v", want, has)
			}
		}
		if len(ids) != 5 {
			t.Errorf("%d ids of %d records", len(ids), len(all))
		}
		for _, c := range first {
			if ids[c.ID] == "" {
				t.Errorf("another gate has no %s", c.ID)
			}
		}
		first = all
	}
}

func TestPassedChallengesThatAreRefused(t *testing.T) {
	g, _, end := emitting(t, controlled)
	defer end()
	const rest = `,"challenge":"challenge","entities":{"account":"alice"}}`
	for body, detail := range map[string]string{
		`{"challenge":"challenge","entities":{"account":"a"}}`:                        "no id of a decision",
		`{"decision_id":"` + strings.Repeat("d", 300) + `"` + rest:                    "no id of a decision",
		`{"decision_id":"d","entities":{"account":"a"}}`:                              `"challenge" is missing`,
		`{"decision_id":"d","challenge":"deny","entities":{"account":"a"}}`:           "neither challenge nor step_up",
		`{"decision_id":"d","challenge":"challenge"}`:                                 "name the account",
		`{"decision_id":"d","challenge":"challenge","entities":{"account":""}}`:       "name the account",
		`{"decision_id":"d","challenge":"challenge","entities":{"ip":"203.0.113.9"}}`: "several clients may share it",
		`{"decision_id":"d","challenge":"challenge","entities":{"tenant":"shop"}}`:    "several clients may share it",
		`{"decision_id":"d","challenge":"challenge","entities":{"planet":"mars"}}`:    "no kind of entity",
		`{"decision_id":"d","score":0` + rest:                                         "unknown member",
		`{"decision_id":"d","decision_id":"e"` + rest:                                 "given twice",
		`{"decision_id":"d","challenge":"challenge","entities":{"account":"a"}} {}`:   "something follows",
		`{"decision_id":"d","challenge":"challenge","entities":{"account":7}}`:        "not a text",
		`{"decision_id":"d","tenant":"` + strings.Repeat("t", 300) + `"` + rest:       "no event has such a tenant",
		`[]`: "not an object",
	} {
		res, answer := ask(t, g, "POST", "/v1/passed", "application/json", body)
		if said, _ := answer["detail"].(string); res.StatusCode != 400 || !strings.Contains(said, detail) {
			t.Errorf("%.80s: %d %v, want %q", body, res.StatusCode, answer, detail)
		}
	}
	for _, off := range []*Gate{newGate(t, attack(), nil), func() *Gate { g, _, end := emitting(t, both); end(); return g }()} {
		if res, answer := ask(t, off, "POST", "/v1/passed", "", `{}`); res.StatusCode != 404 || answer["type"] != "urn:weir:problem:controls-off" {
			t.Errorf("a gate that writes none: %d %v", res.StatusCode, answer)
		}
	}
}

// away is a Kafka that never answers.
type away struct{}

func (away) Partitions(ctx context.Context, _ string) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}
func (away) Produce(ctx context.Context, _ string, _ []kafka.Produce) error { return nil }

// TestPassedChallengesWithoutRoomMayBeToldAgain while Kafka is away.
func TestPassedChallengesWithoutRoomMayBeToldAgain(t *testing.T) {
	cfg := emit.Defaults()
	cfg.BufferBytes = 1 << 20
	e, err := emit.New(cfg, controlled, emit.Dependencies{Log: away{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	deps := dependencies(t, attack(), "")
	deps.Emitter = e
	g, err := New(Defaults(), deps)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		res, answer := ask(t, g, "POST", "/v1/passed", "", `{"decision_id":"d","challenge":"challenge","entities":{"account":"alice","device":"d"}}`)
		if res.StatusCode == 202 && n < 10_000 {
			continue
		}
		if n < 100 || res.StatusCode != 503 || answer["type"] != "urn:weir:problem:no-room" || res.Header.Get("Retry-After") == "" {
			t.Errorf("after %d: %d %v", n, res.StatusCode, answer)
		}
		return
	}
}

// FuzzParsePassed: what is understood is a control record that ingest reads.
func FuzzParsePassed(f *testing.F) {
	for _, seed := range []string{
		`{"decision_id":"d-1","challenge":"challenge","tenant":"shop","gateway":"login","entities":{"device":"d-81","session":"s-1"}}`,
		`{"decision_id":"\u0000","challenge":"step_up","entities":{"account":"\ud800"}}`, "{\"decision_id\":\"d\",\"challenge\":\"step_up\",\"gateway\":\"\xff\n\",\"entities\":{\"token\":\"\xff\"}}",
		`{"decision_id":"d","challenge":"step_up","entities":{"account":"` + strings.Repeat("a", 600) + `"}}`, `{}`, `[`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := ParsePassed(body)
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("an error that cannot be sent: %q", err)
			}
			return
		}
		for _, e := range p.Entities {
			c := p.record(e, "bot", 1)
			b, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if read, err := control.Parse(b); err != nil || read.Entity() != e || read.Facet().Action != facet.Passed {
				t.Fatalf("%q gives %+v: %v", body, c, err)
			}
		}
	})
}
