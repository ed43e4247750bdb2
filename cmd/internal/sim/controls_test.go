package sim

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var controls = flag.Bool("sim.controls", true, "whether the negative controls are run; they build the program anew for each seeded bug")

// bug is a fault put into the program to see whether the simulation would see
// it. Each old text is there exactly once, so that the table cannot rot.
type bug struct {
	name  string
	file  string // from the root of the repository
	edits [][2]string
	test  string // that must fail; "": TestSim
}

var bugs = []bug{
	{name: "ingest commits before events are stored", file: "ingest/source.go", edits: [][2]string{
		{"if s.covered == nil || s.store.Stored() < s.covered.offset {", "if s.covered == nil {"}}},
	{name: "ingest commits without covering every destination", file: "ingest/source.go", edits: [][2]string{
		{"if err := s.write(finish, cover); err != nil {", "if err := s.write(finish, false); err != nil {"}}},
	{name: "ingest commits before dead letters are written", file: "ingest/source.go", edits: [][2]string{
		{"\treturn s.writeDead(ctx)\n", "\tif all {\n\t\treturn nil\n\t}\n\treturn s.writeDead(ctx)\n"}}},
	{name: "ingest does not wait for acknowledgements", file: "ingest/source.go", edits: [][2]string{
		{"if err := s.Log.Produce(ctx, s.Topics.Facets, batch); err != nil {",
			"hasty, cancel := context.WithTimeout(ctx, time.Millisecond)\n\t\tdefer cancel()\n\t\tif err := s.Log.Produce(hasty, s.Topics.Facets, batch); err != nil && hasty.Err() == nil {"}}},
	{name: "ingest goes on behind a write that was cut short", file: "ingest/source.go", edits: [][2]string{
		{"finish, cancel := klog.Outlast(ctx, s.cfg.DrainTimeout)", "finish, cancel := context.WithCancel(ctx)"},
		{"\t\tif err := s.turn(ctx, finish); err != nil {\n", "\t\tif err := s.turn(ctx, finish); err != nil && ctx.Err() != nil {\n\t\t\tbreak\n\t\t} else if err != nil {\n"},
		{"return s.drain(finish)", "late, stop := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainTimeout)\n\tdefer stop()\n\treturn s.drain(late)"}}},
	{name: "facets in the order of a map", file: "ingest/frames.go", edits: [][2]string{
		{"\tfor _, k := range f.kinds {\n", "\tkinds := map[facet.Kind]bool{}\n\tfor _, k := range f.kinds {\n\t\tkinds[k] = true\n\t}\n\tfor k := range kinds {\n"}}},
	{name: "a take-over does not raise the owner", file: "ingest/source.go", edits: [][2]string{{"\tp.Owner++\n", ""}}},
	{name: "the owner is raised only with the first commit", file: "ingest/source.go", edits: [][2]string{
		{"\tif err := s.commit(ctx, s.next, p.String()); err != nil {\n\t\treturn fmt.Errorf(\"announce owner %d: %w\", p.Owner, err)\n\t}\n", ""}}},
	{name: "a take-over forgets the ledger", file: "ingest/source.go", edits: [][2]string{
		{"\ts.progress = p\n", "\tp.Ledger = Ledger{}\n\ts.progress = p\n"}}},
	{name: "a take-over does not read the window of repeats again", file: "ingest/source.go", edits: [][2]string{
		{"from, rotten := max(start, s.next-repeatWindow, 0), 0", "from, rotten := max(start, s.next, 0), 0"}}},
	{name: "ticks claim the present", file: "ingest/source.go", edits: [][2]string{
		{"if cover && atEnd && s.idle && !s.History {\n\t\ts.tick(s.batch.Asked)", "if cover {\n\t\ts.watermark.see(s.Now().UnixMilli())"}}},
	{name: "detect has no position vector", file: "engine/partition.go", edits: [][2]string{
		{"if stale || p.facet.Offset < src.next {", "if stale {"}}},
	{name: "detect takes sections of former owners", file: "engine/partition.go", edits: [][2]string{
		{"stale := s.Owner < src.owner", "stale := false"}}},
	{name: "time goes on with the fastest source", file: "engine/partition.go", edits: [][2]string{
		{"least := int64(math.MaxInt64)", "least := int64(math.MinInt64)"},
		{"least = min(least, p.sources[i].watermark)", "least = max(least, p.sources[i].watermark)"}}},
	{name: "late events are not counted", file: "engine/partition.go", edits: [][2]string{
		{"\t\tsrc.ledger.Late++\n", ""}}},
	{name: "a wall clock in a detector", file: "engine/partition.go", edits: [][2]string{
		{"Event: &f.Fields, Time: f.Time,", "Event: &f.Fields, Time: time.Now().UnixMilli(),"}}},
	{name: "scores carry no position to compare", file: "engine/partition.go", edits: [][2]string{
		{"u := score.Update{Entity: sig.Entity, Position: sig.Position,", "u := score.Update{Entity: sig.Entity, Position: score.Position{Incarnation: sig.Position.Incarnation},"}}},
	{name: "detect commits before its outputs are stored", file: "engine/owner.go", edits: [][2]string{
		{"stored := o.stored()\n", "stored := o.next\n"}}},
	{name: "detect commits behind outputs that were cut short", file: "engine/owner.go", edits: [][2]string{
		{"finish, cancel := klog.Outlast(ctx, o.cfg.DrainTimeout)", "finish, cancel := context.WithCancel(ctx)"},
		{"if err := o.read(ctx, finish, committed); err != nil {", "if err := o.read(ctx, finish, committed); err != nil && ctx.Err() == nil {"},
		{"return o.drain(finish)", "late, stop := context.WithTimeout(context.WithoutCancel(ctx), o.cfg.DrainTimeout)\n\tdefer stop()\n\treturn o.drain(late)"}}},
	{name: "a replay drops outputs above the commit", file: "engine/owner.go", edits: [][2]string{
		{"if !live && r.Offset < o.committed {", "if !live {"}}},
	{name: "a take-over drops outputs that are new", file: "engine/owner.go", edits: [][2]string{
		{"if !live && r.Offset < o.committed {", "if r.Offset < o.committed+3 {"}}},
	{name: "snapshots are ahead of the outputs", file: "engine/snapshots.go", edits: [][2]string{
		{"\tselect {\n\tcase <-acked:\n\tcase <-ctx.Done():\n\t\treturn ctx.Err()\n\t}\n\tstarted = time.Now()", "\tstarted = time.Now()"}}},
	{name: "a restored state skips a record", file: "engine/snapshots.go", edits: [][2]string{
		{"\t\t\treturn p, next, nil\n", "\t\t\treturn p, next + 1, nil\n"}}},
	{name: "the bytes of a snapshot depend on its writer", file: "engine/snapshot.go", edits: [][2]string{
		{"\tb = le.AppendUint64(b, uint64(f.next))\n", "\tb = le.AppendUint64(b, uint64(f.next)^uint64(time.Now().UnixMilli()&1)<<62)\n"},
		{"\t\"math\"\n", "\t\"math\"\n\t\"time\"\n"}}},
	{name: "loop-back is not waited for", file: "engine/owner.go", edits: [][2]string{
		{"if err := o.Log.Produce(ctx, o.Topics.Facets, o.loops); err != nil {",
			"hasty, cancel := context.WithTimeout(ctx, time.Millisecond)\n\tdefer cancel()\n\tif err := o.Log.Produce(hasty, o.Topics.Facets, o.loops); err != nil && hasty.Err() == nil {"}}},
	{name: "loop-back is left behind when a partition is given up", file: "engine/owner.go", edits: [][2]string{
		{"\t\tif ctx.Err() != nil {\n\t\t\treturn o.produce(finish)\n\t\t}\n", "\t\tif ctx.Err() != nil {\n\t\t\to.loops = nil\n\t\t\treturn o.produce(finish)\n\t\t}\n"}}},
	{name: "loop-back that is known counts again", file: "engine/loopback.go", edits: [][2]string{
		{"f.Step.Compare(l.got) <= 0", "f.Step.Compare(l.got) < 0"}}},
	{name: "a missing frame of loop-back is not seen", file: "engine/loopback.go", edits: [][2]string{
		{"l.sent = step\n", "l.sent = step\n\tif step.Next%7 == 0 {\n\t\treturn\n\t}\n"},
		{"case f.Previous.Compare(l.got) > 0:", "case f.Previous.Compare(l.got) > 1:"},
		{"case f.Previous != l.got && f.Terms == l.terms:", "case f.Previous != l.got && f.Terms != l.terms:"}}},
	{name: "a restored state has forgotten what it told", file: "engine/snapshot.go", edits: [][2]string{
		{"\tl.sent = s.step()\n", "\ts.step()\n"}}},
	{name: "records that do not read are passed over before a commit says so", file: "ingest/quarantine.go", edits: [][2]string{
		{"\tif err := s.commit(ctx, s.next, p.String()); err != nil {\n\t\treturn fmt.Errorf(\"commit %d: %w\", s.next, err)\n\t}\n", ""}}},
	{name: "a take-over changes the epoch at once", file: "ingest/epoch.go", edits: [][2]string{
		{"\tif s.next >= s.behind {\n", "\tif true {\n"}}},
	{name: "the epoch changes below what a former owner may have read", file: "ingest/epoch.go", edits: [][2]string{
		{"return s.next >= s.behind && ", "return "}}},
	{name: "the epoch changes before a commit says so", file: "ingest/epoch.go", edits: [][2]string{
		{"\tif err := s.commit(ctx, s.next, p.String()); err != nil {\n\t\treturn fmt.Errorf(\"commit %d: %w\", s.next, err)\n\t}\n", ""}}},
	{name: "the announcement names the new epoch", file: "ingest/source.go", edits: [][2]string{
		{"\tp.Owner++\n", "\tp.Owner++\n\tp.Epoch = s.Epochs.Present().Name\n"}}},
	{name: "the epoch changes without covering every destination", file: "ingest/epoch.go", edits: [][2]string{
		{"if err := s.write(ctx, true); err != nil {", "if err := s.write(ctx, false); err != nil {"}}},
	{name: "what an owner has sent is counted anew under each epoch", file: "ingest/frames.go", edits: [][2]string{
		{"\t\t\tf.to[i].Sent = was.Sent\n", ""}}},
	{name: "the epoch changes before events are stored", file: "ingest/epoch.go", edits: [][2]string{
		{"\tif err := s.store.Drain(ctx); err != nil {\n\t\treturn fmt.Errorf(\"change of epoch: %w\", err)\n\t}\n", ""}}},
	{name: "a commit from before a change of epoch comes after it", file: "ingest/epoch.go", edits: [][2]string{
		{"\ts.covered = nil\n", ""}}},
	{name: "lost scores are not written again", file: "engine/owner.go", edits: [][2]string{
		{"if o.scores.Forgotten() {", "if o.scores.Forgotten() && o.next < 0 {"}}},
}

