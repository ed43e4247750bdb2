package try

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/rules"
)

func trier(t *testing.T, change func(*ingest.Config)) *Trier {
	t.Helper()
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	cfg := ingest.Defaults()
	if change != nil {
		change(&cfg)
	}
	tr, err := New(cfg, geo.Nowhere{}, set)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestWhatIsShownOfARecord(t *testing.T) {
	combined := func(c *ingest.Config) { c.Format = "combined" }
	for _, c := range []struct {
		name   string
		change func(*ingest.Config)
		record string
		want   []string
		not    []string
	}{
		{"a sign-in that failed", nil, `{"id":"a","time":"2026-11-23T10:15:30Z","account":"u","ip":"203.0.113.9","method":"POST","path":"/v1/login","status":401,"auth":"failure"}`,
			[]string{"account u", "ip 203.0.113.9", "client    203.0.113.9 (the socket's peer)", "route     /v1/login",
				"credential-stuffing-ip (enforce, for ip 203.0.113.9)", "login-brute-force-account (soft, for account u)", "account_tried=true", "(no rule looks at it)"}, []string{"clipped"}},
		{"one that Weir refused", nil, `{"id":"a","time":"2026-11-23T10:15:30Z","account":"u","ip":"203.0.113.9","auth":"failure","decision":"d","decision_action":"deny"}`,
			[]string{"matches   none: Weir's own decision refused"}, []string{"credential-stuffing-ip"}},
		{"a chain of proxies that are trusted", func(c *ingest.Config) { c.TrustedProxies = []string{"10.0.0.0/8"} },
			`{"id":"a","time":"2026-11-23T10:15:30Z","ip":"10.0.0.9","forwarded_for":"10.0.0.2, 192.0.2.7"}`, []string{"client    192.0.2.7 (the socket's peer is 10.0.0.9, which is trusted to say so)"}, nil},
		{"one of proxies that are not", nil, `{"id":"a","time":"2026-11-23T10:15:30Z","ip":"10.0.0.9","forwarded_for":"192.0.2.7"}`, []string{"client    10.0.0.9 (the socket's peer)"}, nil},
		{"a route of the configuration", func(c *ingest.Config) { c.Routes = []string{"/shops/{shop}/orders"} },
			`{"id":"a","time":"2026-11-23T10:15:30Z","method":"GET","path":"/shops/berlin/orders?x=1"}`, []string{"route     /shops/{shop}/orders", "client    none: the event has no address"}, nil},
		{"something too long", nil, `{"id":"a","time":"2026-11-23T10:15:30Z","ip":"203.0.113.9","user_agent":"` + strings.Repeat("x", 2000) + `"}`,
			[]string{"clipped   something that the client wrote was shortened", "clipped=true"}, nil},
		{"a line of a log", combined, `192.0.2.7 - - [15/Sep/2026:16:13:46 +0000] "GET /users/42 HTTP/1.1" 200 8 "-" "x"`, []string{"route     /users/{id}", "ip 192.0.2.7", "object_type=users object=42", "matches   asks-like-a-clock-ip (soft, for ip 192.0.2.7), catalogue-copied-address (soft, for ip 192.0.2.7), ", "query-volume-ip (observe, for ip 192.0.2.7), ", "drift-errors-route (observe, for route /users/{id})"}, nil},
		{"a record that does not read, with the place", nil, `{"id":"a","time":"2026-11-23T10:15:30Z","status":"x"}`,
			[]string{"DEAD: wrong_type in status at byte 49", "    {\"id\":\"a\",\"time\":\"2026-11-23T10:15:30Z\",\"status\":\"x\"}\n" + strings.Repeat(" ", 4+49) + "^"}, []string{"entities"}},
		{"one that ends in the middle", nil, `{"id":"a`, []string{"DEAD: truncated", "ends in the middle"}, nil},
		{"trouble far behind the start", nil, `{"id":"a","gateway":"` + strings.Repeat("é", 100) + `","status":"x"}`, []string{"too_long in gateway at byte 222", "    …"}, nil},
		{"what would move a terminal", nil, "{\x1b[31m", []string{`{\x1b[31m`}, []string{"\x1b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := trier(t, c.change).Try([]byte(c.record))
			var out bytes.Buffer
			r.Write(&out)
			for _, w := range c.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%q is missing in\n%s", w, out.String())
				}
			}
			for _, w := range c.not {
				if strings.Contains(out.String(), w) {
					t.Errorf("%q is in\n%s", w, out.String())
				}
			}
			out.Reset()
			if err := r.WriteJSON(&out); err != nil || !json.Valid(out.Bytes()) || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
				t.Errorf("JSON %v\n%s", err, out.String())
			}
		})
	}
}

