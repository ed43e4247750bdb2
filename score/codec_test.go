package score

import (
	"errors"
	"strings"
	"testing"

	"github.com/weirdev/weir/internal/facet"
)

func testCodec() *Codec { return NewCodec(testSecret, "weir:risk") }

var exampleKey = testCodec().KeyOf(facet.IP, exampleDigest)

func sealed(text string) string {
	m := testCodec().codes.get()
	m.text = append(append(append(m.text, exampleKey...), 0), text...)
	return text + codeStart + string(m.tag()) + codeEnd
}

func TestTheFormIsHeldToWhateverTheCode(t *testing.T) {
	good := string(mustAppend(t, example()))
	open := good[:len(good)-codeLen]
	change := func(old, new string) string {
		t.Helper()
		if !strings.Contains(open, old) {
			t.Fatalf("%q is not in %s", old, open)
		}
		return sealed(strings.Replace(open, old, new, 1))
	}
	if _, err := testCodec().Parse(exampleKey, sealed(open)); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	for name, bad := range map[string]string{
		"nothing":                       "",
		"only a position":               good[:PositionLen],
		"only a position, sealed":       sealed(good[:PositionLen]),
		"no code":                       open + "}",
		"cut short":                     good[:len(good)-1],
		"something behind it":           good + " ",
		"upper-case hexadecimal":        sealed(strings.ToUpper(open[:PositionLen]) + open[PositionLen:]),
		"blanks in JSON":                change(`"x":`, `"x": `),
		"a negative number":             change(`"h":1800`, `"h":-1800`),
		"a weight below -100":           change(`"w":80`, `"w":-101`),
		"a weight of minus nothing":     change(`"w":80`, `"w":-0`),
		"a weight with two signs":       change(`"w":80`, `"w":--80`),
		"any category of what raises":   change(`"c":"scraping"`, `"c":"any"`),
		"a leading zero of two digits":  change(`"w":80`, `"w":08`),
		"a leading zero":                change(`"w":80`, `"w":080`),
		"a fraction":                    change(`"w":80`, `"w":80.0`),
		"a weight above 100":            change(`"w":80`, `"w":101`),
		"no weight":                     change(`"w":80`, `"w":0`),
		"a huge number":                 change(`"h":1800`, `"h":99999999999999999999`),
		"a huge expiry":                 change(`"x":1732011378977`, `"x":99999999999999999999`),
		"a negative expiry":             change(`"x":1732011378977`, `"x":-1`),
		"an expiry that is no number":   change(`"x":1732011378977`, `"x":nan`),
		"an expiry with an exponent":    change(`"x":1732011378977`, `"x":1e300`),
		"an expiry beyond year 9999":    change(`"x":1732011378977`, `"x":253402300800000`),
		"no expiry":                     change(`"x":1732011378977`, `"x":`),
		"an unknown kind":               change(`"k":"ip"`, `"k":"planet"`),
		"an unknown phase":              change(`"p":"enforce"`, `"p":"eager"`),
		"an unknown member":             change(`"s":[`, `"z":1,"s":[`),
		"rules out of order":            change("credential-stuffing-ip", "zzz"),
		"one rule twice":                change("credential-stuffing-ip", "scraping-breadth"),
		"an escape":                     change("many_accounts", `many\u005faccounts`),
		"a digest of other bytes":       change(`"id":"`, `"id":"!`),
		"another entity than its key's": change(exampleDigest, strings.Repeat("a", DigestLen)),
		"another kind than its key's":   change(`"k":"ip"`, `"k":"net"`),
		"an offset beyond 63 bits":      sealed(open[:8] + "ffffffffffffffff" + open[24:]),
		"an index beyond 31 bits":       sealed(open[:24] + "ffffffff" + open[32:]),
		"a version that is no number":   change(`"v":3`, `"v":x`),
		"longer than allowed":           sealed(open + strings.Repeat(" ", MaxValueBytes)),
		"one contribution too many":     sealed(open[:strings.Index(open, "[")+1] + manyContributions(MaxContributions+1) + "]"),
		"bytes that are no text":        "\xff\xfe\x00",
	} {
		t.Run(name, func(t *testing.T) {
			if v, err := testCodec().Parse(exampleKey, bad); !errors.Is(err, ErrValue) {
				t.Errorf("taken: %+v, %v", v, err)
			}
		})
	}
}

func manyContributions(n int) string {
	var list []string
	for i := range n {
		c := Contribution{Rule: string(rune('a' + i)), Category: "bot", Reason: "why", Weight: 1, HalfLife: 1}
		list = append(list, string(c.append(nil)))
	}
	return strings.Join(list, ",")
}

func TestAsManyContributionsAsAreAllowedAreRead(t *testing.T) {
	good := string(mustAppend(t, example()))
	v, err := testCodec().Parse(exampleKey, sealed(good[:strings.Index(good, "[")+1]+manyContributions(MaxContributions)+"]"))
	if err != nil || len(v.Contributions) != MaxContributions {
		t.Errorf("%d, %v", len(v.Contributions), err)
	}
}

