package format

import (
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
)

// read decodes a line that must be read.
func read(t *testing.T, format, line string) *event.Event {
	t.Helper()
	var e event.Event
	if err := testFormat(t, format).Decode([]byte(line), &e); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return &e
}

// where is who asked, as far as a line says it: address, list, host and user.
func where(e *event.Event) string {
	s := e.Text(event.IP)
	for _, f := range []event.Field{event.ForwardedFor, event.Host, event.RemoteUser} {
		s += "|" + e.Text(f)
	}
	return s
}

const rest = ` [15/Sep/2026:16:13:46 +0000] "GET /en/ HTTP/1.1" 200 8 "-" "x"`

func TestWhatStandsBeforeTheTimeIsRead(t *testing.T) {
	for _, c := range []struct{ name, head, want string }{
		{"an address", `192.0.2.7 - -`, "192.0.2.7|||"},
		{"a user", `192.0.2.7 - ann`, "192.0.2.7|||ann"},
		{"an address with a port", `192.0.2.7:51234 - -`, "192.0.2.7|||"},
		{"IPv6 in brackets, with a port", `[2001:db8::7]:51234 - -`, "2001:db8::7|||"},
		{"IPv6 with a zone", `fe80::7%eth0 - -`, "fe80::7|||"},
		{"a socket", `unix: - -`, "unix:|||"},
		{"no ident and no user", `192.0.2.7`, "192.0.2.7|||"},
		{"no user", `192.0.2.7 -`, "192.0.2.7|||"},
		{"an ident", `192.0.2.7 root ann`, "192.0.2.7|||ann"},
		{"an empty user", `192.0.2.7 - ""`, "192.0.2.7|||"},
		{"a looked-up name instead of the address", `client.example.net - -`, "|||"},
		{"a looked-up name, and a user", `client - ann`, "|||ann"},

		{"a virtual host with its port", `shop.example.com:80 192.0.2.7 - -`, "192.0.2.7||shop.example.com|"},
		{"a virtual host that is an address with a port", `198.51.100.1:80 192.0.2.7 - -`, "192.0.2.7||198.51.100.1|"},
		{"a virtual host that is an address", `198.51.100.1 192.0.2.7 - -`, "192.0.2.7||198.51.100.1|"},
		{"a virtual host in IPv6", `[2001:db8::1]:443 192.0.2.7 - -`, "192.0.2.7||[2001:db8::1]|"},
		{"a virtual host without a port", `shop.example.com 192.0.2.7 - ann`, "192.0.2.7||shop.example.com|ann"},
		{"nginx' server without a name", `_ 192.0.2.7 - -`, "192.0.2.7|||"},
		{"a virtual host before a socket", `shop.example.com:80 unix: - -`, "unix:||shop.example.com|"},
		{"a virtual host before a looked-up name", `shop.example.com:80 client.example.net - -`, "||shop.example.com|"},
		{"a virtual host before a name without dots", `shop.example.com:80 localhost - ann`, "||shop.example.com|ann"},

		{"a list, the peer last", `10.0.0.2, 192.0.2.7, 10.0.0.9 - -`, "10.0.0.9|10.0.0.2, 192.0.2.7||"},
		{"a list without blanks", `10.0.0.2,192.0.2.7,10.0.0.9 - -`, "10.0.0.9|10.0.0.2,192.0.2.7||"},
		{"a list that ends in a comma", `10.0.0.2, 192.0.2.7, - -`, "192.0.2.7|10.0.0.2||"},
		{"a list of what is no address", `localhost, localhost - -`, "|localhost||"},
		{"a list with what is no address first", `unknown, 192.0.2.7, 10.0.0.9 - -`, "10.0.0.9|unknown, 192.0.2.7||"},
		{"a list, and the peer behind it", `2001:db8::7, 10.225.192.17 10.2.2.121 - -`, "10.2.2.121|2001:db8::7, 10.225.192.17||"},
		{"a list in quotes, and the peer behind it", `"10.5.102.222, 192.0.2.7" 10.2.1.185 - -`, "10.2.1.185|10.5.102.222, 192.0.2.7||"},
		{"no list in quotes", `"-" 10.2.1.185 - -`, "10.2.1.185|||"},
		{"no list", `- 10.2.1.185 - -`, "10.2.1.185|||"},
		{"a virtual host before a list", `shop.example.com 10.0.0.2, 192.0.2.7 - -`, "192.0.2.7|10.0.0.2|shop.example.com|"},
		{"a virtual host before a list and a peer", `shop.example.com:80 "10.0.0.2, 192.0.2.7" 10.2.1.185 - -`, "10.2.1.185|10.0.0.2, 192.0.2.7|shop.example.com|"},
		{"an address as virtual host before a list and a peer", `198.51.100.1 2001:db8::7, 10.225.192.17 10.2.2.121 - -`, "10.2.2.121|2001:db8::7, 10.225.192.17|198.51.100.1|"},

		{"ingress-nginx of old", `10.244.0.1 - [10.244.0.1] - -`, "10.244.0.1|||"},
		{"ingress-nginx of old, with a user", `10.244.0.1 - [10.244.0.1] - ann`, "10.244.0.1|||ann"},
		{"ingress-nginx of old, with a list, which a user can write as well", `10.244.0.1 - [192.0.2.7, 10.0.0.9] - -`, "10.244.0.1|||"},
		{"a user in brackets", `192.0.2.7 - [ann] - x`, "192.0.2.7|||[ann] - x"},
		{"lighttpd", `192.0.2.7 shop.example.com -`, "192.0.2.7||shop.example.com|"},
		{"lighttpd with a port", `192.0.2.7 shop.example.com:8080 -`, "192.0.2.7||shop.example.com|"},
		{"lighttpd, asked for an address", `192.0.2.7 203.0.113.9 -`, "192.0.2.7||203.0.113.9|"},
		{"lighttpd, asked for a list", `192.0.2.7 203.0.113.9,203.0.113.8 -`, "192.0.2.7|||"},
		{"lighttpd, asked for what looks like a tag", `192.0.2.7 x: -`, "192.0.2.7|||"},
		{"lighttpd with a user", `192.0.2.7 203.0.113.9 ann`, "192.0.2.7||203.0.113.9|ann"},
		{"another column", `192.0.2.7 - - shop.example.com`, "192.0.2.7|||"},

		{"syslog", `Sep 15 16:13:46 h nginx[1]: 192.0.2.7 - -`, "192.0.2.7|||"},
		{"syslog with its priority", `<190>Sep 15 16:13:46 h nginx: 192.0.2.7 - ann`, "192.0.2.7|||ann"},
		{"syslog, a day of one digit", `Sep  5 16:13:46 h nginx: 192.0.2.7 - -`, "192.0.2.7|||"},
		{"syslog without a host", `<190>Sep 15 16:13:46 nginx: 192.0.2.7 - -`, "192.0.2.7|||"},
		{"syslog without a tag", `Sep 15 16:13:46 h 192.0.2.7 - -`, "192.0.2.7|||"},
		{"syslog without host and tag", `Sep 15 16:13:46 192.0.2.7 - -`, "192.0.2.7|||"},
		{"syslog from a host that is an address", `Sep 15 16:13:46 10.0.0.5 nginx: 192.0.2.7 - -`, "192.0.2.7|||"},
		{"syslog before a virtual host", `Sep 15 16:13:46 h nginx[1]: shop.example.com:80 192.0.2.7 - -`, "192.0.2.7||shop.example.com|"},
		{"syslog before a list", `Sep 15 16:13:46 h nginx[1]: 10.0.0.2, 192.0.2.7 - -`, "192.0.2.7|10.0.0.2||"},
		{"syslog before a socket", `Sep 15 16:13:46 h nginx[1]: unix: - -`, "unix:|||"},
		{"syslog before IPv6", `Sep 15 16:13:46 h nginx[1]: 2001:db8:: - -`, "2001:db8::|||"},
		{"syslog as rsyslog writes it", `2026-09-15T16:13:46.123456+02:00 h nginx[1]: 192.0.2.7 - -`, "192.0.2.7|||"},
		{"syslog of RFC 5424", `<190>1 2026-09-15T16:13:46.003Z h nginx 123 - - 192.0.2.7 - -`, "192.0.2.7|||"},
		{"syslog of RFC 5424 without its priority", `1 2026-09-15T16:13:46.003Z h nginx - access - 192.0.2.7 - -`, "192.0.2.7|||"},
		{"syslog of RFC 5424 with data", `<190>1 2026-09-15T16:13:46Z h nginx 1 - [a@1 x="]\"] \\"][b] ` + "\ufeff" + `192.0.2.7 - -`, "192.0.2.7|||"},
		{"a host and a tag", `web.0 nginx: 192.0.2.7 - -`, "192.0.2.7|||"},
		{"a tag alone", `nginx[12]: 192.0.2.7 - -`, "192.0.2.7|||"},
		{"a container", `2026-09-15T16:13:46.123456789Z stdout F 192.0.2.7 - -`, "192.0.2.7|||"},
		{"a container, the first part of a line", `2026-09-15T16:13:46.123456789+02:00 stderr P 192.0.2.7 - -`, "192.0.2.7|||"},
		{"docker logs with times", `2026-09-15T16:13:46.123456789Z 192.0.2.7 - -`, "192.0.2.7|||"},
		{"docker logs with times, before a virtual host", `2026-09-15T16:13:46.123456789Z shop.example.com 192.0.2.7 - -`, "192.0.2.7||shop.example.com|"},
		{"docker compose", `web-1  | 192.0.2.7 - -`, "192.0.2.7|||"},
		{"kubectl logs with prefixes", `[pod/web-0/nginx] 192.0.2.7 - -`, "192.0.2.7|||"},
		{"kubectl logs with prefixes and times", `[pod/web-0/nginx] 2026-09-15T16:13:46.1Z 192.0.2.7 - -`, "192.0.2.7|||"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := read(t, "combined", c.head+rest)
			if got := where(e); got != c.want {
				t.Errorf("%s: got %s, want %s", c.head, got, c.want)
			}
			if e.Has(event.Account) || e.Num(event.Time) != 1789488826000 || e.Text(event.Path) != "/en/" || e.Num(event.Status) != 200 || e.Text(event.UserAgent) != "x" {
				t.Errorf("%s: %s", c.head, e.AppendAll(nil))
			}
		})
	}
}

