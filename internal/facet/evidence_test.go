package facet

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func someEvidence() []Evidence {
	return []Evidence{
		Number("count", -3), Text("agent", `cu"rl`), Place("from", 52_520_000, -13_405_000, 20), EventAt("last", 3, 99, 1_700_000_000_000),
	}
}

func TestEvidenceIsReadBackFromTheSignalLog(t *testing.T) {
	text, err := json.Marshal(someEvidence())
	if err != nil {
		t.Fatal(err)
	}
	var back []Evidence
	if err := json.Unmarshal(text, &back); err != nil || !slices.Equal(back, someEvidence()) {
		t.Errorf("%s is read as %v, %v", text, back, err)
	}
	if err := json.Unmarshal([]byte(`[{"name":"x"}]`), &back); err == nil {
		t.Error("evidence that says nothing is taken")
	}
}

func TestEvidenceIsShownAsOneObject(t *testing.T) {
	got := string(AppendEvidence(nil, someEvidence()))
	const want = `{"count":-3,"agent":"cu\"rl","from":{"latitude_udeg":52520000,"longitude_udeg":-13405000,"radius_km":20},"last":{"partition":3,"offset":99,"time":1700000000000}}`
	if got != want || !json.Valid([]byte(got)) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(AppendEvidence(nil, nil)); got != "{}" {
		t.Errorf("nothing is %s", got)
	}
}

func TestEvidenceIsBounded(t *testing.T) {
	if got := Text("a", strings.Repeat("x", 1000)); len(got.Text) != MostEvidenceText {
		t.Errorf("a text of %d bytes", len(got.Text))
	}
	many := make([]Evidence, 40)
	c := cursor{b: appendEvidence(nil, many)}
	if list, err := c.evidence(nil, false); err != nil || len(list) != MostEvidence || len(c.b) != 0 {
		t.Errorf("%d items, %v, %d bytes left", len(list), err, len(c.b))
	}
}