func TestNothingOfAValueIsBelievedWithoutItsCode(t *testing.T) {
	good := string(mustAppend(t, example()))
	v1 := strings.Replace(good[:len(good)-codeLen]+"}", `"v":3`, `"v":1`, 1)
	other := example()
	other.Digest = strings.Repeat("a", DigestLen)
	for _, tc := range []struct {
		name, key, text string
		want            error
	}{
		{"a greater position", exampleKey, "ffffffff" + good[8:], ErrForged},
		{"a later expiry", exampleKey, strings.Replace(good, `"x":1`, `"x":9`, 1), ErrForged},
		{"a smaller weight", exampleKey, strings.Replace(good, `"w":80`, `"w":10`, 1), ErrForged},
		{"another code", exampleKey, good[:len(good)-3] + "q" + codeEnd, ErrForged},
		{"the code of nobody", exampleKey, good[:len(good)-codeLen] + codeStart + strings.Repeat("a", DigestLen) + codeEnd, ErrForged},
		{"another entity's value", exampleKey, string(mustAppend(t, other)), ErrForged},
		{"the same entity's in another stream", "other:risk" + strings.TrimPrefix(exampleKey, "weir:risk"), good, ErrForged},
		{"version 1, which had no code", exampleKey, v1, ErrVersion},
		{"a later version without a code", exampleKey, strings.Replace(good, `"v":3`, `"v":4`, 1), ErrVersion},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.text == good && tc.key == exampleKey {
				t.Fatal("nothing was changed")
			}
			if v, err := testCodec().Parse(tc.key, tc.text); !errors.Is(err, tc.want) || v.Kind != 0 {
				t.Errorf("parse: %+v, %v", v, err)
			}
			if h, err := testCodec().Head(tc.key, tc.text); !errors.Is(err, tc.want) || h != (Head{}) {
				t.Errorf("head: %+v, %v", h, err)
			}
		})
	}
	if _, err := NewCodec([]byte("another secret altogether"), "weir:risk").Parse(exampleKey, good); !errors.Is(err, ErrForged) {
		t.Errorf("with another secret: %v", err)
	}
}

func TestALaterVersionIsComparedThoughNotRead(t *testing.T) {
	text := sealed(`00000001000000000000000500000002 {"v":4,"x":1732011378977,"new":[true]`)
	h, err := testCodec().Head(exampleKey, text)
	if want := (Head{Position{Incarnation: 1, Offset: 5, Index: 2}, 1_732_011_378_977, 4}); err != nil || h != want {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := testCodec().Parse(exampleKey, text); !errors.Is(err, ErrVersion) {
		t.Errorf("parse: %v", err)
	}
	bare := `00000001000000000000000500000002 {"v":4,"x":1`
	if h, err := testCodec().Head(exampleKey, sealed(bare)); err != nil || h.Version != 4 {
		t.Errorf("with nothing else in it: %+v, %v", h, err)
	}
}

func TestDigestsTellKindTenantAndKeyApart(t *testing.T) {
	seen := map[string]facet.Entity{}
	for _, e := range []facet.Entity{
		{Kind: facet.Account, Key: "ab"}, {Kind: facet.Account, Tenant: "a", Key: "b"}, {Kind: facet.Device, Key: "ab"},
		{Kind: facet.Account, Tenant: "ab", Key: ""}, {Kind: facet.Account, Tenant: "", Key: "ab "},
	} {
		d := testCodec().Digest(e)
		if other, dup := seen[d]; dup {
			t.Errorf("%+v and %+v share %s", e, other, d)
		}
		if !isDigest(d) {
			t.Errorf("%q is no digest", d)
		}
		seen[d] = e
	}
	e := facet.Entity{Kind: facet.IP, Tenant: "shop", Key: "203.0.113.9"}
	// Worked out by the program in docs/redis.md.
	if got, want := testCodec().Key(e), "weir:risk:ip:{"+exampleDigest+"}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if NewCodec([]byte("another"), "weir:risk").Digest(e) == exampleDigest {
		t.Error("the secret does not matter")
	}
}

func FuzzParseValue(f *testing.F) {
	good := mustAppend(f, example())
	f.Add(string(good))
	f.Add(string(good[:len(good)-codeLen]))
	f.Add(string(good[:40]))
	cleared := example()
	cleared.Contributions = nil
	f.Add(string(mustAppend(f, cleared)))
	f.Add(strings.Replace(string(good[:len(good)-codeLen]), `"w":80`, `"w":-80`, 1))
	f.Add(`00000001000000000000000100000001 {"v":4,"x":1`)
	f.Add(strings.Replace(string(good[:len(good)-codeLen])+"}", `"v":3`, `"v":1`, 1))
	f.Add(`00000001000000000000000100000001 {"v":3,"x":99999999999999999999,"k":"ip","id":"` + exampleDigest + `","s":[]`)
	c := testCodec()
	f.Fuzz(func(t *testing.T, text string) {
		for _, text := range []string{text, sealed(text)} {
			v, err := c.Parse(exampleKey, text)
			h, headErr := c.Head(exampleKey, text)
			if err != nil {
				if !errors.Is(err, ErrValue) && !errors.Is(err, ErrForged) && !errors.Is(err, ErrVersion) {
					t.Fatalf("an error of no kind: %v", err)
				}
				continue
			}
			if headErr != nil || h != (Head{v.Position, v.Expires, version}) {
				t.Fatalf("%q: head %+v, %v", text, h, headErr)
			}
			again, err := c.Append(nil, v)
			if err != nil || string(again) != text {
				t.Fatalf("%q was taken, but is written as %q (%v)", text, again, err)
			}
			if s := At(v.Contributions, v.Expires); s.Total > Full {
				t.Fatalf("total %d", s.Total)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	c, v, buf := testCodec(), example(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = c.Append(buf[:0], v)
	}
}

func BenchmarkParse(b *testing.B) {
	c, text := testCodec(), string(mustAppend(b, example()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Parse(exampleKey, text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	c, e := testCodec(), facet.Entity{Kind: facet.IP, Key: "203.0.113.9"}
	b.ReportAllocs()
	for b.Loop() {
		_ = c.Digest(e)
	}
}
