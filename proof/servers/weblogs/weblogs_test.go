package weblogs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/proof/servers"
	"github.com/weirdev/weir/proof/testkit"
)

// TestWhatRealServersLogIsWhatWasSent sends every exchange to every server, and
// reads every line that it logs. The expected results are in requests_test.go. The
// changes that servers make before they log are in servers_test.go.
func TestWhatRealServersLogIsWhatWasSent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("every client has a loopback address of its own, as only Linux has them")
	}
	behind := newBackend(t)
	for _, s := range webServers(t, behind.addr()) {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			web := testkit.Web(t, func(addr, _ string) (*servers.Server, error) { return s.describe(addr, dir) })
			awaitReady(t, web.Addr)
			all := exchanges()
			answers := make([][]int, len(all))
			for i, x := range all {
				answers[i] = behind.send(t, web.Addr, i, x)
			}
			for _, l := range s.logs {
				awaitLines(t, filepath.Join(dir, l.file), s.expected(all))
			}
			web.Stop(t)
			for _, l := range s.logs {
				t.Run(l.name(), func(t *testing.T) { s.compare(t, l, read(t, dir, l), answers) })
			}
		})
	}
}

// awaitReady waits until a server answers as configured.
func awaitReady(t *testing.T, addr string) {
	t.Helper()
	ready := func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		defer c.Close()
		_, _ = c.Write([]byte(get("/ready")))
		status := make([]byte, len("HTTP/1.1 200"))
		n, _ := c.Read(status)
		return strings.HasSuffix(string(status[:n]), "200")
	}
	eventually(t, "the server is not ready", ready)
}

// expected returns how many lines s logs of the exchanges.
func (s *server) expected(all []exchange) (lines int) {
	for _, x := range all {
		if s.silent[x.name] == "" {
			lines += len(x.asks)
		}
	}
	return lines
}

