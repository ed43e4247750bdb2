package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/proof/servers"
)

// Report is the outcome of a run. With -json it is the last line.
type Report struct {
	Proven bool `json:"proven"` // nothing lost, nothing duplicated, everything equal

	Events       int64             `json:"events"` // rows in ClickHouse
	Sent         int64             `json:"sent"`   // raw records that Kafka acknowledged
	Kills        int               `json:"kills"`  // of workers
	Stops        int               `json:"stops"`
	Outages      int               `json:"outages"`
	Faults       map[string]int    `json:"faults"`
	LostAnswers  int64             `json:"lost_answers"` // requests that succeeded without an answer
	Lost         int64             `json:"lost"`
	Duplicated   int64             `json:"duplicated"`
	Different    int64             `json:"different"`
	DigestsEqual bool              `json:"digests_equal"`
	Digests      map[string]string `json:"digests"`
	Findings     []string          `json:"findings"` // the first findings

	Signals       int64 `json:"signals"`
	Scores        int64 `json:"scores"`
	DeadLetters   int64 `json:"dead_letters"`
	LateFacets    int64 `json:"late_facets"`
	Members       int64 `json:"group_members"`  // members told by loop-back about findings of their group
	Verdicts      int64 `json:"verdicts"`       // on cohorts, sent to all facet partitions
	Timed         int64 `json:"timed_signals"`  // of rules that set timers
	Controls      int64 `json:"controls"`       // control records that count
	HeldBack      int64 `json:"held_back"`      // signals that a label held back
	Switches      int64 `json:"rule_switches"`  // records of the facet log
	Watched       int64 `json:"shadow_signals"` // shadow signals that follow from these switches
	Repeats       int64 `json:"repeats"`        // gateway repeats that ingest dropped
	DroppedFacets int64 `json:"dropped_facets"` // written more than once, and dropped by detect
	MergedRows    int64 `json:"merged_rows"`    // rows of events, written more than once, and merged

	RecoveryP50 float64            `json:"recovery_p50_seconds"`
	RecoveryP99 float64            `json:"recovery_p99_seconds"`
	RecoveryMax map[string]float64 `json:"recovery_max_seconds"` // by fault

	LagAfterKillP99 float64 `json:"lag_after_kill_p99_seconds"` // until the lag was below 5 s again; 0: it never reached 5 s
	LagAfterKillMax float64 `json:"lag_after_kill_max_seconds"`
	LagMax          float64 `json:"lag_max_seconds"`

	Seed    uint64            `json:"seed"`
	Kafka   string            `json:"kafka"`
	Rate    float64           `json:"rate"`
	Seconds float64           `json:"elapsed_seconds"`
	Version map[string]string `json:"versions"`
}

func (r *run) report(v *verdict) Report {
	o := Report{
		Proven: v.equal(),
		Events: v.Events, Sent: v.Sent, Kills: r.faults.count("kill"), Stops: r.faults.count("stop"), Outages: r.faults.outages(),
		Faults: r.faults.all(), LostAnswers: r.cluster.toClickHouse.Lost() + r.cluster.toRedis.Lost(),
		Lost: v.Lost, Duplicated: v.Duplicated, Different: v.Different, DigestsEqual: v.equal(), Digests: v.Digests, Findings: v.first(),
		Signals: v.Signals, Scores: v.Scores, DeadLetters: v.Dead, LateFacets: v.Late, Controls: v.Controls, HeldBack: v.Held, Switches: v.Switches, Watched: v.Watched, Members: v.Members, Verdicts: v.Verdicts, Timed: v.Timed, Repeats: v.Repeats, DroppedFacets: v.Repeated, MergedRows: v.Physical - v.Events,
		RecoveryP50: seconds(r.track.recovery("", 0.5)), RecoveryP99: seconds(r.track.recovery("", 0.99)), RecoveryMax: map[string]float64{},
		Seed: r.opts.Seed, Kafka: r.opts.Kafka, Rate: r.opts.Rate, Seconds: seconds(time.Since(r.began)),
		Version: map[string]string{"weir": app.Version()},
	}
	if r.opts.Kafka == "apache" {
		o.Version["kafka"] = servers.KafkaVersion
	}
	p99, worst := r.track.live("kill", 0.99)
	slowest, _ := r.track.live("kill", 1)
	o.LagAfterKillP99, o.LagAfterKillMax, o.LagMax = seconds(p99), seconds(slowest), seconds(worst)
	for name := range r.track.took {
		if took := r.track.recovery(name, 1); took > 0 {
			o.RecoveryMax[name] = seconds(took)
		}
	}
	if o.Findings == nil {
		o.Findings = []string{}
	}
	return o
}

func (f *faults) all() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts)
}

// seconds rounds to a hundredth.
func seconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Millisecond)) / float64(time.Second)
}

func (o Report) write(out io.Writer, asJSON bool) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("")
	line("sent          %d records, acknowledged by Kafka", o.Sent)
	var list []string
	for _, name := range slices.Sorted(maps.Keys(o.Faults)) {
		list = append(list, fmt.Sprintf("%s %d", name, o.Faults[name]))
	}
	line("faults        %s", strings.Join(list, ", "))
	line("              %d answers were lost on the way back", o.LostAnswers)
	line("stored        %d events, %d signals, %d scores, %d dead letters; %d repeats of gateways are dropped", o.Events, o.Signals, o.Scores, o.DeadLetters, o.Repeats)
	line("by hand       %d control records; %d signals that a label held back", o.Controls, o.HeldBack)
	line("rules         %d switch records; %d signals of shadow rules, %d of rules with timers; %d verdicts on cohorts", o.Switches, o.Watched, o.Timed, o.Verdicts)
	line("written again %d facets, dropped by detect; %d rows of events, merged by ClickHouse", o.DroppedFacets, o.MergedRows)
	line("recovery      half within %.1f s, 99 %% within %.1f s", o.RecoveryP50, o.RecoveryP99)
	line("lag           below 5 s within %.1f s of 99 %% of kills, of all within %.1f s; at most %.1f s", o.LagAfterKillP99, o.LagAfterKillMax, o.LagMax)
	line("lost %d, duplicated %d, different %d; digests equal: %v", o.Lost, o.Duplicated, o.Different, o.DigestsEqual)
	for _, f := range o.Findings {
		line("  - %s", f)
	}
	if o.Proven {
		line("proven: nothing is lost, nothing is twice, and everything is what seed %d says", o.Seed)
	} else {
		line("NOT proven; run again with -seed %d -data DIR to keep what was left behind", o.Seed)
	}
	if asJSON {
		text, err := json.Marshal(o)
		if err != nil {
			return err
		}
		line("%s", text)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
