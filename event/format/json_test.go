package format

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
)

// What stands in the place of a value is read exactly when encoding/json finds
// it valid, both where it is wanted and where it is passed over; but that control
// characters may stand in texts as they are.
func TestJSONIsReadAsTheStandardSays(t *testing.T) {
	values := []string{
		`0`, `-0`, `1`, `-1`, `10`, `01`, `-01`, `00`, `1.0`, `1.`, `.1`, `-.1`, `1e1`, `1E+1`, `1e-1`, `1e`, `1e+`, `1.e1`, `+1`, `-`, `--1`,
		`0x10`, `1_000`, `Infinity`, `NaN`, `1 2`, `true`, `false`, `null`, `True`, `tru`, `truex`, `nul`, `nullx`, `falsey`, ``, ` `, `undefined`,
		`""`, `"a"`, `"a`, `a"`, `'a'`, `"\""`, `"\\"`, `"\"`, `"\/\b\f\n\r\t"`, `"\x41"`, `"\xe9\v"`, `"\x4"`, `"\x4g"`, `"\'"`, `"\u0041"`, `"\u004"`, `"\u004g"`, `"\u"`, `"\U0041"`,
		`"\ud83d\ude00"`, `"\ud83d"`, `"\ude00\ud83d"`, `"\ud83d\u0041"`, `"\ud83d\n"`, `"\ud83d\u00"`, `"\ud83d`, "\"\x7f\"", `"é"`, `"\`,
		`[]`, `[ ]`, `[1]`, `[1,2]`, `[1,]`, `[,1]`, `[1 2]`, `[`, `]`, `[[]]`, `[[]`, `[}`, `[1}`, `["a",{"b":[null]}]`,
		`{}`, `{ }`, `{"a":1}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{:1}`, `{a:1}`, `{1:1}`, `{"a":1 "b":2}`, `{"a":1,"b":{}}`, `{"a":1]`, `{"a":1`, `{`, `}`,
		`{"a":1}}`, `1,"y":2`, `1}{`, `//x`, `/**/1`, "\u00a01", "\ufeff1", "\t\r\n 1 \t\r\n", "\v1",
	}
	for _, v := range values {
		for _, key := range []string{"unread", "account", "rooted"} {
			text := `{"msec":1,"` + key + `":` + v + `}`
			var e event.Event
			err := testFormat(t, "nginx").Decode([]byte(text), &e)
			wanted := key == "account" && len(v) > 0 && (v[0] == '[' || v[0] == '{') // valid, and of the wrong type
			if valid := json.Valid(escapeControls([]byte(text))); valid != (err == nil) && !(valid && wanted) {
				t.Errorf("%s: valid is %v, the error %v", text, valid, err)
			}
		}
	}
}

func TestControlCharactersMayStandInTextsAsTheyAre(t *testing.T) {
	for _, v := range []string{"\x00", "\n", "\t", "a\rb", "\x1b[31m"} {
		for _, key := range []string{"unread", "account", "rooted", "http_user_agent"} {
			var e event.Event
			if err := testFormat(t, "nginx").Decode([]byte(`{"msec":1,"`+key+`":"`+v+`"}`), &e); err != nil || e.Has(event.Clipped) == (key == "unread") {
				t.Errorf("%s %q: %v, %s", key, v, err, e.AppendAll(nil))
			}
		}
	}
	var e event.Event
	if err := testFormat(t, "nginx").Decode([]byte("{\"msec\":1\n,\"x\":\x01}"), &e); err == nil {
		t.Error("a control character outside of texts was read")
	}
}

// Control characters in them are then escaped, as in all texts of clients.
func TestStringsAreReadAsTheStandardSays(t *testing.T) {
	for _, v := range []string{
		`"plain"`, `"\"\\\/\b\f\n\r\t"`, `"\u0041\u00e9\u65e5\u0000x"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ud83dx"`, `"\ude00\ud83d"`, `"\ud83d\u0041"`,
		`"\ud83d\ud83d\ude00"`, `"\\ud83d"`, `"\\\ud83d"`, `"\ud83d\\"`, `"mixed \u0041 and é"`, `"\u00FF"`,
	} {
		var want string
		if err := json.Unmarshal([]byte(v), &want); err != nil {
			t.Fatal(err)
		}
		var e event.Event
		if err := testFormat(t, "nginx").Decode([]byte(`{"msec":1,"http_user_agent":`+v+`}`), &e); err != nil {
			t.Fatal(err)
		}
		for _, c := range "\x00\b\f\n\r\t" {
			want = strings.ReplaceAll(want, string(c), fmt.Sprintf(`\x%02x`, c))
		}
		if got := e.Text(event.UserAgent); got != want {
			t.Errorf("%s: got %q, want %q", v, got, want)
		}
	}
}

func TestNestingIsBounded(t *testing.T) {
	f := testFormat(t, "nginx")
	for _, c := range []struct{ open, close string }{{"[", "]"}, {`{"a":`, "}"}} {
		for depth, want := range map[int]bool{1: true, 14: true, 15: false, 10_000: false} {
			text := `{"msec":1,"x":`
			for range depth {
				text += c.open
			}
			text += "1"
			for range depth {
				text += c.close
			}
			var e event.Event
			if err := f.Decode([]byte(text+"}"), &e); (err == nil) != want {
				t.Errorf("%d times %s: %v", depth, c.open, err)
			}
		}
	}
}
