package settings

import (
	"strings"
	"testing"
)

func TestASelectionHasSectionsAndSingleSettings(t *testing.T) {
	s := Selection{"ingest.format", "kafka.sasl", "stop_timeout", "kafka.tls"}
	for name, want := range map[string]bool{
		"ingest.format": true, "kafka.sasl.password": true, "kafka.tls": true, "stop_timeout": true,
		"ingest": false, "ingest.formats": false, "kafka.brokers": false, "kafka": false,
	} {
		if s.Has(name) != want {
			t.Errorf("it has %s: %v", name, !want)
		}
	}
	if !s.Touches("kafka") || s.Touches("redis") || !Selection(nil).Has("redis.addrs") {
		t.Error("sections that it touches are others")
	}
	var c config
	names := ""
	for _, one := range s.Of(&c) {
		names += one.Name + " "
	}
	if want := "ingest.format kafka.sasl.password kafka.tls stop_timeout "; names != want {
		t.Errorf("listed are %s, want %s", names, want)
	}
}

func TestOnlyWhatIsSelectedIsDumped(t *testing.T) {
	var c config
	c.Ingest.Mapping = &map[string]source{"ip": {From: "addr"}}
	text, err := Dump(&c, Selection{"ingest.mapping", "kafka.tls"})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		text string
		want bool
	}{{"tls: false", true}, {"from: addr", true}, {"brokers", false}, {"format", false}, {"stop_timeout", false}} {
		if strings.Contains(string(text), part.text) != part.want {
			t.Errorf("%q is there: %v\n%s", part.text, !part.want, text)
		}
	}
}