// awaitLines waits until a log has that many of our lines. If they do not arrive,
// the comparison shows which are missing.
func awaitLines(t *testing.T, file string, lines int) {
	t.Helper()
	deadline := time.Now().Add(patience / 4)
	for time.Now().Before(deadline) {
		data, _ := os.ReadFile(file) // it may not exist yet
		if bytes.Count(data, []byte("\n")) > lines {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
}

func eventually(t *testing.T, otherwise string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// read reads a log in its format, and returns the events of each client in order.
func read(t *testing.T, dir string, l log) map[string][]*event.Event {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, l.file))
	if err != nil {
		t.Fatal(err)
	}
	f, err := format.New(l.format, nil)
	if err != nil {
		t.Fatal(err)
	}
	events := map[string][]*event.Event{}
	for line := range bytes.Lines(data) {
		e := &event.Event{}
		if err := f.Decode(bytes.TrimSuffix(line, []byte("\n")), e); err != nil {
			t.Errorf("refused: %v\n%.300q", err, line)
			continue
		}
		ip := e.Text(event.IP)
		events[ip] = append(events[ip], keep(e))
		if now := time.Now().UnixMilli(); e.Num(event.Time) < now-10*60_000 || e.Num(event.Time) > now+1000 {
			t.Errorf("time %d, now it is %d: %.300q", e.Num(event.Time), now, line)
		}
	}
	return events
}

// keep copies the texts, which are valid only until the next line is read.
func keep(e *event.Event) *event.Event {
	for _, spec := range event.Fields() {
		if e.Has(spec.Field) && !spec.Kind.Numeric() {
			e.SetText(spec.Field, strings.Clone(e.Text(spec.Field)))
		}
	}
	return e
}

func (s *server) compare(t *testing.T, l log, events map[string][]*event.Event, answers [][]int) {
	if len(events["127.0.0.1"]) == 0 {
		t.Error("there is no event of the request by which the server was seen to be ready")
	}
	for i, x := range exchanges() {
		s.compareOne(t, l, events, x, client(i), answers[i])
	}
	for peer, more := range events {
		if peer != "127.0.0.1" && len(more) > 0 {
			t.Errorf("there are events of %s that nobody sent:%s", peer, texts(more))
		}
	}
}

// compareOne removes the events of an exchange from events, and compares them.
func (s *server) compareOne(t *testing.T, l log, events map[string][]*event.Event, x exchange, peer string, answers []int) {
	if s.silent[x.name] != "" {
		return
	}
	for k, a := range x.asks {
		a = s.logged(l, x.name, a, peer)
		all := events[a.peer]
		if len(all) == 0 {
			t.Errorf("%s: there is no event, want%s", x.name, wanted(l, a))
			continue
		}
		e := all[0]
		events[a.peer] = all[1:]
		if !s.like(l, e, a) || !statusIs(e, s, x.name, answers, k) {
			t.Errorf("%s: answered %v\n got %s\nwant%s", x.name, answers, text(e), wanted(l, a))
		}
	}
}

// logged returns the expected log of a request that came from an address.
func (s *server) logged(l log, name string, a ask, peer string) ask {
	a.peer = peer
	if slices.Contains(s.unread, name) {
		return ask{peer: peer}
	}
	if s.always != nil {
		s.always(&a)
	}
	for _, rewrites := range []map[string]func(*ask){s.rewrites, l.rewrites} {
		if change := rewrites[name]; change != nil {
			change(&a)
		}
	}
	return a
}

// like reports whether an event matches the request, as far as the log contains it.
// The header of a malformed request may be missing, but never wrong. The event is
// marked if anything was clipped or escaped, and nobody is signed in.
func (s *server) like(l log, e *event.Event, a ask) bool {
	clipped := int64(0)
	for _, f := range texted {
		sent := l.sent(a, f)
		want, got := kept(f, sent), e.Text(f)
		if got != want && !(got == "" && a.malformed && f != event.Method && f != event.Path) {
			return false
		}
		if got != "" && got != sent {
			clipped = 1
		}
	}
	return e.Num(event.Clipped) == clipped && !e.Has(event.Account)
}

func statusIs(e *event.Event, s *server, name string, answers []int, k int) bool {
	if k < len(answers) {
		return int(e.Num(event.Status)) == answers[k]
	}
	return int(e.Num(event.Status)) == s.unanswered[name]
}

// sent returns the part of a request that belongs in f, byte for byte; "" if absent.
func (l log) sent(a ask, f event.Field) string {
	if f == event.ForwardedFor && a.listed != "" {
		return a.listed
	}
	if !l.holds(f) {
		return ""
	}
	return a.text(f)
}

// texted are the fields of an access log that a client controls.
var texted = []event.Field{event.Method, event.Path, event.Host, event.UserAgent, event.Referer, event.ForwardedFor, event.RemoteUser}

func (a ask) text(f event.Field) string {
	switch f {
	case event.Method:
		return a.method
	case event.Path:
		return a.path
	case event.Host:
		return a.host
	case event.UserAgent:
		return a.userAgent
	case event.Referer:
		return a.referer
	case event.ForwardedFor:
		return a.forwarded
	}
	return a.user
}

// kept returns the stored form of a client's text. Bytes that are not UTF-8 and
// control characters are written as \xhh, and long texts are clipped. Names changed
// in this way end in a hash, so that they stay distinct.
func kept(f event.Field, sent string) string {
	var b strings.Builder
	for _, r := range strings.SplitAfter(sent, "") {
		if c := r[0]; len(r) == 1 && (c < ' ' || c >= 0x7f) {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteString(r)
		}
	}
	spec, _ := event.Lookup(f.String())
	text, n := b.String(), spec.MaxBytes
	if f == event.RemoteUser && (text != sent || len(text) > n) {
		sum := sha256.Sum256([]byte(sent))
		return fmt.Sprintf("%s~%x", text, sum[:16])
	}
	if len(text) <= n {
		return text
	}
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

func text(e *event.Event) string {
	var b strings.Builder
	for _, f := range append([]event.Field{event.IP, event.Account}, texted...) {
		if v := e.Text(f); v != "" {
			fmt.Fprintf(&b, " %s=%.100q", f, v)
		}
	}
	return fmt.Sprintf("status=%d clipped=%d%s", e.Num(event.Status), e.Num(event.Clipped), b.String())
}

func texts(events []*event.Event) string {
	var b strings.Builder
	for _, e := range events {
		b.WriteString("\n\t" + text(e))
	}
	return b.String()
}

func wanted(l log, a ask) string {
	var b strings.Builder
	for _, f := range texted {
		if v := kept(f, l.sent(a, f)); v != "" {
			fmt.Fprintf(&b, " %s=%.100q", f, v)
		}
	}
	return fmt.Sprintf("%s (malformed %v)", b.String(), a.malformed)
}
