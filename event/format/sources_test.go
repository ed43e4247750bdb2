package format

import (
	"errors"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
)

// mapped decodes a record by a mapping, and writes down what comes of it.
func mapped(t *testing.T, m Mapping, record string) string {
	t.Helper()
	if _, ok := m["time"]; !ok {
		m["time"] = FieldSource{From: "t"}
	}
	f, err := New("mapping", &m)
	if err != nil {
		t.Fatal(err)
	}
	got := describe(t, f, []byte(record))
	return strings.TrimSuffix(strings.Replace(got, `{"time":"2026-11-23T10:05:03.000Z"`, "", 1), "}")
}

const moment0 = `{"t":1795428303000,`

func TestElementsOfArraysAreTaken(t *testing.T) {
	for _, c := range []struct{ name, from, member, want string }{
		{"the first", "a[0]", `"a":["x","y"]`, `,"user_agent":"x"`},
		{"the second", "a[1]", `"a":["x","y"]`, `,"user_agent":"y"`},
		{"the last", "a[-1]", `"a":["x",["z"],"y" ]`, `,"user_agent":"y"`},
		{"the last of one", "a[-1]", `"a":["x"]`, `,"user_agent":"x"`},
		{"all", "a[*]", `"a":["x", 1,null,{"b":2},"y"]`, `,"user_agent":"x, 1, y"`},
		{"all of none", "a[*]", `"a":[]`, ``},
		{"one that is not there", "a[2]", `"a":["x","y"]`, ``},
		{"the first of none", "a[0]", `"a":[]`, ``},
		{"the last of none", "a[-1]", `"a":[]`, ``},
		{"of what is no array", "a[0]", `"a":"x"`, ``},
		{"a header", "request.headers.User-Agent[0]", `"request":{"headers":{"User-Agent":["x"],"Accept":["*/*"]}}`, `,"user_agent":"x"`},
		{"within an element", "a[1].b.c", `"a":[{"b":{"c":"x"}},{"b":{"c":"y"}}]`, `,"user_agent":"y"`},
		{"within the last element", "a[-1].b", `"a":[{"b":"x"},{"b":"y"}]`, `,"user_agent":"y"`},
		{"a key that looks like it", "a[0]", `"a[0]":"x"`, `,"user_agent":"x"`},
		{"a key that is no index", "a[x]", `"a[x]":"y","a":["x"]`, `,"user_agent":"y"`},
		{"null", "a[0]", `"a":[null]`, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mapped(t, Mapping{"user_agent": {From: c.from}}, moment0+c.member+"}"); got != c.want {
				t.Errorf("%s: got %s, want %s", c.member, got, c.want)
			}
		})
	}
}