// What fits nothing is refused: a guess would have one client's requests count
// against another.
func TestWhatCannotBeToldIsRefused(t *testing.T) {
	for _, head := range []string{
		``, `-`, `- -`, `shop.example.com`, `shop.example.com - 192.0.2.7`, `shop.example.com - 192.0.2.7 - -`,
		`192.0.2.7 shop.example.com - -`, `198.51.100.1 localhost - -`, `shop.example.com client.example.net - -`, `shop.example.com:80 - -`,
		`192.0.2.7 203.0.113.9`, `192.0.2.7 203.0.113.9 x y`, `192.0.2.7 203.0.113.9 ann b`,
		`a=b - -`, `"x" - -`, `"10.0.0.2" client - -`, `"10.0.0.2 - -`, `192.0.2.7| - -`, `(none) - -`,
		`Sep 15 16:13:46 h nginx[1]: starting`, `1 2026-09-15T16:13:46Z h nginx 1 - [a x="] 192.0.2.7 - -`,
	} {
		var e event.Event
		err := testFormat(t, "combined").Decode([]byte(head+rest), &e)
		if err == nil {
			t.Errorf("%s: read as %s", head, e.AppendAll(nil))
		}
	}
}

func TestWhatStandsBehindTheSizeIsRead(t *testing.T) {
	const start = ` - - [15/Sep/2026:16:13:46 +0000] "GET /en/ HTTP/2.0" 200 2814`
	for _, c := range []struct{ name, head, tail, want string }{
		{"nothing", "192.0.2.7", ``, "|||"},
		{"a blank", "192.0.2.7", ` `, "|||"},
		{"referer and agent", "192.0.2.7", ` "https://r/" "Agent"`, "https://r/|Agent||"},
		{"empty texts", "192.0.2.7", ` "" ""`, "|||"},
		{"a referer without quotes that is missing", "192.0.2.7", ` - "Agent"`, "|Agent||"},
		{"a referer without quotes", "192.0.2.7", ` https://r/ "Agent"`, "https://r/|Agent||"},
		{"a referer without quotes that is missing, and a list", "192.0.2.7", ` - "Agent" "198.51.100.1"`, "|Agent|198.51.100.1|"},
		{"an agent without quotes that is missing", "192.0.2.7", ` "https://r/" -`, "https://r/|||"},
		{"all without quotes and missing", "192.0.2.7", ` - - -`, "|||"},
		{"an upstream's time that is missing", "192.0.2.7", ` - "https://r/" "Agent"`, "https://r/|Agent||"},
		{"an upstream's time that is missing, no referer", "192.0.2.7", ` - "-" "Agent"`, "|Agent||"},
		{"an upstream's time, no referer, an agent like a list", "192.0.2.7", ` - "-" "198.51.100.1"`, "|198.51.100.1||"},
		{"times before", "192.0.2.7", ` 0.005 12 "https://r/" "Agent" "-"`, "https://r/|Agent||"},
		{"the host before, as some hosters have it", "192.0.2.7", ` www.example.com "https://r/" "Agent" "-"`, "https://r/|Agent||www.example.com"},
		{"nginx' main", "192.0.2.7", ` "-" "Agent" "198.51.100.1, 203.0.113.7"`, "|Agent|198.51.100.1, 203.0.113.7|"},
		{"Traefik", "192.0.2.7", ` "-" "Agent" 12 "router@docker" "http://10.0.0.5:80" 3ms`, "|Agent||"},
		{"nginx-proxy", "shop.example.com 192.0.2.7", ` "-" "Agent" "172.17.0.5:8080"`, "|Agent||shop.example.com"},
		{"nginx-proxy, two upstreams", "shop.example.com 192.0.2.7", ` "-" "Agent" "172.17.0.5:8080, 172.17.0.6:8080"`, "|Agent||shop.example.com"},
		{"a virtual host, and a list", "shop.example.com 192.0.2.7", ` "-" "Agent" "198.51.100.1"`, "|Agent|198.51.100.1|shop.example.com"},
		{"a list with its name", "192.0.2.7", ` "-" "Agent" X-Forwarded-For="198.51.100.1, 203.0.113.7"`, "|Agent|198.51.100.1, 203.0.113.7|"},
		{"no list with its name", "192.0.2.7", ` "-" "Agent" X-Forwarded-For="-"`, "|Agent||"},
		{"Apache with sizes", "192.0.2.7", ` "-" "Agent" 512 1024`, "|Agent||"},
		{"request time in quotes", "192.0.2.7", ` "-" "Agent" "-" "0.005"`, "|Agent||"},
		{"HAProxy's CLF", "192.0.2.7", ` "" "" 33317 655 "http-in" "static" "srv1" 10 0 30 69 109 ---- 1 1 1 1 0 0 0 "" ""`, "|||"},
		{"cut in the agent", "192.0.2.7", ` "https://r/" "Age`, "https://r/|Age||"},
		{"something else", "192.0.2.7", ` TCP_MISS:HIER_DIRECT "https://r/"`, "|||"},
		{"two blanks", "192.0.2.7", `  "https://r/"  "Agent"`, "https://r/|Agent||"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := read(t, "combined", c.head+start+c.tail)
			got := e.Text(event.Referer) + "|" + e.Text(event.UserAgent) + "|" + e.Text(event.ForwardedFor) + "|" + e.Text(event.Host)
			if got != c.want {
				t.Errorf("%s: got %s, want %s", c.tail, got, c.want)
			}
			if e.Text(event.IP) != "192.0.2.7" || e.Num(event.ResponseBytes) != 2814 || e.Has(event.LatencyMicros) != (c.name == "Traefik") {
				t.Errorf("%s: %s", c.tail, e.AppendAll(nil))
			}
		})
	}
}

