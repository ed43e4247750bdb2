package sim

import (
	"flag"
	"testing"

	"github.com/weirdev/weir/proof/mutants"
)

var controls = flag.Bool("sim.controls", true, "whether the negative controls are run; they run TestSim once for each seeded bug")

// bugs are the faults that the simulation must detect.
var bugs = []mutants.Bug{
	{Name: "ingest commits before events are stored", File: "ingest/owner.go", Edits: [][2]string{
		{"if o.covered == nil || o.store.Stored() < o.covered.offset {", "if o.covered == nil {"}}},
	{Name: "ingest commits without covering every destination", File: "ingest/owner.go", Edits: [][2]string{
		{"if err := o.write(finish, cover); err != nil {", "if err := o.write(finish, false); err != nil {"}}},
	{Name: "ingest commits before dead letters are in their table", File: "ingest/ingest.go", Edits: [][2]string{
		{"\t\to.store = tracks{o.store, o.letters}\n", ""}}},
	{Name: "ingest commits before dead letters are written", File: "ingest/owner.go", Edits: [][2]string{
		{"\treturn o.writeDead(ctx)\n", "\tif all {\n\t\treturn nil\n\t}\n\treturn o.writeDead(ctx)\n"}}},
	{Name: "ingest commits before control records are stored", File: "ingest/owner.go", Edits: [][2]string{
		{"if o.covered == nil || o.store.Stored() < o.covered.offset {", "if o.covered == nil || !o.input.controls && o.store.Stored() < o.covered.offset {"}}},
	{Name: "repeats of control records are known by their bytes", File: "ingest/control.go", Edits: [][2]string{
		{"in.repeats.see(r.Offset, []byte(in.said.ID), nil)", "in.repeats.see(r.Offset, r.Key, r.Value)"}}},
	{Name: "a take-over has forgotten the ids of control records", File: "ingest/intake.go", Edits: [][2]string{
		{"\t\t_, _ = in.seeControl(r) // one that is none is in no window\n", ""}}},
	{Name: "control records have the number of a raw partition", File: "ingest/ingest.go", Edits: [][2]string{
		{"first: int32(raw), controls", "first: int32(raw) - 1, controls"}}},
	{Name: "dead control records have the names of dead events", File: "ingest/control.go", Edits: [][2]string{
		{"\t\treturn \"controls-\" + key\n", "\t\treturn key\n"}}},
	{Name: "ingest does not wait for acknowledgements", File: "ingest/owner.go", Edits: [][2]string{
		{"if err := o.Log.Produce(ctx, o.Topics.Facets, batch); err != nil {",
			"hasty, cancel := context.WithTimeout(ctx, time.Millisecond)\n\t\tdefer cancel()\n\t\tif err := o.Log.Produce(hasty, o.Topics.Facets, batch); err != nil && hasty.Err() == nil {"}}},
	{Name: "ingest goes on behind a write that was cut short", File: "internal/kafka/outlast.go", Edits: [][2]string{
		{"finish, cancel := Outlast(ctx, d)", "finish, cancel := context.WithCancel(ctx)"},
		{"\t\tif err := turn(ctx, finish); err != nil {\n", "\t\tif err := turn(ctx, finish); err != nil && ctx.Err() != nil {\n\t\t\tbreak\n\t\t} else if err != nil {\n"},
		{"if err := drain(finish); err != nil {", "late, stop := context.WithTimeout(context.WithoutCancel(ctx), d)\n\tdefer stop()\n\tif err := drain(late); err != nil {"}}},
	{Name: "facets in the order of a map", File: "ingest/frames.go", Edits: [][2]string{
		{"\tfor _, k := range f.kinds {\n", "\tkinds := map[facet.Kind]bool{}\n\tfor _, k := range f.kinds {\n\t\tkinds[k] = true\n\t}\n\tfor k := range kinds {\n"}}},
	{Name: "a take-over does not raise the owner", File: "ingest/owner.go", Edits: [][2]string{{"\tp.Owner++\n", ""}}},
	{Name: "the owner is raised only with the first commit", File: "ingest/owner.go", Edits: [][2]string{
		{"\tif err := o.commit(ctx, o.next, p.String()); err != nil {\n\t\treturn fmt.Errorf(\"announce owner %d: %w\", p.Owner, err)\n\t}\n", ""}}},
	{Name: "a take-over forgets the ledger", File: "ingest/owner.go", Edits: [][2]string{
		{"\to.progress = p\n", "\tp.Ledger = Ledger{}\n\to.progress = p\n"}}},
	{Name: "a take-over does not read the window of repeats again", File: "ingest/owner.go", Edits: [][2]string{
		{"from, rotten := max(start, o.next-repeatWindow, 0), 0", "from, rotten := max(start, o.next, 0), 0"}}},
	{Name: "ticks claim the present", File: "ingest/owner.go", Edits: [][2]string{
		{"if cover && atEnd && o.idle && !o.History && !o.input.controls {\n\t\to.tick(o.batch.Asked)", "if cover {\n\t\to.watermark.see(o.Now().UnixMilli())"}}},
	{Name: "detect has no position vector", File: "engine/partition.go", Edits: [][2]string{
		{"if stale || p.facet.Offset < src.next {", "if stale {"}}},
	{Name: "detect takes sections of former owners", File: "engine/partition.go", Edits: [][2]string{
		{"stale := s.Owner < src.owner", "stale := false"}}},
	{Name: "time goes on with the fastest source", File: "engine/partition.go", Edits: [][2]string{
		{"least := int64(math.MaxInt64)", "least := int64(math.MinInt64)"},
		{"least = min(least, p.sources[i].watermark)", "least = max(least, p.sources[i].watermark)"}}},
	{Name: "late events are not counted", File: "engine/partition.go", Edits: [][2]string{
		{"\t\tsrc.ledger.Late++\n", ""}}},
	{Name: "an open transaction is taken for the end", File: "ingest/owner.go", Edits: [][2]string{
		{"atEnd := o.next >= o.batch.HighWatermark", "atEnd := o.next >= o.batch.Readable()"}}},
	{Name: "aborted records are not in the ledger", File: "ingest/owner.go", Edits: [][2]string{
		{"\to.progress.Ledger.Control += n\n", ""}}},
	{Name: "delayed events are late only by the watermark", File: "engine/partition.go", Edits: [][2]string{
		{"late := p.late(f.Time) || f.Delayed()", "late := p.late(f.Time)"}}},
	{Name: "delayed events are moved", File: "ingest/bracket.go", Edits: [][2]string{
		{"return placed{time: claimed, passed: oldest, delayed: true}", "return placed{time: oldest, passed: oldest, delayed: true}"}}},
	{Name: "delayed events are not marked", File: "ingest/bracket.go", Edits: [][2]string{
		{"return placed{time: claimed, passed: oldest, delayed: true}", "return placed{time: claimed, passed: oldest}"}}},
	{Name: "a wall clock in a detector", File: "engine/partition.go", Edits: [][2]string{
		{"c.Time, c.Watermark, c.Late = f.Time, p.watermark, late", "c.Time, c.Watermark, c.Late = time.Now().UnixMilli(), p.watermark, late"}}},
	{Name: "scores carry no position to compare", File: "engine/partition.go", Edits: [][2]string{
		{"score.Update{Entity: sig.Entity, Position: sig.Position}", "score.Update{Entity: sig.Entity, Position: score.Position{Incarnation: sig.Position.Incarnation}}"}}},
	{Name: "detect commits before its outputs are stored", File: "engine/owner.go", Edits: [][2]string{
		{"stored := o.stored()\n", "stored := o.next\n"}}},
	{Name: "detect commits behind outputs that were cut short", File: "engine/owner.go", Edits: [][2]string{
		{"finish, cancel := kafka.Outlast(ctx, o.cfg.DrainTimeout)", "finish, cancel := context.WithCancel(ctx)"},
		{"if err := o.read(ctx, finish, committed); err != nil {", "if err := o.read(ctx, finish, committed); err != nil && ctx.Err() == nil {"},
		{"return o.drain(finish)", "late, stop := context.WithTimeout(context.WithoutCancel(ctx), o.cfg.DrainTimeout)\n\tdefer stop()\n\treturn o.drain(late)"}}},
	{Name: "a commit has the ledger of a later offset", File: "engine/owner.go", Edits: [][2]string{
		{"if stored == o.next {", "if true {"}}},
	{Name: "a replay drops outputs above the commit", File: "engine/owner.go", Edits: [][2]string{
		{"if !live && r.Offset < o.committed {", "if !live {"}}},
	{Name: "a take-over drops outputs that are new", File: "engine/owner.go", Edits: [][2]string{
		{"if !live && r.Offset < o.committed {", "if r.Offset < o.committed+3 {"}}},
	{Name: "snapshots are ahead of the outputs", File: "engine/snapshot_lifecycle.go", Edits: [][2]string{
		{"\tselect {\n\tcase <-acked:\n\tcase <-ctx.Done():\n\t}\n", ""}}},
	{Name: "a restored state skips a record", File: "engine/snapshot_lifecycle.go", Edits: [][2]string{
		{"\t\t\treturn p, next, nil\n", "\t\t\treturn p, next + 1, nil\n"}}},
	{Name: "the bytes of a snapshot depend on its writer", File: "engine/snapshot_codec.go", Edits: [][2]string{
		{"\tb = le.AppendUint64(b, uint64(f.next))\n", "\tb = le.AppendUint64(b, uint64(f.next)^uint64(time.Now().UnixMilli()&1)<<62)\n"},
		{"\t\"math\"\n", "\t\"math\"\n\t\"time\"\n"}}},
	{Name: "loop-back is not waited for", File: "engine/sink_logs.go", Edits: [][2]string{
		{"if err := l.log.Produce(ctx, l.topic, l.frames); err != nil {",
			"hasty, cancel := context.WithTimeout(ctx, time.Millisecond)\n\tdefer cancel()\n\tif err := l.log.Produce(hasty, l.topic, l.frames); err != nil && hasty.Err() == nil {"},
		{"\t\"math\"\n", "\t\"math\"\n\t\"time\"\n"}}},
	{Name: "loop-back is left behind when a partition is given up", File: "engine/owner.go", Seed: 1075, Edits: [][2]string{
		{"\t\tif ctx.Err() != nil {\n\t\t\treturn o.outlets.flush(finish)\n\t\t}\n", "\t\tif ctx.Err() != nil {\n\t\t\to.outlets.sinks = o.outlets.sinks[1:]\n\t\t\treturn o.outlets.flush(finish)\n\t\t}\n"}}},
	{Name: "loop-back that is known counts again", File: "engine/loopback.go", Edits: [][2]string{
		{"known := r.Step.Compare(*got) <= 0", "known := r.Step.Compare(*got) < 0"}}},
	{Name: "a frame of loop-back is lost", File: "engine/sink_logs.go", Edits: [][2]string{
		{"l.chain[f.To] = f.Step\n", "l.chain[f.To] = f.Step\n\t\tif f.Step.Next%7 == 0 {\n\t\t\tcontinue\n\t\t}\n"}}},
	{Name: "a restored state has forgotten what it heard", File: "engine/snapshot_codec.go", Edits: [][2]string{
		{"l.got[i] = facet.Step{Next: s.offset(), Part: uint32(s.number(math.MaxUint32))}", "l.got[i] = facet.Step{Next: s.offset() & 0, Part: uint32(s.number(math.MaxUint32)) & 0}"}}},
	{Name: "records that do not read are passed over before a commit says so", File: "ingest/quarantine.go", Edits: [][2]string{
		{"\tif err := o.commit(ctx, o.next, p.String()); err != nil {\n\t\treturn fmt.Errorf(\"commit %d: %w\", o.next, err)\n\t}\n", ""}}},
	{Name: "a take-over changes the epoch at once", File: "ingest/epoch.go", Edits: [][2]string{
		{"\tif o.next >= o.behind {\n", "\tif true {\n"}}},
	{Name: "the epoch changes below what a former owner may have read", File: "ingest/epoch.go", Edits: [][2]string{
		{"return o.next >= o.behind && ", "return "}}},
	{Name: "the epoch changes before a commit says so", File: "ingest/epoch.go", Edits: [][2]string{
		{"\tif err := o.commit(ctx, o.next, p.String()); err != nil {\n\t\treturn fmt.Errorf(\"commit %d: %w\", o.next, err)\n\t}\n", ""}}},
	{Name: "the announcement names the new epoch", File: "ingest/owner.go", Edits: [][2]string{
		{"\tp.Owner++\n", "\tp.Owner++\n\tp.Epoch = o.Epochs.Present().Name\n"}}},
	{Name: "the epoch changes without covering every destination", File: "ingest/epoch.go", Edits: [][2]string{
		{"if err := o.write(ctx, true); err != nil {", "if err := o.write(ctx, false); err != nil {"}}},
	{Name: "what an owner has sent is counted anew under each epoch", File: "ingest/frames.go", Edits: [][2]string{
		{"\t\t\tf.to[i].Sent = was.Sent\n", ""}}},
	{Name: "the epoch changes before events are stored", File: "ingest/epoch.go", Edits: [][2]string{
		{"\tif err := o.store.Drain(ctx); err != nil {\n\t\treturn fmt.Errorf(\"change of epoch: %w\", err)\n\t}\n", ""}}},
	{Name: "a commit from before a change of epoch comes after it", File: "ingest/epoch.go", Edits: [][2]string{
		{"\to.covered = nil\n", ""}}},
	{Name: "a score keeps the half-life that a rule had", File: "engine/partition.go", Edits: [][2]string{
		{"HalfLife: int64(r.HalfLife / time.Second), Time: at,", "HalfLife: int64(p.rules.Rules[0].HalfLife / time.Second), Time: at,"}}},
	{Name: "commits do not wait for shadow signals", File: "engine/sink.go", Edits: [][2]string{
		{"\tfor i := range o.sinks {\n\t\tleast =", "\tfor i := range o.sinks {\n\t\tif o.sinks[i].name == \"shadow signals\" {\n\t\t\tcontinue\n\t\t}\n\t\tleast ="}}},
	{Name: "lost scores are not written again", File: "engine/owner.go", Edits: [][2]string{
		{"if m.Forgotten() {", "if m.Forgotten() && o.next < 0 {"}}},
	{Name: "verdicts that come again are noted again", File: "engine/cohorts.go", Edits: [][2]string{
		{"\t\tif !known {\n\t\t\tp.loopback.noted++\n", "\t\tif at.Offset >= 0 {\n\t\t\tp.loopback.noted++\n"}}},
	{Name: "timers are due while events on time may come", File: "engine/timers.go", Edits: [][2]string{
		{"t.heap[0].due <= p.watermark-p.cfg.Lateness.Milliseconds()", "t.heap[0].due <= p.watermark"}}},
}

func TestEveryBugHasItsPlace(t *testing.T) { mutants.Suite{Bugs: bugs}.Apply(t) }

// TestNegativeControls checks that each seeded bug is caught.
func TestNegativeControls(t *testing.T) {
	if !*controls {
		t.Skip("-sim.controls is off")
	}
	mutants.Suite{
		Package: "./proof/sim", Test: "TestSim", Args: []string{"-sim.seeds=300", "-sim.controls=false"}, SeedFlag: "sim.first", Bugs: bugs,
	}.Run(t)
}
