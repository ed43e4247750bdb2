package format

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/proof/testkit"
)

// piece is a part of a request that a client writes as it likes.
type piece uint8

const (
	partUser piece = iota
	partMethod
	partPath
	partHost
	partAgent
	partReferer
	partChain
	partDevice
	partSession
	lastPart
)

// moves are the fields that a part has a say in. All others stay what they are,
// whatever the part is: a time, a status, an address above all.
var moves = [lastPart][]event.Field{
	partUser:    {event.Account, event.RemoteUser},
	partMethod:  {event.Method, event.Path, event.Host}, // a request line that is none is the path, and a target may name a host
	partPath:    {event.Path, event.Host},
	partHost:    {event.Host},
	partAgent:   {event.UserAgent},
	partReferer: {event.Referer},
	partChain:   {event.ForwardedFor},
	partDevice:  {event.Device},
	partSession: {event.Session},
}

// written is a request, by part, as the bytes that a client sent.
type written [lastPart]string

func anyRequest() written {
	return written{
		"ann", "GET", "/v1/users/4711?x=1", "shop.example.com", "ShopApp/4.2.0 (Pixel 9)", "https://shop.example.com/", "198.51.100.1, 203.0.113.7", "d-1", "s-1",
	}
}

// writer renders a request as a server logs it.
type writer struct {
	name  string
	exact bool // what was sent can be told from the record, byte for byte
	parts []piece
	write func(written) string
}

// target is a format with one of its writers, and what comes of a request that
// nobody has mutated.
type target struct {
	name   string
	format Format
	writer
	base *event.Event
}

// targets are all formats with all their writers.
func targets(t testing.TB) (list []target) {
	t.Helper()
	all := writers()
	for _, name := range Names() {
		if len(all[name]) == 0 {
			t.Errorf("%s: writers has none that writes as a server with that format does", name)
		}
		for _, w := range all[name] {
			target := target{name + "/" + w.name, writtenFormat(t, name), w, nil}
			target.base = target.decode(t, w.write(anyRequest()))
			for f := range event.Field(event.MaxField) {
				if target.base.Has(f) && !f.Kind().Numeric() {
					target.base.SetText(f, strings.Clone(target.base.Text(f)))
				}
			}
			if target.base.Text(event.IP) != "192.0.2.7" || !target.base.Has(event.Time) {
				t.Fatalf("%s: %s", w.write(anyRequest()), target.base.AppendAll(nil))
			}
			list = append(list, target)
		}
	}
	return list
}

