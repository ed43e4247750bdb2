package rules_test

import (
	"strings"
	"testing"
)

const hungryRule = `
  - id: hungry-%
    title: x
    entity: account
    when: auth == "failure"
    counting: {window: 10m, tiers: [{at: 1000, weight: 50}]}
    signal: {category: bot, reason: x, half_life: 1h}
    phase: soft
`

// Rules whose state might not fit into a record together are refused when they are
// loaded, not found out when an attacker fills it.
func TestRulesThatDoNotFitIntoARecordAreRefused(t *testing.T) {
	of := func(ids string) map[string]string {
		text := "rules:\n"
		for _, id := range ids {
			text += strings.ReplaceAll(hungryRule, "%", string(id))
		}
		return map[string]string{"a.yaml": text}
	}
	if _, err := loadText(t, of("a")); err != nil {
		t.Errorf("one rule: %v", err)
	}
	_, err := loadText(t, of("ab"))
	const want = "the rules of entity account keep up to 64076 bytes of each, and a record has room for 63447: hungry-a 32038, hungry-b 32038"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("two rules: %v, want %q", err, want)
	}
	apart := of("ab")
	apart["a.yaml"] = strings.Replace(apart["a.yaml"], "entity: account", "entity: device", 1)
	if _, err := loadText(t, apart); err != nil {
		t.Errorf("two rules of two entities: %v", err)
	}
}
