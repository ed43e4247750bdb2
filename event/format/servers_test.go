package format

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
)

// server is how a server writes what clients sent into its log.
type server struct {
	format string
	escape func(string) string
	line   func(user, request, referer, agent string) string
}

// escapeHex writes quotes, backslashes, control characters and bytes above ASCII as
// nginx does.
func escapeHex(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' || c < ' ' || c >= 0x7f {
			fmt.Fprintf(&b, `\x%02X`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escapeC is the same as Apache does it.
func escapeC(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n' || c == '\r' || c == '\t':
			b.WriteString(map[byte]string{'\n': `\n`, '\r': `\r`, '\t': `\t`}[c])
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escapeHash is the same as HAProxy does it.
func escapeHash(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; strings.IndexByte(`"#{|}`, c) >= 0 || c < ' ' || c >= 0x7f {
			fmt.Fprintf(&b, "#%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// emptyAs is what servers write where there is nothing.
func emptyAs(empty, s string) string {
	if s == "" {
		return empty
	}
	return s
}

func servers() []server {
	const at = "[15/Sep/2026:16:13:46 +0000]"
	text := func(format, head string, escape func(string) string) server {
		return server{format, escape, func(user, request, referer, agent string) string {
			return fmt.Sprintf(`%s - %s %s "%s" 401 8 "%s" "%s" "203.0.113.9"`, head, emptyAs("-", user), at, request, emptyAs("-", referer), emptyAs("-", agent))
		}}
	}
	return []server{
		text("combined", "192.0.2.7", escapeHex),
		text("combined", "192.0.2.7", escapeC),
		text("combined", "shop.example.com:443 192.0.2.7", escapeC),
		text("combined", "shop.example.com 203.0.113.9, 203.0.113.8 192.0.2.7", escapeHex),
		text("combined", "<190>Sep 15 16:13:46 h nginx: 192.0.2.7", escapeHex),
		text("combined", "2026-09-15T16:13:46.1Z stdout F 192.0.2.7", escapeC),
		{"nginx-proxy-manager", escapeHex, func(_, request, referer, agent string) string {
			return fmt.Sprintf(`%s - 401 401 - GET https shop.example.com "%s" [Client 192.0.2.7] [Length 8] [Gzip -] [Sent-to x] "%s" "%s"`, at, request, emptyAs("-", agent), emptyAs("-", referer))
		}},
		{"haproxy", escapeHash, func(_, request, referer, agent string) string {
			return fmt.Sprintf(`192.0.2.7:1 [15/Sep/2026:16:13:46.000] in b/s 0/0/0/0/0 401 8 - - ---- 1/1/1/1/0 0/0 {shop.example.com|203.0.113.9|%s|%s} {} "%s"`, agent, referer, request)
		}},
		{"aws-alb", escapeHex, func(_, request, _, agent string) string {
			return fmt.Sprintf(`http 2026-09-15T16:13:46.000000Z app/x 192.0.2.7:1 10.0.0.1:80 0 0 0 401 401 0 8 "%s" "%s" - - - "Root=1" "-" "-" 0 2026-09-15T16:13:46.000000Z`, request, emptyAs("-", agent))
		}},
		{"pattern", escapeC, func(_, request, _, agent string) string {
			return fmt.Sprintf(`203.0.113.9 192.0.2.7 - %s "%s" 401 0 "%s" auth=failure`, at, request, agent)
		}},
	}
}

// hostile are texts by which a client may try to be read as somebody else, or not
// at all.
func hostile() []string {
	list := []string{
		"", "-", " ", "a", `"`, `\`, `\"`, `\\`, "]", "[", `] "`, "\n", "\r\n", "\x00", "\xff\xfe", "é", "{", "}", "|", "#", "#22", `\x22`, `"-"`, ",", ", ", "<190>", "{\"log\":\"x\"}",
		"198.51.100.9", "198.51.100.9 - -", "- 198.51.100.9 - -", "198.51.100.9, 10.0.0.1", "[198.51.100.9] - x", "[198.51.100.9, 10.0.0.1] - x", "unix:", "http://x/", "https",
		`x] "GET / HTTP/1.1" 200`, `x [01/Jan/2020:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "x"`, `[01/Jan/2020:00:00:00 +0000] `, "[Client 198.51.100.9] [Length 1] ",
		`" 200 1 "-" "-" "198.51.100.9"`, `\" 200 1 \"-\"`, `" 12 0.1 [x] `, `} {} "GET / HTTP/1.1"`, "Sep 15 16:13:46 h nginx: 198.51.100.9 - -", "2026-09-15T16:13:46Z stdout F 198.51.100.9",
	}
	for _, unit := range []string{"a", `"`, `\`, "]", "\x00", `] "`, "198.51.100.9, ", "[01/Jan/2020:00:00:00 +0000] "} {
		list = append(list, strings.Repeat(unit, 3000/len(unit)))
	}
	return list
}

// checkServer checks that what a client chose makes no line unreadable, and none of
// the fields that he did not choose another.
func checkServer(t *testing.T, s server, f Format, user, request, referer, agent string) {
	t.Helper()
	line := s.line(s.escape(user), s.escape(request), s.escape(referer), s.escape(agent))
	var e event.Event
	if err := f.Decode([]byte(line), &e); err != nil {
		t.Fatalf("%s: %v in %.300q", s.format, err, line)
	}
	if e.Text(event.IP) != "192.0.2.7" || e.Num(event.Time) != 1789488826000 || e.Num(event.Status) != 401 || e.Has(event.Account) ||
		e.Has(event.Host) && e.Text(event.Host) != "shop.example.com" && s.format != "haproxy" && s.format != "aws-alb" ||
		e.Has(event.ForwardedFor) && !strings.HasPrefix(e.Text(event.ForwardedFor), "203.0.113.9") || s.format != "pattern" && e.Num(event.ResponseBytes) != 8 {
		t.Fatalf("%s: %s from %.300q", s.format, e.AppendAll(nil), line)
	}
}

// No client hides, or is read as another, whatever he writes into the fields that
// are his.
func TestAClientChangesNothingButHisOwnFields(t *testing.T) {
	list := hostile()
	for _, s := range servers() {
		f := testFormat(t, s.format)
		for i, a := range list {
			checkServer(t, s, f, a, "GET / HTTP/1.1", "-", "x")
			checkServer(t, s, f, "", a, "-", "x")
			checkServer(t, s, f, "", "GET /"+a+" HTTP/1.1", a, a)
			b, c := list[(i*7+3)%len(list)], list[(i*11+5)%len(list)]
			checkServer(t, s, f, a, "GET "+b, c, a)
			checkServer(t, s, f, b, c, a, b)
		}
	}
}

func FuzzClients(f *testing.F) {
	for _, a := range hostile() {
		f.Add(a, "GET / HTTP/1.1", "-", a)
		f.Add("", a, a, "x")
	}
	all := servers()
	formats := make([]Format, len(all))
	for i, s := range all {
		formats[i] = testFormat(f, s.format)
	}
	f.Fuzz(func(t *testing.T, user, request, referer, agent string) {
		if len(user)+len(request)+len(referer)+len(agent) > 64<<10 {
			t.Skip()
		}
		for i, s := range all {
			checkServer(t, s, formats[i], user, request, referer, agent)
		}
	})
}