func TestOneArrayServesSeveralFields(t *testing.T) {
	m := Mapping{"forwarded_for": {From: "a[*]"}, "host": {From: "a[0]"}, "user_agent": {From: "a[-1]"}, "referer": {From: "a[0]"}, "method": {From: "b[*]"}}
	got := mapped(t, m, moment0+`"a":["x","y\u0041","z"],"b":["G","H"]}`)
	if want := `,"method":"G, H","host":"x","user_agent":"z","forwarded_for":"x, yA, z","referer":"x"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestArraysAreReadExactly(t *testing.T) {
	for _, c := range []struct{ member, want string }{
		{`"a":["x"`, "truncated"}, {`"a":["x",]}`, "syntax"}, {`"a":["x" "y"]}`, "syntax"}, {`"a":[[[[[[[[[[[[[[[[[[["x"]]]]]]]]]]]]]]]]]]]}`, "too_deep"},
		{`"a":[{"b":1,"b":2}]}`, "duplicate_key"},
	} {
		m := Mapping{"user_agent": {From: "a[0].b"}, "path": {From: "a[*]"}}
		if got := mapped(t, m, moment0+c.member); !strings.Contains(got, `"refused":"`+c.want+`"`) {
			t.Errorf("%s: got %s, want %s", c.member, got, c.want)
		}
	}
}

func TestTheRequestLineGivesWhatIsNotFoundOtherwise(t *testing.T) {
	m := Mapping{"request": {From: "r"}, "method": {From: "m"}, "path": {From: "p"}}
	for _, c := range []struct{ members, want string }{
		{`"r":"GET /a?b HTTP/1.1"`, `,"method":"GET","path":"/a?b"`},
		{`"r":"GET /a"`, `,"method":"GET","path":"/a"`},
		{`"r":"GET /with blanks HTTP/1.1"`, `,"method":"GET","path":"/with blanks"`},
		{`"r":"\u0016\u0003"`, `,"path":"\\x16\\x03","clipped":true`},
		{`"r":"-"`, ``}, {`"r":""`, ``}, {`"r":null`, ``}, {`"r":7`, ``}, {`"r":["GET /"]`, ``},
		{`"r":"GET /a HTTP/1.1","m":"POST","p":"/b"`, `,"method":"POST","path":"/b"`},
		{`"m":"POST","p":"/b","r":"GET /a HTTP/1.1"`, `,"method":"POST","path":"/b"`},
		{`"m":"","p":"-","r":"GET /a HTTP/1.1"`, `,"method":"GET","path":"/a"`},
		{`"p":"/b","r":"GET /a HTTP/1.1"`, `,"method":"GET","path":"/b"`},
	} {
		if got := mapped(t, m, moment0+c.members+"}"); got != c.want {
			t.Errorf("%s: got %s, want %s", c.members, got, c.want)
		}
	}
}

func TestAFilterSaysWhichRecordsAreEvents(t *testing.T) {
	m := Mapping{"only": {From: "log.kind", Is: []string{"access", "http.*"}}, "status": {From: "s"}}
	for _, c := range []struct{ members, want string }{
		{`"log":{"kind":"access"},"s":1`, `,"status":1`},
		{`"s":1,"log.kind":"http.access.0"`, `,"status":1`},
		{`"log":{"kind":"http."},"s":1`, `,"status":1`},
		{`"log":{"kind":"accessory"},"s":1`, `filtered`},
		{`"log":{"kind":"http"},"s":1`, `filtered`},
		{`"log":{"kind":null},"s":1`, `filtered`},
		{`"s":1`, `filtered`},
		{`"s":"running","x":[]`, `filtered`},
		{`"s":"running","log":{"kind":"access"}`, `"refused":"wrong_type","field":"status","at":23`},
		{`"s":"running","log":{"kind":"access"`, `truncated`},
	} {
		if got := mapped(t, m, moment0+c.members+"}"); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.members, got, c.want)
		}
	}
	if got := mapped(t, Mapping{"only": {From: "k", Is: []string{"a"}}}, `{"k":"b"}`); !strings.Contains(got, "filtered") {
		t.Errorf("a message without a time: %s", got)
	}
}

func TestWhatIsWrongWithTheOtherNamesOfAMappingIsSaid(t *testing.T) {
	m := Mapping{
		"time": {From: "t"}, "request": {From: "r", Unit: "s"}, "only": {From: "k"}, "path": {From: "p", Is: []string{"x"}},
		"latency_us": {From: "l", Unit: "clf"},
	}
	_, err := New("mapping", &m)
	for _, want := range []string{
		"request: a request line takes from, and neither const nor unit nor values", "only: says no values", `path: takes no is, which says in "only"`,
		"latency_us: unit clf: this field is a duration",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing says %s:\n%v", want, err)
		}
	}
	if _, err := New("mapping", &Mapping{"time": {From: "t"}, "only": {Const: "x", Is: []string{"x"}}}); err == nil || !strings.Contains(err.Error(), "only: a filter takes from") {
		t.Errorf("got %v", err)
	}
}

func TestPatternsAreCompiled(t *testing.T) {
	long := strings.Repeat("x", 4097)
	for _, c := range []struct{ name, pattern, want string }{ // want: of the error; "" where there is none
		{"parts", `%{ADDRESS:ip} \[%{CLF:time}\] "%{REQUEST}"`, ""},
		{"named groups", `(?P<ip>\S+) (?<time>\S+)`, ""},
		{"no time", `%{ADDRESS:ip}`, "time: every event needs one, as in %{CLF:time}"},
		{"an unknown part", `%{CLF:time} %{URL:path}`, "%{URL:path}: there is no part URL; there are ADDRESS, ADDRESSES, WORD"},
		{"an unknown field", `%{CLF:time} %{WORD:adress}`, "%{WORD:adress}: there is no such field"},
		{"an unknown group", `%{CLF:time} (?P<adress>x)`, "adress: there is no such field"},
		{"a derived field", `%{CLF:time} (?P<country>x)`, "country: this field is derived by Weir"},
		{"attributes", `%{CLF:time} %{WORD:attrs}`, "this field cannot be mapped"},
		{"a part that is not closed", `%{CLF:time`, "the closing } is missing"},
		{"a field in two ways", `(?:%{CLF:time}|%{SECONDS:time}) (?P<path>a)?(?P<path>b)?`, ""},
		{"a group without a name", `%{CLF:time} (?P<>a)`, "a group's name is a field's"},
		{"a unit of what has none", `%{CLF:time} %{SECONDS:path}`, "path: unit \"s\": this field is neither a time nor a duration"},
		{"a time as a duration", `%{CLF:time} %{RFC3339:latency_us}`, "latency_us: unit rfc3339: this field is a duration"},
		{"a request into a field", `%{CLF:time} %{REQUEST:path}`, "a request line becomes method and path"},
		{"another part as the request", `%{CLF:time} %{WORD:request}`, "the request line is %{REQUEST}"},
		{"look-ahead", `%{CLF:time}(?=x)`, "without look-around"},
		{"a bracket alone", `[%{CLF:time}`, `a bracket that stands for itself is written \[`},
		{"too long", long, "is 4097 bytes long; 4096 are allowed"},
		{"too large", `%{CLF:time}a{0,1000}b{0,1000}c{0,1000}d{0,1000}`, "is too large"},
		{"two things at once", `%{URL:path} %{WORD:adress}`, "%{WORD:adress}: there is no such field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Config{Name: "pattern", Pattern: c.pattern}.New()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestAPatternMatchesTheWholeLine(t *testing.T) {
	f, err := Config{Name: "pattern", Pattern: `(?P<time>\d+) (?P<path>a|ab)(?P<id>x)?`}.New()
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"1795428303000 ab\r\n": "ab", "1795428303000 a": "a", "1795428303000 abc": "", "x1795428303000 a": "", "1795428303000 a\nb": "", "1795428303 a": "",
	} {
		var e event.Event
		err := f.Decode([]byte(line), &e)
		var refusal *event.Refusal
		if (err == nil) != (want != "") || err == nil && e.Text(event.Path) != want || err != nil && !errors.As(err, &refusal) {
			t.Errorf("%q: %s, %v", line, e.AppendAll(nil), err)
		}
	}
	if !f.HasID() {
		t.Error("a pattern with an id has none")
	}
}

func TestAFieldOfAPatternMayBeWrittenInSeveralWays(t *testing.T) {
	f, err := Config{Name: "pattern", Pattern: `(?:%{CLF:time}|%{SECONDS:time}|%{MILLIS:time}m) (?P<path>a)?(?P<path>.*)`}.New()
	if err != nil {
		t.Fatal(err)
	}
	for line, path := range map[string]string{
		"23/Nov/2026:10:05:03 +0000 ab": "a", "1795428303 b": "b", "1795428303000m b": "b", "1795428303.0 ": "",
	} {
		var e event.Event
		if err := f.Decode([]byte(line), &e); err != nil || e.Num(event.Time) != 1795428303000 || e.Text(event.Path) != path {
			t.Errorf("%s: %s, %v", line, e.AppendAll(nil), err)
		}
	}
}

// A line that does not match costs time in proportion to its length.
func TestAPatternReadsALongLine(t *testing.T) {
	f := testFormat(t, "pattern")
	agent := strings.Repeat(`\x22`, MaxBytes/8)
	e := event.Event{}
	err := f.Decode([]byte(`- 192.0.2.7 - [15/Sep/2026:16:13:46 +0000] "GET / HTTP/1.1" 200 0 "`+agent+`" auth=-`), &e)
	if err != nil || e.Text(event.IP) != "192.0.2.7" || len(e.Text(event.UserAgent)) != event.UserAgent.Spec().MaxBytes {
		t.Errorf("%v: %d bytes", err, len(e.Text(event.UserAgent)))
	}
}