func TestTraefiksTimeIsRead(t *testing.T) {
	const line = `192.0.2.7 - - [15/Sep/2026:16:13:46 +0000] "GET / HTTP/1.1" 200 8 - "Agent" 13 "router@docker" "http://10.0.0.5:80" `
	for end, want := range map[string]int64{"247ms": 247_000, "0ms": 0, "247": -1, "": -1, "ms": -1, `"247ms"`: -1, "999999999999999999ms": -1} {
		e := read(t, "combined", line+end)
		if e.Has(event.LatencyMicros) != (want >= 0) || want >= 0 && e.Num(event.LatencyMicros) != want || e.Text(event.UserAgent) != "Agent" {
			t.Errorf("%s: %s", end, e.AppendAll(nil))
		}
	}
}

func TestIngressNginxIsRecognised(t *testing.T) {
	const line = ` [15/Sep/2026:16:13:46 +0000] "GET / HTTP/1.1" 200 59 "-" "curl/7.54.0" 83 0.001 [default-web-8080] [] 172.17.0.6:8080 59 0.001 200 f57`
	for head, want := range map[string]string{
		`10.244.0.1 - -`:                           "10.244.0.1|||",
		`10.244.0.1 - [192.0.2.7] - -`:             "10.244.0.1|192.0.2.7||",
		`10.244.0.1 - [192.0.2.7, 10.0.0.9] - ann`: "10.244.0.1|192.0.2.7, 10.0.0.9||ann",
		`10.244.0.1 - [10.244.0.1] - -`:            "10.244.0.1|||",
		`10.244.0.1 - [192.0.2.7, 10.244.0.1] - -`: "10.244.0.1|192.0.2.7||",
	} {
		e := read(t, "combined", head+line)
		if got := where(e); got != want || e.Num(event.RequestBytes) != 83 || e.Num(event.LatencyMicros) != 1000 {
			t.Errorf("%s: got %s, want %s; %s", head, got, want, e.AppendAll(nil))
		}
	}
}

