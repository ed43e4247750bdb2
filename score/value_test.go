package score

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

var update = flag.Bool("update", false, "rewrite golden files")

var testSecret = []byte("an example, never a real secret!")

// exampleDigest was worked out in Python.
const exampleDigest = "3n34ynbtpuyx4n5cqfgu"

func example() Value {
	return Value{
		Kind:     facet.IP,
		Digest:   exampleDigest,
		Position: Position{Incarnation: 1, Offset: 123_456_789, Index: 42},
		Expires:  1_732_011_378_977,
		Contributions: []Contribution{
			{Rule: "credential-stuffing-ip", Category: "account_takeover", Reason: "many_accounts", Phase: rules.Enforce, Weight: 80, HalfLife: 1800, Time: 1_732_000_000_000},
			{Rule: "scraping-breadth", Category: "scraping", Reason: "many_objects", Phase: rules.Observe, Weight: 30, HalfLife: 600, Time: 1_732_000_001_500},
			{Rule: "signed-in-at-home", Category: "any", Reason: "known_place", Phase: rules.Soft, Lowers: true, Weight: 25, HalfLife: 3600, Time: 1_732_000_002_000},
		},
	}
}

// sealed gives a text the code that belongs to it under the example's key, as
// only a holder of the secret can.
func mustAppend(t testing.TB, v Value) []byte {
	t.Helper()
	b, err := testCodec().Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheStoredFormDoesNotChange(t *testing.T) {
	cleared := example()
	cleared.Contributions = nil
	got := append(append(mustAppend(t, example()), '\n'), mustAppend(t, cleared)...)
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile("testdata/value.golden", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/value.golden")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	first, _, _ := strings.Cut(string(want), "\n")
	_, text, _ := strings.Cut(first, " ")
	var j struct {
		S []struct{ R string }
	}
	if err := json.Unmarshal([]byte(text), &j); err != nil || len(j.S) != 3 {
		t.Errorf("not JSON as others read it: %v", err)
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := Value{
			Kind:   rapid.SampledFrom(facet.Kinds()).Draw(t, "kind"),
			Digest: rapid.StringMatching(`[a-z2-7]{20}`).Draw(t, "digest"),
			Position: Position{
				Incarnation: uint64(rapid.Uint32().Draw(t, "incarnation")),
				Offset:      rapid.Int64Min(0).Draw(t, "offset"), Index: rapid.Int32Min(0).Draw(t, "index"),
			},
			Expires:       rapid.Int64Range(0, maxMillis).Draw(t, "expires"),
			Contributions: slices.Clip(drawList(t)),
		}
		if len(v.Contributions) == 0 {
			v.Contributions = nil
		}
		c := testCodec()
		b, err := c.Append([]byte("x"), v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Parse(c.KeyOf(v.Kind, v.Digest), string(b[1:]))
		if err != nil || !reflect.DeepEqual(got, v) {
			t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, v)
		}
	})
}

func TestPositionsCompareAsText(t *testing.T) {
	draw := func(t *rapid.T, which string) Position {
		return Position{
			Incarnation: rapid.Uint64Range(0, 1<<32-1).Draw(t, which),
			Offset:      rapid.Int64Range(0, 1<<62).Draw(t, which), Index: rapid.Int32Range(0, 1<<30).Draw(t, which),
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		p, q := draw(t, "p"), draw(t, "q")
		a, err1 := AppendPosition(nil, p)
		b, err2 := AppendPosition(nil, q)
		if err1 != nil || err2 != nil || len(a) != PositionLen {
			t.Fatal(err1, err2, len(a))
		}
		if got := bytes.Compare(a, b) < 0; got != p.Less(q) {
			t.Fatalf("%s < %s is %v, positions say %v", a, b, got, p.Less(q))
		}
	})
}

func TestWhatCannotBeReadBackIsNotWritten(t *testing.T) {
	for name, spoil := range map[string]func(*Value){
		"an incarnation beyond 32 bits":   func(v *Value) { v.Position.Incarnation = 1 << 32 },
		"a negative offset":               func(v *Value) { v.Position.Offset = -1 },
		"a negative index":                func(v *Value) { v.Position.Index = -1 },
		"no kind":                         func(v *Value) { v.Kind = 0 },
		"an unknown kind":                 func(v *Value) { v.Kind = facet.MaxKind },
		"a short digest":                  func(v *Value) { v.Digest = "abc" },
		"a digest of other letters":       func(v *Value) { v.Digest = strings.Repeat("1", DigestLen) },
		"a negative expiry":               func(v *Value) { v.Expires = -1 },
		"an expiry beyond year 9999":      func(v *Value) { v.Expires = maxMillis + 1 },
		"rules out of order":              func(v *Value) { slices.Reverse(v.Contributions) },
		"the same rule twice":             func(v *Value) { v.Contributions[1].Rule = v.Contributions[0].Rule },
		"more contributions than allowed": func(v *Value) { v.Contributions = make([]Contribution, MaxContributions+1) },
		"a quote in a rule":               func(v *Value) { v.Contributions[0].Rule = `a"b` },
		"a line break in a reason":        func(v *Value) { v.Contributions[0].Reason = "a\nb" },
		"no category":                     func(v *Value) { v.Contributions[0].Category = "" },
		"a weight of nothing":             func(v *Value) { v.Contributions[0].Weight = 0 },
		"a weight above 100":              func(v *Value) { v.Contributions[0].Weight = 101 },
		"no half-life":                    func(v *Value) { v.Contributions[0].HalfLife = 0 },
		"a half-life above 30 days":       func(v *Value) { v.Contributions[0].HalfLife = maxHalfLife + 1 },
		"a time before 1970":              func(v *Value) { v.Contributions[0].Time = -1 },
		"any category of what raises":     func(v *Value) { v.Contributions[0].Category = rules.AnyCategory },
		"an unknown phase":                func(v *Value) { v.Contributions[0].Phase = 9 },
		"the phase behind the last":       func(v *Value) { v.Contributions[0].Phase = rules.Enforce + 1 },
		"a time beyond year 9999":         func(v *Value) { v.Contributions[0].Time = maxMillis + 1 },
		"a letter that is not ASCII":      func(v *Value) { v.Contributions[0].Reason = "ä" },
		"a delete character":              func(v *Value) { v.Contributions[0].Reason = "a\x7f" },
		"a name that is too long":         func(v *Value) { v.Contributions[0].Rule = strings.Repeat("a", maxName+1) },
	} {
		t.Run(name, func(t *testing.T) {
			v := example()
			spoil(&v)
			b, err := testCodec().Append([]byte("kept"), v)
			if !errors.Is(err, ErrValue) || string(b) != "kept" {
				t.Errorf("got %q, %v", b, err)
			}
		})
	}
}

func TestUpdatesAreCheckedBeforeTheyAreKept(t *testing.T) {
	good := Update{Entity: facet.Entity{Kind: facet.IP, Key: "192.0.2.1"}, Contributions: example().Contributions}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Update){
		"no entity":            func(u *Update) { u.Entity.Key = "" },
		"no kind":              func(u *Update) { u.Entity.Kind = 0 },
		"a bad position":       func(u *Update) { u.Position.Offset = -1 },
		"a bad expiry":         func(u *Update) { u.Expires = -1 },
		"an endless expiry":    func(u *Update) { u.Expires = maxMillis + 1 },
		"an unknown kind":      func(u *Update) { u.Entity.Kind = facet.MaxKind },
		"the same rule twice":  func(u *Update) { u.Contributions[1].Rule = u.Contributions[0].Rule },
		"a bad contribution":   func(u *Update) { u.Contributions[0].Weight = 0 },
		"an unordered list":    func(u *Update) { slices.Reverse(u.Contributions) },
		"too many of them all": func(u *Update) { u.Contributions = make([]Contribution, MaxContributions+1) },
	} {
		t.Run(name, func(t *testing.T) {
			u := good
			u.Contributions = slices.Clone(good.Contributions)
			spoil(&u)
			if err := u.Check(); !errors.Is(err, ErrValue) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestTheFormIsHeldToWhateverTheCode: a value is read in one spelling only, even
// where its code is right.
// TestNothingOfAValueIsBelievedWithoutItsCode: neither by readers nor by the
// writer, who asks for position and expiry alone.
// TestALaterVersionIsComparedThoughNotRead: old and new workers may write side by
// side while a deployment rolls.
// TestTheLargestScoreFits: what passes [Update.Check] can be stored, or its
// partition would try for ever.
func TestTheLargestScoreFits(t *testing.T) {
	name := strings.Repeat("z", maxName-1)
	u := Update{
		Entity:   facet.Entity{Kind: facet.Session, Key: "k"},
		Position: Position{Incarnation: 1<<32 - 1, Offset: 1<<63 - 1, Index: 1<<31 - 1}, Expires: maxMillis,
	}
	for i := range MaxContributions {
		u.Contributions = append(u.Contributions, Contribution{
			Rule: string(rune('a'+i)) + name, Category: "z" + name, Reason: "z" + name, Phase: rules.Observe, Lowers: true,
			Weight: 100, HalfLife: maxHalfLife, Time: maxMillis,
		})
	}
	if err := u.Check(); err != nil {
		t.Fatal(err)
	}
	c := testCodec()
	v := Value{Kind: u.Entity.Kind, Digest: c.Digest(u.Entity), Position: u.Position, Expires: u.Lasts(), Contributions: u.Contributions}
	b, err := c.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Parse(c.Key(u.Entity), string(b)); err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%v: %+v", err, got)
	}
}

func TestSignalsAreReadBackFromTheirLog(t *testing.T) {
	s := Signal{
		Position: Position{Incarnation: 1, Partition: 2, Offset: 3, Index: 4},
		Rule:     "credential-stuffing-ip", RulesVersion: "0123456789abcdef", Category: "account_takeover", Reason: "many_accounts",
		Entity: facet.Entity{Kind: facet.IP, Tenant: "shop", Key: "203.0.113.9"}, Weight: 80, HalfLife: 30 * time.Minute,
		Phase: rules.Enforce, Lowers: true, Clears: true, Asks: rules.Revoke | rules.Notify, Tier: 1, Evidence: []facet.Evidence{facet.Number("accounts", 31)}, Time: 1_732_000_000_000, Source: 5, SourceOffset: 6, Late: true,
	}
	b, err := json.Marshal(&s)
	if err != nil {
		t.Fatal(err)
	}
	var got Signal
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, s)
	}
	if want := `"lowers":true,"clears":true,"asks":["revoke","notify"]`; !strings.Contains(string(b), want) {
		t.Errorf("%s is not in %s", want, b)
	}
	if err := json.Unmarshal([]byte(`{"entity_kind":"ip","asks":["reward"]}`), &got); err == nil {
		t.Error("asks for something unknown were taken")
	}
	if want := `"id":"1-2-3-4-credential-stuffing-ip"`; !strings.Contains(string(b), want) {
		t.Errorf("%s is not in %s", want, b)
	}
	if err := json.Unmarshal([]byte(`{"entity_kind":"planet"}`), &got); err == nil {
		t.Error("an unknown kind was taken")
	}
	if c := s.Contribution(); c.HalfLife != 1800 || c.check() != nil {
		t.Errorf("contribution %+v", c)
	}
}

// FuzzParse takes texts as they are, and with the code that belongs to them, so
// that what is behind the code is reached as well.
