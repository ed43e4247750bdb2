package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weirdev/weir/event"
)

// An event of our own format with one member more.
func own1(member string) []byte {
	return []byte(`{"id":"1","time":1795428303000,"ip":"192.0.2.7",` + member + `}`)
}

func TestATextThatAClientWroteIsKept(t *testing.T) {
	for _, c := range []struct {
		name, member string
		field        event.Field
		want         string // its first bytes, where it ends with …
		length       int
		clipped      bool
	}{
		{"a user agent at its longest", `"user_agent":"` + strings.Repeat("a", 1024) + `"`, event.UserAgent, "aaaa…", 1024, false},
		{"a user agent of a byte more", `"user_agent":"` + strings.Repeat("a", 1025) + `"`, event.UserAgent, "aaaa…", 1024, true},
		{"a long user agent of long characters", `"user_agent":"a` + strings.Repeat("日", 1024) + `"`, event.UserAgent, "a日日…", 1024, true},
		{"a path of a byte too many", `"path":"/` + strings.Repeat("a", 8192) + `"`, event.Path, "/aaa…", 8192, true},
		{"a chain that is too long keeps its end", `"forwarded_for":"` + strings.Repeat("198.51.100.1, ", 400) + `203.0.113.7"`, event.ForwardedFor, " 198.51.100.1, …", 2042, true},
		{"a chain that is too long by one byte", `"forwarded_for":"` + strings.Repeat("9", 2040) + `,10.0.0.7"`, event.ForwardedFor, "10.0.0.7", 8, true},
		{"a device of 257 bytes", `"device":"` + strings.Repeat("d", 257) + `"`, event.Device, "dddd…", 256, true},
		{"an account of 257 bytes", `"account":"` + strings.Repeat("a", 257) + `"`, event.Account, "aaaa…", 256, true},
		{"an account at its longest", `"account":"` + strings.Repeat("a", 256) + `"`, event.Account, "aaaa…", 256, false},
		{"a fingerprint that is too long", `"ja4":"` + strings.Repeat("t", 5000) + `"`, event.JA4, "tttt…", 64, true},
		{"bytes that are not UTF-8", "\"user_agent\":\"a\xff\xc3b\"", event.UserAgent, `a\xff\xc3b`, 10, true},
		{"a raw newline", "\"user_agent\":\"a\nb\"", event.UserAgent, `a\x0ab`, 6, true},
		{"an escaped newline", `"user_agent":"a\nb"`, event.UserAgent, `a\x0ab`, 6, true},
		{"a raw DEL", "\"user_agent\":\"a\x7fb\"", event.UserAgent, `a\x7fb`, 6, true},
		{"a lone surrogate", `"user_agent":"a\ud800b"`, event.UserAgent, "a\ufffdb", 5, true},
		{"surrogates the wrong way", `"user_agent":"\udc00\ud800"`, event.UserAgent, "\ufffd\ufffd", 6, true},
		{"a high surrogate before another escape", `"user_agent":"\ud83d\u0041"`, event.UserAgent, "\ufffdA", 4, true},
		{"an account with a NUL", `"account":"a\u0000b"`, event.Account, `a\x00b~…`, 39, true},
		{"an account with invalid UTF-8", "\"account\":\"a\xff\"", event.Account, `a\xff~…`, 38, true},
		{"a device that is U+FFFD, and says so", `"device":"\ufffd"`, event.Device, `\xef\xbf\xbd~…`, 45, true},
		{"a user agent that has a U+FFFD", `"user_agent":"\ufffd"`, event.UserAgent, "\ufffd", 3, false},
		{"escapes that are fine", `"account":"\"\\\/\u00e9\ud83d\ude00"`, event.Account, `"\/é😀`, 9, false},
		{"nginx' escapes without escape=json", `"user_agent":"\x22\xC3\xA9\x5C"`, event.UserAgent, `"é\`, 4, false},
		{"nginx' escapes of what is no text", `"user_agent":"a\xFF\x0A"`, event.UserAgent, `a\xff\x0a`, 9, true},
		{"Apache's escape of a vertical tab", `"device":"a\vb"`, event.Device, `a\x0bb~…`, 39, true},
		{"the least of a chain that has no end", `"forwarded_for":"` + strings.Repeat("9", 3000) + `"`, event.ForwardedFor, "", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Decoder
			var e event.Event
			if err := d.Decode(own1(c.member), &e); err != nil {
				t.Fatal(err)
			}
			got := e.Text(c.field)
			start, cut := strings.CutSuffix(c.want, "…")
			if len(got) != c.length || got != c.want && !(cut && strings.HasPrefix(got, start)) {
				t.Errorf("%d bytes, %.100q; want %d, %q", len(got), got, c.length, c.want)
			}
			if e.Num(event.Clipped) == 1 != c.clipped {
				t.Errorf("clipped: %v, want %v", !c.clipped, c.clipped)
			}
			if e.Text(event.IP) != "192.0.2.7" || !utf8.ValidString(got) {
				t.Errorf("%s", e.AppendAll(nil))
			}
		})
	}
}

func TestANumberThatAClientStatesIsKeptOrDropped(t *testing.T) {
	for _, c := range []struct {
		member string
		field  event.Field
		want   int64 // -1: none
	}{
		{`"request_bytes":17`, event.RequestBytes, 17},
		{`"request_bytes":0`, event.RequestBytes, 0},
		{`"request_bytes":-1`, event.RequestBytes, -1},
		{`"request_bytes":-0`, event.RequestBytes, -1},
		{`"request_bytes":1.0`, event.RequestBytes, -1},
		{`"request_bytes":1e3`, event.RequestBytes, -1},
		{`"request_bytes":9007199254740991`, event.RequestBytes, 9007199254740991},
		{`"request_bytes":9007199254740992`, event.RequestBytes, -1},
		{`"request_bytes":` + strings.Repeat("9", 5000), event.RequestBytes, -1},
		{`"request_bytes":"17"`, event.RequestBytes, -1},
		{`"request_bytes":[17]`, event.RequestBytes, -1},
		{`"attestation_age_s":-5`, event.AttestationAge, -1},
		{`"attestation_age_s":1e99`, event.AttestationAge, -1},
		{`"client_time":1763892000123`, event.ClientTime, 1763892000123},
		{`"client_time":"2026-11-23T10:00:00Z"`, event.ClientTime, 1795428000000},
		{`"client_time":1763892000`, event.ClientTime, -1},
		{`"client_time":1763892000.5`, event.ClientTime, -1},
		{`"client_time":999999999999999999999999`, event.ClientTime, -1},
		{`"client_time":"yesterday"`, event.ClientTime, -1},
		{`"client_time":"9999-12-31T23:59:60Z"`, event.ClientTime, -1},
		{`"token_issued":1763892000`, event.TokenIssued, -1},
		{`"token_expires":253402300800000`, event.TokenExpires, -1},
		{`"token_expires":true`, event.TokenExpires, -1},
		{`"rooted":true`, event.Rooted, 1},
		{`"rooted":false`, event.Rooted, 0},
		{`"rooted":1`, event.Rooted, -1},
		{`"emulator":"yes"`, event.Emulator, -1},
		{`"pinning_error":-1e400`, event.PinningError, -1},
		{`"pinning_error":{"a":[]}`, event.PinningError, -1},
	} {
		var d Decoder
		var e event.Event
		if err := d.Decode(own1(c.member), &e); err != nil {
			t.Errorf("%.60s: %v", c.member, err)
			continue
		}
		dropped := c.want < 0
		if e.Has(c.field) == dropped || !dropped && e.Num(c.field) != c.want || e.Has(event.Clipped) != dropped {
			t.Errorf("%.60s: %s", c.member, e.AppendAll(nil))
		}
	}
}

func TestFreeAttributesAreTrimmedNeverARefusal(t *testing.T) {
	long := strings.Repeat("x", 4000)
	for _, c := range []struct {
		name, attrs, want string
		clipped           bool
	}{
		{"as they are", `{"a":1, "b":"c"}`, `{"a":1, "b":"c"}`, false},
		{"none", `{}`, ``, false},
		{"a value that is nested", `{"a":{"b":1},"c":[2],"d":3}`, `{"d":3}`, true},
		{"only nested ones", `{"a":{}}`, ``, true},
		{"a name twice", `{"a":1,"a":2,"b":""}`, `{"a":1,"b":""}`, true},
		{"too many", `{` + members(33) + `}`, `{` + members(32) + `}`, true},
		{"too long together", `{"a":"` + long + `","b":"` + long + `","c":null}`, `{"a":"` + long + `","c":null}`, true},
		{"too long only because of blanks", `{"a":1` + strings.Repeat(" ", 4096) + `}`, `{"a":1}`, true},
		{"a name that is too long", `{"` + long + long + `":1}`, ``, true},
		{"invalid UTF-8", "{\"a\xff\":\"\xff\"}", `{"a\\xff":"\\xff"}`, true},
		{"control characters", "{\"a\":\"\n\\u0000\"}", `{"a":"\\x0a\\x00"}`, true},
		{"half a character", `{"a":"\ud800"}`, "{\"a\":\"\ufffd\"}", true},
		{"names that become one", "{\"a\n\":1,\"a\\n\":2}", `{"a\\x0a":1}`, true},
		{"escapes that are fine", `{"a\"":"\u00e9"}`, `{"a\"":"\u00e9"}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Decoder
			var e event.Event
			if err := d.Decode(own1(`"attrs":`+c.attrs), &e); err != nil {
				t.Fatal(err)
			}
			if got := e.Text(event.Attrs); got != c.want || e.Num(event.Clipped) == 1 != c.clipped {
				t.Errorf("got %.200s, clipped %d; want %.200s", got, e.Num(event.Clipped), c.want)
			}
			if got := e.Text(event.Attrs); got != "" && !json.Valid([]byte(got)) || len(got) > 4096 {
				t.Errorf("%d bytes, no JSON: %q", len(got), got)
			}
		})
	}
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"k` + string(rune('a'+i/26)) + string(rune('a'+i%26)) + `":1`)
	}
	return b.String()
}

// What a client makes of a request, with the longest line and headers that
// servers take, all of it in escapes of six bytes, is below the limit of a record.
func TestAClientCannotMakeARecordTooLarge(t *testing.T) {
	nul := strings.Repeat(`\u0000`, 64<<10)
	record := own1(`"path":"` + nul + `","user_agent":"` + nul[:len(nul)/2] + `","forwarded_for":"` + nul[len(nul)/2:] + `"`)
	var d Decoder
	var e event.Event
	if err := d.Decode(record, &e); err != nil || e.Text(event.IP) != "192.0.2.7" || e.Num(event.Clipped) != 1 {
		t.Errorf("%d bytes: %v", len(record), err)
	}
	if left := MaxBytes - len(record); left < 200<<10 {
		t.Errorf("only %d bytes are left for the gateway", left)
	}
}

// FuzzDecode holds the decoder against encoding/json: what it accepts is JSON
// with the same values, but for what a client wrote, and what it writes reads
// back.
func FuzzDecode(f *testing.F) {
	for _, member := range []string{
		`"account":"a","status":401,"x":[null,true,-1.5e3]`, `"attrs":{"a":1},"user_agent":"\u00e9\ud83d\ude00"`, `"rooted":false`,
		`"client_time":1e9,"attrs":{"a":{},"b":"\ud800"}`, `"user_agent":"\x22\xe9\v","attrs":{"a":"\x41"}`, "\"device\":\"\xff\n\"", `"forwarded_for":"` + strings.Repeat("1,", 1500) + `"`,
	} {
		f.Add(own1(member))
	}
	var d, again Decoder
	f.Fuzz(func(t *testing.T, record []byte) {
		var e, back event.Event
		if d.Decode(record, &e) != nil {
			return
		}
		var fields map[string]any
		dec := json.NewDecoder(bytes.NewReader(escapeControls(record)))
		dec.UseNumber()
		if err := dec.Decode(&fields); err != nil {
			t.Fatalf("accepted what is no JSON: %v", err)
		}
		for _, s := range event.Fields() {
			checkAgainst(t, &e, s, fields[s.Name])
		}
		out := e.AppendJSON(nil)
		if err := again.Decode(out, &back); err != nil {
			t.Fatalf("%s does not read back: %v", out, err)
		}
		if second := back.AppendJSON(nil); !bytes.Equal(out, second) || back.Has(event.Clipped) {
			t.Fatalf("%s\nread back is\n%s", out, second)
		}
	})
}

// checkAgainst holds a field against what encoding/json read, which has U+FFFD
// for whatever is no text.
func checkAgainst(t *testing.T, e *event.Event, s event.Spec, read any) {
	t.Helper()
	if read == nil || read == "" {
		if e.Has(s.Field) && !s.Derived {
			t.Fatalf("%s has a value that the record does not give", s.Name)
		}
		return
	}
	switch {
	case s.Kind.Numeric():
		if n := e.Num(s.Field); n < s.Min || n > s.Max || !e.Has(s.Field) && !(s.Client && e.Has(event.Clipped)) {
			t.Fatalf("%s is %d of %v", s.Name, n, read)
		}
	case s.Kind == event.KindObject:
	case strings.Contains(read.(string), "\ufffd"):
		if got := e.Text(s.Field); event.Repaired(got) != got && s.Client || len(got) > s.MaxBytes {
			t.Fatalf("%s is %q", s.Name, got)
		}
	default:
		if want, whole, _ := event.Keep(s.Field, read.(string)); e.Text(s.Field) != want || !whole && !e.Has(event.Clipped) {
			t.Fatalf("%s is %q, want %q", s.Name, e.Text(s.Field), want)
		}
	}
}

// escapeControls writes control characters within texts, and the escapes that only
// Apache and nginx know, as JSON wants them.
func escapeControls(record []byte) []byte {
	var out []byte
	inText := false
	for i := 0; i < len(record); i++ {
		c := record[i]
		switch {
		case c == '"':
			inText = !inText
		case inText && c == '\\' && i+1 < len(record):
			if b, taken := foreignEscape(record[i:]); taken > 0 {
				out = appendByte(out, b)
				i += taken - 1
				continue
			}
			out = append(out, c)
			i++
			c = record[i]
		case inText && c < ' ':
			out = appendByte(out, c)
			continue
		}
		out = append(out, c)
	}
	return out
}

// foreignEscape reads a \v or \xhh; taken is 0 where there is none.
func foreignEscape(b []byte) (c byte, taken int) {
	if b[1] == 'v' {
		return '\v', 2
	}
	if b[1] != 'x' || len(b) < 4 {
		return 0, 0
	}
	n, err := strconv.ParseUint(string(b[2:4]), 16, 8)
	if err != nil {
		return 0, 0
	}
	return byte(n), 4
}

// appendByte writes a byte of a text as JSON wants it.
func appendByte(out []byte, c byte) []byte {
	switch {
	case c < ' ':
		return fmt.Appendf(out, `\u%04x`, c)
	case c == '"' || c == '\\':
		return append(out, '\\', c)
	}
	return append(out, c)
}