func TestAHostMayStandBeforeTheRequest(t *testing.T) {
	e := read(t, "combined", `192.0.2.7 - ann [15/Sep/2026:16:13:46 +0000] shop.example.com "GET / HTTP/1.1" 200 8`)
	if got := where(e); got != "192.0.2.7||shop.example.com|ann" || e.Text(event.Path) != "/" {
		t.Errorf("%s", e.AppendAll(nil))
	}
	for _, line := range []string{
		`192.0.2.7 - - [15/Sep/2026:16:13:46 +0000] "shop.example.com" "GET / HTTP/1.1" 200 8`,
		`192.0.2.7 - - [15/Sep/2026:16:13:46 +0000] 200 "GET / HTTP/1.1" 8`,
	} {
		if got := describe(t, testFormat(t, "combined"), []byte(line)); !strings.Contains(got, "refused") {
			t.Errorf("%s: %s", line, got)
		}
	}
}

func TestTimesOfTextLogs(t *testing.T) {
	for _, c := range []struct {
		time string
		want int64 // 0: refused
	}{
		{"15/Sep/2026:16:13:46 +0000", 1789488826000},
		{"15/Sep/2026:16:13:46.25 +0000", 1789488826250},
		{"15/Sep/2026:16:13:46 -0130", 1789488826000 + 5_400_000},
		{"2026-09-15T16:13:46+00:00", 1789488826000},
		{"2026-09-15T16:13:46.123456789Z", 1789488826123},
		{"15/Sep/2026:16:13:46", 0},
		{"15/Sep/2026 16:13:46", 0},
		{"15/Sep/2026:16:13:46 GMT", 0},
		{"15/Sep/2026:16:13:46. +0000", 0},
		{"15/Sep/2026:16:13:46 +2500", 0},
		{"2026-09-15 16:13:46", 0},
		{"Tue Sep 15 16:13:46 2026", 0},
		{"1789488826.250", 0},
		{"", 0},
	} {
		var e event.Event
		err := testFormat(t, "combined").Decode([]byte(`192.0.2.7 - - [`+c.time+`] "GET / HTTP/1.1" 200 8`), &e)
		if (err == nil) != (c.want != 0) || err == nil && e.Num(event.Time) != c.want {
			t.Errorf("%s: %d, %v; want %d", c.time, e.Num(event.Time), err, c.want)
		}
	}
}

