package console

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestEvidenceInWords(t *testing.T) {
	for _, c := range []struct {
		evidence, counted string
		want              []string
	}{
		{`{"count":12,"threshold":10,"matching":20,"share_percent":60,"window_ms":600000,"first_ms":1795980417000,"last_ms":1795980422000}`, "",
			[]string{"events counted: 12, and the rule asks for 10", "events that match: 20", "share of those that match: 60 %", "within: 10 min", "from 2026-11-29 19:26:57 UTC to 2026-11-29 19:27:02 UTC"}},
		{`{"distinct":12,"threshold":10}`, "account", []string{"different values of account: 12, and the rule asks for 10"}},
		{`{"speed_kmh":2000,"threshold_kmh":1000,"distance_km":500,"elapsed_ms":900000,"from":{"latitude_udeg":-33868800,"longitude_udeg":151209300,"radius_km":20},"from_event":{"partition":3,"offset":7,"time":1795980417000},"from_country":"AU"}`, "",
			[]string{"2000 km/h, and nobody travels faster than 1000 km/h", "distance: 500 km", "time between: 15 min", "from: 33.87° S 151.21° E, within 20 km", "from event: 2026-11-29 19:26:57 UTC", "from country: AU"}},
		{`{"median_ms":250,"spread_percent":3}`, "", []string{"median: 250 ms", "spread: 3 %"}},
		{`{}`, "", nil},
		{`{"a":[1]}`, "", []string{"a: [1]"}},
		{`nonsense`, "", nil},
	} {
		facts := words(c.evidence, place{Stream: "weir", Incarnation: 1}, c.counted)
		var got []string
		for _, f := range facts {
			got = append(got, f.Text)
			if strings.HasPrefix(f.Text, "from event") && (f.Event == nil || *f.Event != (place{"weir", 1, 3, 7})) {
				t.Errorf("%v", f.Event)
			}
		}
		if strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s:\n%q\nwant\n%q", c.evidence, got, c.want)
		}
	}
}

func TestWhatWouldHaveKeptARuleFromFiring(t *testing.T) {
	for evidence, want := range map[string]string{
		`{"count":12,"threshold":10}`:       "If the rule asked for 13 instead of 10, it would not have fired here.",
		`{"matching":9,"share_percent":60}`: "",
		`{"count":1,"threshold":10}`:        "",
		`x`:                                 "",
	} {
		if got := otherwise(evidence); got != want {
			t.Errorf("%s: %q", evidence, got)
		}
	}
}

func FuzzWords(f *testing.F) {
	f.Add(`{"count":12,"threshold":10,"first_ms":1,"last_ms":2,"a":{"latitude_udeg":1}}`)
	f.Add(`{"a":{"partition":-1,"offset":-5},"b":"\u202e","c":null,"d":1e400}`)
	f.Fuzz(func(t *testing.T, evidence string) {
		for _, fact := range words(evidence, place{}, "") {
			_ = bdi(fact.Text)
		}
		_ = otherwise(evidence)
	})
}

func TestSpans(t *testing.T) {
	at := time.Date(2026, 11, 29, 18, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		query, want string
		lasts       time.Duration
	}{
		{"", "", 24 * time.Hour}, {"for=1h", "", time.Hour}, {"for=2h", `"2h" is none`, 0},
		{"from=2026-11-01T10:00&to=2026-11-01T12:30", "", 150 * time.Minute},
		{"from=2026-11-02T10:00&to=2026-11-01T12:30", "not after", 0},
		{"from=2020-11-02T10:00&to=2026-11-01T12:30", "at most 92 days", 0},
		{"from=yesterday&to=today", "no moment", 0}, {"from=2026-11-01T10:00", "no moment", 0},
	} {
		q, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseSpan(q, at)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || err == nil && s.To.Sub(s.From) != c.lasts {
			t.Errorf("%s: %v %v", c.query, s, err)
		}
		if err != nil {
			continue
		}
		again, err := parseSpan(s.Query(), at)
		if err != nil || again != s {
			t.Errorf("%s: %v is not %v (%v)", c.query, again, s, err)
		}
		if bars := int64(c.lasts/time.Second) / s.step(); bars > 61 {
			t.Errorf("%s: %d bars", c.query, bars)
		}
	}
}

func TestScoreOverTime(t *testing.T) {
	of := span{From: now.Add(-time.Hour), To: now}
	at := func(before time.Duration, weight, lowers, clears uint8) signal {
		return signal{Rule: "r", Category: "bot", Phase: "enforce", Weight: weight, HalfLife: 600, Lowers: lowers, Clears: clears, Time: now.Add(-before)}
	}
	c := scoreChart(of, []signal{at(2*time.Hour, 100, 0, 0), at(30*time.Minute, 80, 0, 0), at(10*time.Minute, 0, 0, 1)}, nil)
	if !strings.Contains(c.Label, "highest 80 at 2026-11-29 17:30:00 UTC, 0 at the end; 1 signals") || len(c.Marks) != 1 || len(c.Lines) != 2 {
		t.Errorf("%s, %d marks", c.Label, len(c.Marks))
	}
	if !strings.HasPrefix(c.Lines[1].Points, "44,153.7") { // 1.6 points of the first signal are left
		t.Errorf("it begins at %.20s", c.Lines[1].Points)
	}
	label := spokenRow{Action: falsePositive, Rule: "r", Time: now.Add(-20 * time.Minute)}
	held := at(15*time.Minute, 0, 0, 0)
	if c := scoreChart(of, []signal{at(30*time.Minute, 80, 0, 0), held}, []spokenRow{label}); !strings.Contains(c.Label, "highest 80") || !strings.Contains(c.Label, "0 at the end") {
		t.Errorf("after a label: %s", c.Label)
	}
	if empty := scoreChart(of, nil, nil); !strings.Contains(empty.Label, "highest 0") {
		t.Error(empty.Label)
	}
}