func TestTheSummary(t *testing.T) {
	tr, s := trier(t, nil), Summary{}
	for _, record := range []string{
		`{"id":"a","time":"2026-11-23T10:15:30Z","account":"u","ip":"203.0.113.9","path":"/login","auth":"failure"}`,
		`{"id":"b","time":"2026-11-23T10:15:30Z"}`, `{`, `{"id":"c"}`, `{"id":"d"}`,
	} {
		r := tr.Try([]byte(record))
		s.Add(&r)
	}
	var out bytes.Buffer
	s.Write(&out)
	want := "5 lines: 2 read, 3 dead (missing_field 2, truncated 1)\n" +
		"of those read: 1 without an address, 1 without a path, 1 without an account, 0 clipped\n" +
		"rules that would count them: credential-campaign-addresses-net 1, credential-campaign-net 1, " +
		"credential-campaign-sources-net 1, credential-stuffing-ip 1, credential-stuffing-slow-ip 1, drift-sign-ins-route 1, " +
		"first-seen-device-account 1, login-brute-force-account 1, login-failures-account 1, login-failures-ip 1, " +
		"login-failures-many-addresses-account 1, login-failures-sources-account 1, slow-sign-ins-account 1, " +
		"slow-sign-ins-address 1, slow-sign-ins-sources-account 1, step-up-avoided-account 1\n"
	if out.String() != want {
		t.Errorf("\n%s\nwant\n%s", out.String(), want)
	}
}

func TestWhereLinesComeFrom(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.log")
	if err := os.WriteFile(file, []byte("one\r\n\n two\nthree"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{file}, "one| two|three"},
		{[]string{"-"}, "typed"},
		{[]string{`{"id":"a"}`, file}, `{"id":"a"}|one| two|three`},
		{[]string{"a line of text"}, "a line of text"},
		{[]string{filepath.Join(dir, "missing.log")}, "error: stat"},
		{[]string{dir}, "error: " + dir + " is a directory"},
	} {
		var got []string
		err := Lines(c.args, strings.NewReader("typed\n"), func(line []byte) error { got = append(got, string(line)); return nil })
		text := strings.Join(got, "|")
		if err != nil {
			text = "error: " + err.Error()
		}
		if !strings.HasPrefix(text, c.want) || err == nil && text != c.want {
			t.Errorf("%v: %q, want %q", c.args, text, c.want)
		}
	}
}

func FuzzTry(f *testing.F) {
	f.Add([]byte(`{"id":"a","time":"2026-11-23T10:15:30Z","ip":"203.0.113.9"}`))
	f.Add([]byte("{\xff\x1b"))
	set, err := rules.Default(detectors.All())
	if err != nil {
		f.Fatal(err)
	}
	tr, err := New(ingest.Defaults(), geo.Nowhere{}, set)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		r := tr.Try(record)
		var out bytes.Buffer
		r.Write(&out)
		if strings.ContainsAny(out.String(), "\x1b\r\x00") {
			t.Errorf("%q moves the terminal", out.String())
		}
		out.Reset()
		if err := r.WriteJSON(&out); err != nil || !json.Valid(out.Bytes()) {
			t.Errorf("JSON %v: %s", err, out.String())
		}
	})
}
