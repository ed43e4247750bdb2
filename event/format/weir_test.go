package format_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/eventtest"
	"github.com/weirdev/weir/event/format"
)

const minimal = `"id":"1","time":"2026-11-23T10:00:00Z"`

func TestHostileRecordsAreRefusedWithTheirReason(t *testing.T) {
	for _, c := range []struct {
		name, record string
		reason       event.Reason
	}{
		{"nothing", ``, event.Truncated},
		{"white space", "  \n", event.Truncated},
		{"an array", `[]`, event.Syntax},
		{"a number", `7`, event.Syntax},
		{"binary", "\x00\x01\x02\x03", event.Syntax},
		{"invalid UTF-8", "{\"id\":\"\xff\"}", event.InvalidUTF8},
		{"a byte order mark", "\xef\xbb\xbf{" + minimal + "}", event.Syntax},
		{"cut in a key", `{"id`, event.Truncated},
		{"cut in a value", `{"id":"1`, event.Truncated},
		{"cut in an escape", `{"id":"1\`, event.Truncated},
		{"cut after a comma", `{"id":"1",`, event.Truncated},
		{"cut before the brace", `{` + minimal, event.Truncated},
		{"a comma too many", `{` + minimal + `,}`, event.Syntax},
		{"a comma too many after unknown fields", `{"x":1,}`, event.Syntax},
		{"two events", `{` + minimal + `}{` + minimal + `}`, event.TrailingData},
		{"a trailing NUL", `{` + minimal + "}\x00", event.TrailingData},
		{"a key twice", `{` + minimal + `,"id":"2"}`, event.DuplicateKey},
		{"a key twice, once escaped", `{` + minimal + `,"\u0069d":"2"}`, event.DuplicateKey},
		{"an unknown key twice", `{` + minimal + `,"x":1,"x":2}`, event.DuplicateKey},
		{"a key in other letters", `{` + minimal + `,"Account":"a"}`, event.FoldedKey},
		{"a key with the Kelvin sign", `{` + minimal + `,"to` + "\u212a" + `en":"a"}`, event.FoldedKey},
		{"no id", `{"time":"2026-11-23T10:00:00Z"}`, event.MissingField},
		{"an empty id", `{"id":"","time":"2026-11-23T10:00:00Z"}`, event.MissingField},
		{"a null id", `{"id":null,"time":"2026-11-23T10:00:00Z"}`, event.MissingField},
		{"no time", `{"id":"1"}`, event.MissingField},
		{"time in seconds", `{"id":"1","time":1763892000}`, event.TimeUnit},
		{"time in 1969", `{"id":"1","time":-1}`, event.OutOfRange},
		{"a time that is no date", `{"id":"1","time":"2026-02-30T10:00:00Z"}`, event.BadTime},
		{"a time without zone", `{"id":"1","time":"2026-02-03T10:00:00"}`, event.BadTime},
		{"a leap second", `{"id":"1","time":"2026-12-31T23:59:60Z"}`, event.BadTime},
		{"ten fractional digits", `{"id":"1","time":"2026-12-31T23:59:00.0123456789Z"}`, event.BadTime},
		{"a text for a number", `{` + minimal + `,"status":"200"}`, event.WrongType},
		{"a number for a text", `{` + minimal + `,"account":7}`, event.WrongType},
		{"an object for a text", `{` + minimal + `,"account":{}}`, event.WrongType},
		{"a fraction", `{` + minimal + `,"status":200.0}`, event.WrongType},
		{"an exponent", `{` + minimal + `,"status":2e2}`, event.WrongType},
		{"NaN", `{` + minimal + `,"status":NaN}`, event.Syntax},
		{"a leading zero", `{` + minimal + `,"status":0200}`, event.Syntax},
		{"minus zero", `{` + minimal + `,"status":-0}`, event.Syntax},
		{"a huge number", `{` + minimal + `,"status":99999999999999999999999999}`, event.OutOfRange},
		{"a number out of range", `{` + minimal + `,"status":1000}`, event.OutOfRange},
		{"half a word", `{` + minimal + `,"rooted":tru}`, event.Syntax},
		{"a value that is none", `{` + minimal + `,"auth":"maybe"}`, event.BadValue},
		{"no address", `{` + minimal + `,"ip":"999.1.1.1"}`, event.BadAddress},
		{"an address with zone", `{` + minimal + `,"ip":"fe80::1%eth0"}`, event.BadAddress},
		{"a derived field", `{` + minimal + `,"country":"DE"}`, event.DerivedField},
		{"an unknown escape", `{` + minimal + `,"account":"\q"}`, event.BadEscape},
		{"half an escape of nginx", `{` + minimal + `,"account":"\x4"}`, event.BadEscape},
		{"an escape of nginx in the gateway's own text", `{` + minimal + `,"gateway":"\x41"}`, event.ControlCharacter},
		{"a raw newline in the gateway's own text", "{" + minimal + ",\"gateway\":\"a\nb\"}", event.ControlCharacter},
		{"a raw newline in a key", "{" + minimal + ",\"a\nb\":1}", event.ControlCharacter},
		{"invalid UTF-8 in a key", "{" + minimal + ",\"\xff\":1}", event.InvalidUTF8},
		{"half a character in the gateway's own text", `{` + minimal + `,"gateway":"\ud800"}`, event.InvalidUTF8},
		{"a long text of the gateway's", `{` + minimal + `,"gateway":"` + strings.Repeat("a", 129) + `"}`, event.TooLong},
		{"a tenant that is too long", `{` + minimal + `,"tenant":"` + strings.Repeat("a", 65) + `"}`, event.TooLong},
		{"a negative size of the answer", `{` + minimal + `,"response_bytes":-1}`, event.OutOfRange},
		{"a client's number with a leading zero", `{` + minimal + `,"request_bytes":01}`, event.Syntax},
		{"a client's number that is none", `{` + minimal + `,"request_bytes":NaN}`, event.Syntax},
		{"a mark that only ingest makes", `{` + minimal + `,"clipped":true}`, event.DerivedField},
		{"attributes that are a list", `{` + minimal + `,"attrs":[]}`, event.WrongType},
		{"a tenant that could run into what follows", `{` + minimal + `,"tenant":"a\u0000b"}`, event.ControlCharacter},
		{"nesting", `{` + minimal + `,"x":` + strings.Repeat("[", 10_000) + `}`, event.TooDeep},
		{"too many unknown fields", `{` + minimal + `,` + many(65) + `}`, event.TooManyFields},
		{"more than a broker takes", `{"id":"` + strings.Repeat("a", format.MaxBytes) + `"}`, event.TooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d format.Decoder
			err := d.Decode([]byte(c.record), new(event.Event))
			var r *event.Refusal
			if !errors.As(err, &r) || r.Reason != c.reason {
				t.Errorf("%v, want %v", err, c.reason)
			}
		})
	}
}

func many(n int) string {
	var parts []string
	for i := range n {
		parts = append(parts, fmt.Sprintf(`"k%d":1`, i))
	}
	return strings.Join(parts, ",")
}

func TestWhatIsAcceptedHasItsValues(t *testing.T) {
	var d format.Decoder
	e := new(event.Event)
	record := ` {"x":[1,{"y":"z"}], "time" : "2026-11-23T11:00:00.1239+01:00", "id":"a\u00e9\ud83d\ude00\"\\\/\n","status":404,
	  "rooted":true,"emulator":false,"account":null,"ip":"::ffff:192.0.2.1","client_time":1763892000123,"attrs":{"a":1,"b":"c"},"auth":"failure"} `
	if err := d.Decode([]byte(record), e); err != nil {
		t.Fatal(err)
	}
	want := time.Date(2026, 11, 23, 10, 0, 0, 123e6, time.UTC).UnixMilli()
	if e.Num(event.Time) != want || e.Text(event.ID) != "aé😀\"\\/\n" || e.Num(event.Status) != 404 || e.Num(event.Rooted) != 1 {
		t.Errorf("got %s", e.AppendAll(nil))
	}
	if !e.Has(event.Emulator) || e.Num(event.Emulator) != 0 || e.Has(event.Account) || e.Text(event.Attrs) != `{"a":1,"b":"c"}` {
		t.Errorf("got %s", e.AppendAll(nil))
	}
	if e.Num(event.ClientTime) != 1763892000123 {
		t.Errorf("client time %d", e.Num(event.ClientTime))
	}
}

func TestTimesAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var d format.Decoder
	e := new(event.Event)
	for range 5000 {
		at := time.UnixMilli(rng.Int64N(253_402_300_799_999)).In(time.FixedZone("", (rng.IntN(27)-13)*1800))
		if at.Year() > 9999 || at.Year() < 1970 {
			continue
		}
		if err := d.Decode(fmt.Appendf(nil, `{"id":"1","time":%q}`, at.Format(time.RFC3339Nano)), e); err != nil {
			t.Fatal(at, err)
		}
		if e.Num(event.Time) != at.UnixMilli() {
			t.Fatalf("%v was read as %d", at, e.Num(event.Time))
		}
	}
}

func TestTheOrderOfFieldsDoesNotMatter(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var predicted format.Decoder
	got, want := new(event.Event), new(event.Event)
	for n := range 2000 {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(eventtest.Sample(n), &fields); err != nil {
			t.Fatal(err)
		}
		var parts []string
		for k, v := range fields {
			if rng.IntN(10) > 0 || k == "id" || k == "time" {
				parts = append(parts, fmt.Sprintf("%q:%s", k, v))
			}
		}
		record := []byte("{" + strings.Join(parts, ",") + "}")
		var fresh format.Decoder
		if err := errors.Join(predicted.Decode(record, got), fresh.Decode(record, want)); err != nil {
			t.Fatal(err)
		}
		if g, w := got.AppendJSON(nil), want.AppendJSON(nil); !bytes.Equal(g, w) {
			t.Fatalf("%s\nwant %s", g, w)
		}
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	var d format.Decoder
	e := new(event.Event)
	good := eventtest.Sample(7)
	escaped := []byte(`{"id":"1","time":"2026-11-23T10:00:00Z","user_agent":"a\"b\u00e9","z":{"a":[1,2]},"attrs":{"a":true}}`)
	bad := []byte(`{"id":"1","id":"2"}`)
	n := testing.AllocsPerRun(200, func() {
		if d.Decode(good, e) != nil || d.Decode(escaped, e) != nil || d.Decode(bad, e) == nil {
			t.Fatal("unexpected verdict")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	records := make([][]byte, 1000)
	size := 0
	for i := range records {
		records[i] = eventtest.Sample(i)
		size += len(records[i])
	}
	run := func(name string, decode func([]byte) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size / len(records)))
			for i := 0; b.Loop(); i++ {
				if err := decode(records[i%len(records)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	var d format.Decoder
	e := new(event.Event)
	run("weir", func(r []byte) error { return d.Decode(r, e) })
	run("encoding_json", func(r []byte) error { var p eventtest.Plain; return json.Unmarshal(r, &p) })
}
