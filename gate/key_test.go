package gate

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
)

// counter is the part of ingest that finds an event's entities.
type counter struct {
	format format.Format
	enrich *ingest.Enricher
	event  event.Event
}

func newCounter(t testing.TB) *counter {
	t.Helper()
	weir, err := format.New("weir", nil)
	if err != nil {
		t.Fatal(err)
	}
	enrich, err := ingest.NewEnricher(ingest.Defaults(), geo.Nowhere{})
	if err != nil {
		t.Fatal(err)
	}
	return &counter{format: weir, enrich: enrich}
}

// key returns the key of an entity in an event with these members; "" if the event
// is refused or has none.
func (c *counter) key(kind facet.Kind, members string) string {
	if c.format.Decode([]byte(`{"id":"1","time":1795428303000,`+members+`}`), &c.event) != nil {
		return ""
	}
	c.enrich.Complete(&c.event, 0, 0, nil)
	e, _ := facet.EntityOf(kind, &c.event, nil)
	return strings.Clone(e.Key)
}

// asked returns the key of an entity in a question; "" if there is none.
func asked(t testing.TB, kind facet.Kind, tenant, value string) string {
	t.Helper()
	req, err := ParseRequest([]byte(`{` + tenant + `"entities":{"` + kind.String() + `":` + value + `}}`))
	if err != nil {
		if kind != facet.Tenant {
			t.Fatalf("%s %.100q: %v", kind, value, err)
		}
		return ""
	}
	for _, e := range req.Entities {
		if e.Kind == kind {
			return e.Key
		}
	}
	return ""
}

// sameKey checks that a text names the same entity in an event and in a question.
func sameKey(t testing.TB, c *counter, text string) {
	t.Helper()
	members := map[facet.Kind][]string{
		facet.Account: {"account"}, facet.Session: {"session"}, facet.Token: {"token", "token_family"}, facet.Device: {"device"},
		facet.JA4: {"ja4"}, facet.Route: {"route"},
	}
	for _, value := range quotedWays(text) {
		for kind, names := range members {
			for _, name := range names {
				if counted, looked := c.key(kind, `"`+name+`":`+value), asked(t, kind, "", value); counted != looked || counted == "" && text != "" {
					t.Fatalf("%s %.200s is counted as %.80q, and looked up as %.80q", name, value, counted, looked)
				}
			}
		}
		if counted, looked := c.key(facet.Tenant, `"tenant":`+value), asked(t, facet.Tenant, `"tenant":`+value+`,`, value); counted != looked {
			t.Fatalf("tenant %.200s is counted as %.80q, and looked up as %.80q", value, counted, looked)
		}
		if counted, looked := c.key(facet.IP, `"ip":`+value), asked(t, facet.IP, "", value); counted != "" && counted != looked {
			t.Fatalf("address %.200s is counted as %.80q, and looked up as %.80q", value, counted, looked)
		}
		sameBuild(t, c, value)
	}
}

// sameBuild tries a text as version and as model.
func sameBuild(t testing.TB, c *counter, value string) {
	t.Helper()
	bare := value[1 : len(value)-1]
	if strings.Contains(bare, "|") { // in a version: the two parts cannot be told apart
		bare = strings.ReplaceAll(bare, "|", "/")
	}
	for _, build := range [][2]string{{bare, "Pixel 9"}, {"4.2.0", bare}, {bare, bare}} {
		counted := c.key(facet.Build, `"app_version":"`+build[0]+`","device_model":"`+build[1]+`"`)
		if looked := asked(t, facet.Build, "", `"`+build[0]+`|`+build[1]+`"`); counted != looked {
			t.Fatalf("build %.200q is counted as %.80q, and looked up as %.80q", build, counted, looked)
		}
	}
}

// quotedWays returns different JSON encodings of a text.
func quotedWays(text string) []string {
	var escaped, least strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			escaped.WriteString(`\` + string(rune(c)))
			least.WriteString(`\` + string(rune(c)))
		case c < ' ':
			fmt.Fprintf(&escaped, `\u%04x`, c)
			least.WriteByte(c)
		default:
			escaped.WriteByte(c)
			least.WriteByte(c)
		}
	}
	return []string{`"` + escaped.String() + `"`, `"` + least.String() + `"`}
}

var oddTexts = []string{
	"", "a", "203.0.113.9", "::ffff:203.0.113.9", "2001:db8:1:2:3::4", "2001:db8:1:2::/64", "unknown", "::", "224.0.0.1", "64:ff9b::c000:207", "\x00", "a\x00b", "\xff", "\xed\xa0\x80",
	"\ufffd", "\x7f", "é日😀", "a|b", "|", "~", " ", "-", "\n",
}

func TestAnEntityIsLookedUpUnderTheKeyThatItIsCountedUnder(t *testing.T) {
	c := newCounter(t)
	for _, text := range oddTexts {
		sameKey(t, c, text)
		for _, n := range []int{31, 32, 63, 64, 65, 127, 128, 129, 222, 223, 224, 255, 256, 257, 512, 513, 5000} {
			long := strings.Repeat(text+"x", n)[:n]
			sameKey(t, c, long)
			sameKey(t, c, long+text)
		}
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		b := make([]byte, rng.IntN(700))
		for i := range b {
			b[i] = byte(rng.UintN(256))
			if rng.IntN(2) == 0 {
				b[i] = 'a' + b[i]%26
			}
		}
		sameKey(t, c, string(b))
	}
}

func FuzzKeysOfEventsAndQuestions(f *testing.F) {
	for _, text := range oddTexts {
		f.Add(text)
	}
	c := newCounter(f)
	f.Fuzz(func(t *testing.T, text string) { sameKey(t, c, text) })
}

// Two names are two entities, in a question as in an event.
func TestDifferentNamesAreDifferentEntities(t *testing.T) {
	names := map[string]string{}
	for _, text := range []string{
		strings.Repeat("a", 256), strings.Repeat("a", 257), strings.Repeat("a", 258), "a\x00", `a\x00`, "a\xff", "a\xfe", "\xed\xa0\x80", "\xed\xa0\x81", "\ufffd", "a", "A",
	} {
		key := asked(t, facet.Account, "", quotedWays(text)[0])
		if before, there := names[key]; there {
			t.Errorf("%.20q and %.20q are both %.80q", before, text, key)
		}
		names[key] = text
	}
}
