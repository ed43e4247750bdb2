package oracle

import (
	"fmt"
	"testing"
)

// attestationRule returns a rule about attestations.
func (m *signer) attestationRule(id string) string {
	s := "    attestation:\n      required:\n"
	for range 1 + m.IntN(2) {
		s += fmt.Sprintf("        - {when: '%s', level: %s}\n", m.pick("status == 200", "status >= 0", `auth != ""`, `object == "o1"`), m.pick("basic", "device", "strong"))
	}
	some := false
	for _, way := range ways {
		if m.IntN(2) == 0 {
			some = true
			s += fmt.Sprintf("      %s: {at: %d, weight: %d}\n", way, m.oneOf(1, 1, 2, 4), 1+m.IntN(100))
		}
	}
	if !some {
		s += "      counter_back: {at: 1, weight: 70}\n"
	}
	s += fmt.Sprintf("      window: %ds\n", m.oneOf(1_000, 3_600, 10_000))
	s += m.odds(2, fmt.Sprintf("      max_age: %ds\n", m.oneOf(1, 60, 3_600)))
	s += m.odds(2, fmt.Sprintf("      cohorts: [%s]\n", m.pick("build", "app_version, os", "device_model", "os, build, app_version")))
	wait := m.oneOf(10, 100, 3_600, 20_000)
	s += fmt.Sprintf("      wait: %ds\n      usual: %ds\n", wait, wait*m.oneOf(1, 3, 10))
	for _, of := range []struct {
		key    string
		values []int64
	}{
		{"peers", []int64{2, 2, 4}}, {"broken_share", []int64{50, 90, 100}}, {"unjudged_percent", []int64{0, 1, 100}}, {"min_share", []int64{1, 34, 67}},
	} {
		s += m.odds(2, fmt.Sprintf("      %s: %d\n", of.key, m.oneOf(of.values...)))
	}
	s += m.odds(2, fmt.Sprintf("      memory: %dh\n", m.oneOf(3, 20)))
	s += m.odds(2, fmt.Sprintf("      cooldown: %dm\n", m.oneOf(1, 10, 60)))
	return m.around(id, s)
}

func attestedHistory(seed uint64, events int) history {
	return lookingHistory(seed, events, (*signer).attestationRule)
}

// TestTheEngineAgreesWithTheOracleOnAttestations compares the two on such rules.
func TestTheEngineAgreesWithTheOracleOnAttestations(t *testing.T) {
	n, histories := agree(t, attestedHistory)
	if histories >= 100 && (n.signals < 10*int(histories) || min(n.said, n.noted) < int(histories) || min(n.edits, n.switches, n.shadow) < int(histories)/4) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}
