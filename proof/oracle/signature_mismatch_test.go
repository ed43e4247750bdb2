package oracle

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// signer creates the values of events about signatures and builds.
type signer struct{ *traveller }

func (m *signer) rule(id string) string {
	s := "    signature_mismatch:\n      tiers:\n"
	at, weight := m.oneOf(1, 1, 2, 3), m.oneOf(1, 10, 40)
	for range 1 + m.IntN(3) {
		s += fmt.Sprintf("        - {at: %d, weight: %d}\n", at, weight)
		at, weight = at+m.oneOf(1, 2, 5), weight+m.oneOf(1, 15)
	}
	s += fmt.Sprintf("      window: %ds\n", m.oneOf(1_000, 3_600, 10_000))
	s += m.odds(3, fmt.Sprintf("      fails: %s\n", m.pick(`signature == "missing"`, `signature in ["invalid", "missing"]`)))
	s += m.odds(3, fmt.Sprintf("      passes: %s\n", m.pick(`signature != "invalid"`, `attestation == "passed" || signature == "valid"`)))
	s += m.odds(2, fmt.Sprintf("      cohorts: [%s]\n", m.pick("build", "app_version, os", "device_model", "os, build, app_version")))
	wait := m.oneOf(10, 100, 3_600, 20_000)
	s += fmt.Sprintf("      wait: %ds\n      usual: %ds\n", wait, wait*m.oneOf(1, 3, 10))
	for _, of := range []struct {
		key    string
		values []int64
	}{
		{"peers", []int64{2, 2, 4}}, {"broken_share", []int64{1, 50, 90}}, {"unjudged_percent", []int64{0, 1, 100}}, {"min_share", []int64{1, 50, 67}},
	} {
		s += m.odds(2, fmt.Sprintf("      %s: %d\n", of.key, m.oneOf(of.values...)))
	}
	s += m.odds(2, fmt.Sprintf("      memory: %dh\n", m.oneOf(3, 20)))
	s += m.odds(2, fmt.Sprintf("      cooldown: %dm\n", m.oneOf(1, 10, 60)))
	return m.around(id, s)
}

// around returns the rule around a detector's part.
func (m *signer) around(id, s string) string {
	entity := m.pick("account", "account", "device")
	if id[1] == '0' {
		entity = "account"
	}
	return "  - id: " + id + "\n    title: A rule\n    entity: " + entity + "\n    when: status >= 0\n" + s + "    signal: {category: tampering, reason: r, half_life: 1h}\n    phase: soft\n"
}

func (m *signer) values() (all []value) {
	text := func(f event.Field, s string) {
		if s != "" {
			all = append(all, value{f, s, 0})
		}
	}
	text(event.Signature, m.pick("", "valid", "valid", "valid", "invalid", "invalid", "unknown", "missing"))
	text(event.SignatureReason, m.odds(6, m.pick("sig_too_old", "sig_invalid")))
	text(event.Attestation, m.pick("", "passed", "passed", "passed", "failed", "missing", "error"))
	text(event.AttestationLevel, m.pick("", "none", "basic", "device", "device", "strong"))
	text(event.AttestationID, m.odds(3, m.pick("x", "y")))
	for _, f := range []event.Field{event.AttestationAge, event.AttestationCounter} {
		if m.IntN(2) == 0 {
			all = append(all, value{f, "", m.oneOf(0, 1, 2, 3, 60, 3_600, 100_000)})
		}
	}
	text(event.AppVersion, m.pick("", "v0", "v1", "v1", "v1"))
	text(event.Build, m.pick("b0", "b0", "b0", "b1", ""))
	text(event.OS, m.pick("ios", "ios", "android"))
	text(event.DeviceModel, m.odds(3, "m0"))
	text(event.Net, m.pick("", "n0", "n0", "n1", "n2", "n3", "n4"))
	return all
}

// signedHistory creates the history of a seed, with one or two rules about
// signatures besides those that count; with every second seed they change.
func signedHistory(seed uint64, events int) history {
	return lookingHistory(seed, events, (*signer).rule)
}

// lookingHistory creates such a history with rules of any kind.
func lookingHistory(seed uint64, events int, rule func(m *signer, id string) string) history {
	m := newMaker(seed)
	m.comparing = 1
	h := m.history(events)
	h.lateness *= slower
	stretch := func(t *int64) {
		if *t != facet.NoWatermark && *t != facet.EndWatermark {
			*t = start + (*t-start)*slower
		}
	}
	s := &signer{newTraveller(seed, h.lateness)}
	at := len(h.rules)
	for _, id := range []string{"s0", "s1"}[:1+s.IntN(2)] {
		h.rules = append(h.rules, rule(s, id))
	}
	for _, p := range m.sources {
		for _, r := range p.log {
			stretch(&r.time)
			r.values = slices.DeleteFunc(r.values, func(v value) bool { return v.field == event.Build })
			r.values = append(r.values, s.values()...)
		}
	}
	for i := range h.records {
		for j := range h.records[i].sections {
			stretch(&h.records[i].sections[j].Watermark)
		}
	}
	for l := range loopsOf(h.records) {
		for i := range l.findings {
			stretch(&l.findings[i].Time)
		}
		for i := range l.verdicts {
			v := &l.verdicts[i]
			if stretch(&v.Time); s.IntN(4) > 0 {
				v.rule, v.Level = at+s.IntN(len(h.rules)-at), uint8(s.IntN(66))
				v.By = []event.Field{event.Build, event.AppVersion, event.OS}[s.IntN(3)]
				v.Value = map[event.Field]string{event.Build: s.pick("b0", "b1"), event.AppVersion: "v0", event.OS: s.pick("ios", "android")}[v.By]
			}
		}
	}
	if seed%2 == 0 {
		return h
	}
	for n := range 1 + s.IntN(4) {
		edited := slices.Clone(h.rules)
		for i := at; i < len(edited); i++ {
			edited[i] = rule(s, ruleID.FindStringSubmatch(edited[i])[1])
		}
		r := record{edit: edited, by: lane(max(0, s.IntN(4)-1)), number: uint64(n + 1)}
		h.records = slices.Insert(h.records, n+(len(h.records)-n)*(n+1)/5, r)
	}
	return h
}

// TestTheEngineAgreesWithTheOracleOnSignatures includes cohorts, verdicts of other
// partitions, and timers.
func TestTheEngineAgreesWithTheOracleOnSignatures(t *testing.T) {
	n, histories := agree(t, signedHistory)
	if histories >= 100 && (n.signals < 10*int(histories) || min(n.said, n.noted) < int(histories) || min(n.edits, n.switches, n.shadow) < int(histories)/4) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}