// TestNegativeControls: each seeded bug is caught.
func TestNegativeControls(t *testing.T) {
	if testing.Short() || raced || !*controls {
		t.Skip("builds the program many times, without the race detector")
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			started := time.Now()
			out, err := b.run(t, root)
			switch {
			case err == nil:
				t.Errorf("not caught:\n%s", out)
			case !strings.Contains(out, "--- FAIL: "):
				t.Errorf("it failed in another way:\n%s", out)
			}
			t.Logf("caught in %v: %s", time.Since(started).Round(10*time.Millisecond), firstProblem(out))
		})
	}
}

// run runs the test on the program with the bug.
func (b bug) run(t *testing.T, root string) (out string, err error) {
	dir, file := t.TempDir(), filepath.Join(root, filepath.FromSlash(b.file))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	source := string(text)
	for _, e := range b.edits {
		if n := strings.Count(source, e[0]); n != 1 {
			t.Fatalf("%s has %d times %q", b.file, n, e[0])
		}
		source = strings.Replace(source, e[0], e[1], 1)
	}
	fake, overlay := filepath.Join(dir, "fake.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {file: fake}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{fake: []byte(source), overlay: list} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	test := b.test
	if test == "" {
		test = "TestSim"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-vet=off", "-overlay", overlay, "./cmd/internal/sim",
		"-run", "^"+test+"$", "-sim.seeds=300", "-sim.controls=false")
	cmd.Dir = root
	bytes, err := cmd.CombinedOutput()
	return string(bytes), err
}

func firstProblem(out string) string {
	_, rest, _ := strings.Cut(out, ".go:")
	line, _, _ := strings.Cut(rest, "\n")
	return line[:min(len(line), 200)]
}