func writtenFormat(t testing.TB, name string) Format {
	t.Helper()
	if name != "mapping" {
		return testFormat(t, name)
	}
	f, err := New(name, &Mapping{
		"time": {From: "at"}, "ip": {From: "peer"}, "status": {From: "code"}, "account": {From: "user.name"}, "method": {From: "http.method"},
		"path": {From: "http.path"}, "host": {From: "http.host"}, "user_agent": {From: "agent"}, "referer": {From: "referer"}, "forwarded_for": {From: "chain"},
		"device": {From: "device"}, "session": {From: "session"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// No mutation of what a client writes makes an event unseen, or moves it to
// another entity: in every format that there is, as every server of it writes.
func TestAClientCanNeitherHideNorPointAtSomebodyElse(t *testing.T) {
	list := mutations()
	if testkit.Raced { // it shares nothing between goroutines
		list = list[:len(list)/10]
	}
	for _, target := range targets(t) {
		t.Run(target.name, func(t *testing.T) {
			for _, p := range target.parts {
				for _, text := range list {
					target.check(t, p, text)
				}
			}
		})
	}
}

func FuzzWhatAClientWrites(f *testing.F) {
	for p := range lastPart {
		for _, text := range fragments {
			f.Add(uint8(p), text)
		}
	}
	all := targets(f)
	f.Fuzz(func(t *testing.T, p uint8, text string) {
		for _, target := range all {
			if p := p % uint8(lastPart); slices.Contains(target.parts, piece(p)) {
				target.check(t, piece(p), text)
			}
		}
	})
}

func (g *target) decode(t testing.TB, record string) *event.Event {
	t.Helper()
	e := new(event.Event)
	if err := g.format.Decode([]byte(record), e); err != nil {
		t.Fatalf("unseen (%v):\n%.300q", err, record)
	}
	return e
}

// check sends a request with one part mutated.
func (g *target) check(t testing.TB, p piece, text string) {
	t.Helper()
	r := anyRequest()
	r[p] = text
	record := g.write(r)
	if len(record) > MaxBytes {
		return // no broker takes it
	}
	got := g.decode(t, record)
	if g.exact {
		checkExact(t, got, p, text)
	}
	for f := range event.Field(event.MaxField) {
		if f == event.Clipped || slices.Contains(moves[p], f) {
			continue
		}
		if got.Has(f) != g.base.Has(f) || got.Has(f) && !sameValue(got, g.base, f) {
			t.Fatalf("part %d is %.200q:\n%.300q\nis %.300s,\nwas %.300s", p, text, record, got.AppendAll(nil), g.base.AppendAll(nil))
		}
	}
}

func sameValue(a, b *event.Event, f event.Field) bool {
	if f.Kind().Numeric() {
		return a.Num(f) == b.Num(f)
	}
	return a.Text(f) == b.Text(f)
}

// checkExact holds a field against the bytes that were sent.
func checkExact(t testing.TB, got *event.Event, p piece, text string) {
	t.Helper()
	if p <= partPath || p == partHost || text == "-" || text == "" {
		return // a part of a request line, or with a port, or nothing
	}
	f := moves[p][0]
	if p == partUser && !got.Has(f) {
		f = moves[p][1]
	}
	if want, _, _ := event.Keep(f, text); got.Text(f) != want {
		t.Fatalf("%s is %.200q, and of %.200q should be %.200q", f, got.Text(f), text, want)
	}
}

// fragments are what is worth trying where texts are put together.
var fragments = []string{
	"", "-", " ", "a", `"`, `\`, `\"`, `\\`, `\x22`, `\u0022`, `'`, "|", "{", "}", "#22", "[", "]", "] ", `] "`, "\x00", "\n", "\r\n", "\t", "\x1b[31m", "\x7f", "\xff", "\xc3",
	"\xed\xa0\x80", "\ufffd", "\ufeff", "é日😀", "%00", ",", ", ", "null", "true", "0", "192.0.2.66", "192.0.2.66 - bob", "192.0.2.66, ", " 192.0.2.66 ", "unix:", "localhost",
	` [23/Nov/2026:10:05:03 +0000] `, ` [23/Nov/2026:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`, `] "GET / HTTP/1.1" 200 1`, `" 500 1 "-" "x`, `","ip":"192.0.2.66`,
	`","remote_addr":"192.0.2.66","x":"`, `"}`, `"} {"`, `{"a":[`, "HTTP/1.1", "GET / HTTP/1.1", "a HTTP/1.0", "http://192.0.2.66/", "192.0.2.66:80", "//", "<190>", "stdout F ", "a:", "[Client 192.0.2.66]",
	`] [Client 192.0.2.66] "`, "- - - -", "- [192.0.2.66] - ", "[192.0.2.66] - - ", "1 2 [3", "9999999999999999999999", "-1", "1e999", "~",
}

// mutations are fragments, long ones, and random bytes, always the same.
func mutations() []string {
	list := slices.Clone(fragments)
	for _, f := range fragments {
		list = append(list, "ann "+f, f+" ann", "a"+f+"b", f+f)
		if f != "" {
			list = append(list, strings.Repeat(f, 300/len(f)+1))
		}
	}
	list = append(list, strings.Repeat("\x00", 64<<10), strings.Repeat("\xff", 64<<10), strings.Repeat("é", 32<<10), strings.Repeat(`\"`, 32<<10), strings.Repeat("203.0.113.66, ", 1000))
	rng := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		var b strings.Builder
		for range rng.IntN(8) {
			b.WriteString(fragments[rng.IntN(len(fragments))])
			for range rng.IntN(4) {
				b.WriteByte(byte(rng.UintN(256)))
			}
		}
		list = append(list, b.String())
	}
	return list
}
