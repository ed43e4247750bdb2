package ingest_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
)

// completed is what becomes of a record.
func completed(t *testing.T, cfg ingest.Config, record string) *event.Event {
	t.Helper()
	f, err := format.Config{Name: cfg.Format, Mapping: cfg.Mapping, Pattern: cfg.Pattern}.New()
	if err != nil {
		t.Fatal(err)
	}
	n, err := ingest.NewEnricher(cfg, geo.Nowhere{})
	if err != nil {
		t.Fatal(err)
	}
	var e event.Event
	if err := f.Decode([]byte(record), &e); err != nil {
		t.Fatal(err)
	}
	n.Complete(&e, 0, 1, nil)
	return &e
}

// Whoever sends "Authorization: Basic" to a server that asks nobody for it can have
// any name logged.
func TestALogsUserIsNoAccountUnlessTheServerVerifiesIt(t *testing.T) {
	const (
		refused  = `192.0.2.7 - ann [15/Sep/2026:16:13:46 +0000] "GET / HTTP/1.1" 401 8 "-" "x"`
		let      = `192.0.2.7 - ann [15/Sep/2026:16:13:46 +0000] "GET / HTTP/1.1" 200 8 "-" "x"`
		nobody   = `192.0.2.7 - - [15/Sep/2026:16:13:46 +0000] "GET / HTTP/1.1" 401 8 "-" "x"`
		fromJSON = `{"msec":"1789488826.0","remote_addr":"192.0.2.7","remote_user":"ann","account":"4711","status":"401"}`
	)
	for _, c := range []struct {
		name, setting, format, record string
		account, user                 string
		tried                         bool
	}{
		{"unverified", ingest.Unverified, "combined", let, "", "ann", false},
		{"unverified and refused", ingest.Unverified, "combined", refused, "", "ann", false},
		{"not said", "", "combined", let, "", "ann", false},
		{"verified", ingest.Verified, "combined", let, "ann", "ann", false},
		{"verified and refused", ingest.Verified, "combined", refused, "ann", "ann", true},
		{"verified, and none", ingest.Verified, "combined", nobody, "", "", false},
		{"the gateway knows better", ingest.Verified, "nginx", fromJSON, "4711", "ann", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := ingest.Defaults()
			cfg.RemoteUser, cfg.Format = c.setting, c.format
			e := completed(t, cfg, c.record)
			if e.Text(event.Account) != c.account || e.Text(event.RemoteUser) != c.user || e.Has(event.Tried) != c.tried {
				t.Errorf("%s", e.AppendAll(nil))
			}
		})
	}
}

func TestASignInThatDidNotSucceedOnlyTriedItsAccount(t *testing.T) {
	for _, c := range []struct {
		members string
		tried   bool
	}{
		{`"account":"ann","auth":"success"`, false},
		{`"account":"ann","auth":"failure"`, true},
		{`"account":"ann","auth":"challenge"`, true},
		{`"account":"ann"`, false},
		{`"account":"ann","status":401`, false},
		{`"auth":"failure"`, false},
	} {
		e := completed(t, ingest.Defaults(), `{"id":"1","time":1789488826000,`+c.members+`}`)
		if e.Has(event.Tried) != c.tried {
			t.Errorf("%s: %s", c.members, e.AppendAll(nil))
		}
	}
}

func TestWrongSettingsOfUserAndPatternAreSaid(t *testing.T) {
	for want, change := range map[string]func(*ingest.Config){
		`ingest.remote_user: "yes" is neither unverified nor verified`: func(c *ingest.Config) { c.RemoteUser = "yes" },
		"ingest.format: format weir takes no pattern":                  func(c *ingest.Config) { c.Pattern = "x" },
		"ingest.format: pattern: time: every event needs one":          func(c *ingest.Config) { c.Format, c.Pattern = "pattern", "x" },
		"ingest.format: format pattern: there is no pattern":           func(c *ingest.Config) { c.Format = "pattern" },
	} {
		cfg := ingest.Defaults()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// What a format's filter passes over is neither an event nor a dead letter, and the
// ledger balances.
func TestMessagesAmidAnAccessLogAreCountedAndLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.format = "caddy"
		w.send(`{"level":"info","ts":946684801.5,"logger":"tls","msg":"obtained"}`,
			`{"level":"info","ts":946684801.5,"logger":"http.log.access","request":{"remote_ip":"192.0.2.7","method":"GET","uri":"/"},"status":200}`,
			`{"level":"info","ts":946684801.5,"msg":"serving"}`, `garbage`)
		l, err := w.run(t, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if l.Fetched != 4 || l.Accepted != 1 || l.Control != 2 || l.Dead != 1 || l.Sum() != l.Fetched || len(w.dead) != 1 || len(w.stored) != 1 {
			t.Errorf("the ledger is %+v; %d dead letters, %d events", l, len(w.dead), len(w.stored))
		}
	})
}
