package app

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/settings"
)

const settingsIntro = `# All settings

<!-- Generated from the code by make generate. Do not edit. -->

[Settings](settings.md) says where they may be written, and which program accepts what. A mapping of fields (` + "`ingest.mapping`" + `) can stand in a file only; [formats](formats.md) describes it.
`

// TestTheReferenceOfSettingsIsUpToDate compares docs/settings-reference.md with the
// code.
func TestTheReferenceOfSettingsIsUpToDate(t *testing.T) {
	c := Defaults()
	var b strings.Builder
	b.WriteString(settingsIntro)
	section, first := "", true
	order := settings.Selection{"stages", "rules", "stop_timeout", "stuck_after", "stream", "kafka", "redis", "clickhouse", "ingest", "geo", "detect", "snapshots", "notices", "gate", "console", "admin", "log", "tracing"}
	for _, s := range order.Of(&c) {
		if s.Section() != section || first {
			section, first = s.Section(), false
			title := section
			if title == "" {
				title = "Without a section"
			}
			fmt.Fprintf(&b, "\n## %s\n\n| setting | default | used by | meaning |\n|---|---|---|---|\n", title)
		}
		value, by := s.String(), []string{}
		if value != "" {
			value = "`" + value + "`"
		}
		for _, p := range Programs() {
			if p.Uses.Has(s.Name) {
				by = append(by, p.Name)
			}
		}
		if s.Doc == "" {
			t.Errorf("%s has no description", s.Name)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.Name, value, strings.Join(by, ", "), strings.ReplaceAll(s.Doc, "|", `\|`))
	}
	if all, listed := len(settings.Walk(&c)), len(order.Of(&c)); all != listed {
		t.Errorf("%d of %d settings are described", listed, all)
	}
	const path = "../docs/settings-reference.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != b.String() {
		t.Errorf("%s is not what the code says (%v); make generate rewrites it", path, err)
	}
}
