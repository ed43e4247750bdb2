package control

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weirdev/weir/internal/facet"
)

func sample() Record {
	return Record{
		Version: Version, ID: "c-7", Action: "false_positive", Time: 1_763_892_000_123, Tenant: "shop", Kind: "account", Key: "alice",
		Rule: "login-failures-account", Who: "ann", Reason: "a phone with an old password", Expires: 1_766_484_000_123,
	}
}

func TestARecordIsReadBack(t *testing.T) {
	want := sample()
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(b)
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if e, c := got.Entity(), got.Facet(); !reflect.DeepEqual(e, facet.Entity{Kind: facet.Account, Tenant: "shop", Key: "alice"}) ||
		c != (facet.Control{Action: facet.FalsePositive, Rule: "login-failures-account", Expires: want.Expires}) {
		t.Errorf("its facet is %+v of %+v", c, e)
	}
}

func TestWhatIsNoRecordIsRefusedWithAReason(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Record)
		want   string
	}{
		"another origin":               {func(r *Record) { r.Origin = "moon" }, `origin "moon"`},
		"an action of gates":           {func(r *Record) { r.Gate = "deny" }, "only gate_block does"},
		"a long key":                   {func(r *Record) { r.Key = strings.Repeat("x", MaxWhy+1) }, "too long"},
		"another action":               {func(r *Record) { r.Action = "explode" }, `action "explode"`},
		"no id":                        {func(r *Record) { r.ID = "" }, "1 to 64 letters"},
		"an id with blanks":            {func(r *Record) { r.ID = "a b" }, "1 to 64 letters"},
		"a long id":                    {func(r *Record) { r.ID = strings.Repeat("x", MaxID+1) }, "1 to 64 letters"},
		"no time":                      {func(r *Record) { r.Time = 0 }, "outside 1970"},
		"another kind":                 {func(r *Record) { r.Kind = "planet" }, `no kind of entity "planet"`},
		"no key":                       {func(r *Record) { r.Key = "" }, "no key"},
		"a key in another form":        {func(r *Record) { r.Kind, r.Key = "ip", "::ffff:203.0.113.9" }, "no key"},
		"a long tenant":                {func(r *Record) { r.Tenant = strings.Repeat("x", 256) }, "a tenant of 256 bytes"},
		"nobody says it":               {func(r *Record) { r.Who = "" }, "who says it"},
		"no reason":                    {func(r *Record) { r.Reason = "" }, "who says it"},
		"a long reason":                {func(r *Record) { r.Reason = strings.Repeat("x", MaxWhy+1) }, "too long"},
		"a release of a rule":          {func(r *Record) { r.Action, r.Expires = "release", 0 }, "names a rule"},
		"a label with a category":      {func(r *Record) { r.Category = "bot" }, "names a category"},
		"no expiry":                    {func(r *Record) { r.Expires = 0 }, "expires 0"},
		"an expiry before the label":   {func(r *Record) { r.Expires = r.Time - 1 }, "from the time of the label"},
		"an expiry in years":           {func(r *Record) { r.Expires = r.Time + Longest*1000 + 1 }, "8784h0m0s later"},
		"a true positive that expires": {func(r *Record) { r.Action = "true_positive" }, "only false positives have one"},
	} {
		r := sample()
		tc.change(&r)
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	for _, text := range []string{"", "null", "[", `{"v":2}`, `{"v":1}`, strings.Repeat(" ", MaxBytes+1)} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%.20q is accepted", text)
		}
	}
}

// FuzzParse: what is accepted is the same when it is written and read again.
func FuzzParse(f *testing.F) {
	b, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(b), `{"v":1,"id":"a","action":"release","time":1,"entity_kind":"ip","entity":"192.0.2.1","who":"a","reason":"b"}`, `{"v":1e400}`, strings.Repeat("[", 9_000)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("an error that cannot be printed: %q", err)
			}
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(again)
		if len(again) <= MaxBytes && (err != nil || got != r) {
			t.Fatalf("%+v is read again as %+v, %v", r, got, err)
		}
	})
}
