package app

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/canary"
	"github.com/weirdev/weir/app/console"
	"github.com/weirdev/weir/internal/telemetry"
)

var update = flag.Bool("update", false, "rewrite generated files")

const metricsIntro = `# Metrics

<!-- Generated from the code by make generate. Do not edit. -->

Each program serves these at ` + "`/metrics`" + ` of ` + "`admin.listen`" + `, in Prometheus's format, together with the usual ` + "`go_…`" + ` and ` + "`process_…`" + ` metrics of its Go runtime and process. A histogram has a ` + "`_bucket`" + `, a ` + "`_sum`" + ` and a ` + "`_count`" + `. [Alerts](../deploy/prometheus-alerts.yml) and [dashboards](../dashboards) use them.
`

// TestTheReferenceOfMetricsIsUpToDate wires all programs and compares what they
// register with docs/metrics.md.
func TestTheReferenceOfMetricsIsUpToDate(t *testing.T) {
	cfg := Defaults()
	cfg.Stream.Secret = "an example, never a real secret!"
	w, err := NewWorker(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Gate.Emit.Decisions, cfg.Gate.Emit.Events, cfg.Gate.Emit.Controls = "on", "on", "on" // for the metrics of what is written to Kafka
	g, err := NewGate(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer g.reader.Close()
	probe := telemetry.NewAdmin(cfg.Admin, slog.New(slog.DiscardHandler)).Registry()
	canary.New(canary.Config{}, nil, probe)
	pages := telemetry.NewAdmin(cfg.Admin, slog.New(slog.DiscardHandler)).Registry()
	if _, err := console.New(console.Defaults(), console.Dependencies{Registerer: pages}); err != nil {
		t.Fatal(err)
	}
	want := metricsIntro + reference(t, "weir-worker", w.admin.Registry()) + reference(t, "weir-gate", g.admin.Registry()) + reference(t, "weir canary", probe) + reference(t, "weir console", pages)
	const path = "../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is not what the code says (%v); make generate rewrites it", path, err)
	}
}

func reference(t *testing.T, program string, r *telemetry.Registry) string {
	t.Helper()
	all, err := r.Reference()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", program)
	for _, m := range all {
		if m.Help == "" {
			t.Errorf("%s has no help", m.Name)
		}
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, labels, strings.ReplaceAll(m.Help, "|", `\|`))
	}
	return b.String()
}