func TestEnvelopesAreOpened(t *testing.T) {
	line := strings.ReplaceAll(`192.0.2.7 - -`+rest, `"`, `\"`)
	for _, c := range []struct{ name, record, want string }{
		{"Docker", `{"log":"` + line + `\n","stream":"stdout","time":"2026-09-15T16:13:46.1Z"}`, "192.0.2.7|||"},
		{"Filebeat", `{"@timestamp":"2026-09-15T16:13:46.1Z","message":"` + line + `","log":{"offset":17}}`, "192.0.2.7|||"},
		{"Fluent Bit before CRI", `{"log":"2026-09-15T16:13:46.1Z stdout F ` + line + `"}`, "192.0.2.7|||"},
		{"syslog within", ` {"message":"<190>Sep 15 16:13:46 h nginx: ` + line + `"}` + "\n", "192.0.2.7|||"},
		{"escapes", `{"log":"192.0.2.7 - \\\"\u00e9` + line[len("192.0.2.7 - -"):] + `"}`, `192.0.2.7|||"é`},
		{"two lines", `{"log":"` + line + `","message":"` + line + `"}`, "duplicate_key"},
		{"no line", `{"logs":"` + line + `"}`, "syntax"},
		{"a line that is none", `{"log":17}`, "syntax"},
		{"cut", `{"log":"` + line, "truncated"},
		{"something behind it", `{"log":"` + line + `"} x`, "trailing_data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e event.Event
			err := testFormat(t, "combined").Decode([]byte(c.record), &e)
			got := where(&e)
			if err != nil {
				got, _, _ = strings.Cut(err.Error(), " at ")
			}
			if got != c.want {
				t.Errorf("%s: got %s, want %s", c.record, got, c.want)
			}
		})
	}
}

// Transports cut long lines, and a client can make his line long.
func TestALineThatIsCutInItsRequestIsReadIfTheClientMadeItLong(t *testing.T) {
	head := `192.0.2.7 - - [15/Sep/2026:16:13:46 +0000] "GET /`
	long := head + strings.Repeat("a", 1000-len(head))
	e := read(t, "combined", long)
	if e.Text(event.IP) != "192.0.2.7" || e.Text(event.Method) != "GET" || !strings.HasPrefix(e.Text(event.Path), "/aaa") || e.Has(event.Status) {
		t.Errorf("%s", e.AppendAll(nil))
	}
	if got := describe(t, testFormat(t, "combined"), []byte(long[:999])); got != `{"refused":"truncated","field":"path","at":999}` {
		t.Errorf("a shorter one: %s", got)
	}
}
