package engine

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestEverySnapshotLeadsToTheSameBytes replays a log from every snapshot of a
// run, and from snapshots that such replays have written.
func TestEverySnapshotLeadsToTheSameBytes(t *testing.T) {
	set := defaultRules(t)
	log := history(set, 1, 600)
	every := 25
	if testkit.Raced { // it shares nothing between goroutines
		every = 100
	}
	p := testPartition(t, set)
	var want [][]byte
	var outputs []Output
	for at := 0; at < len(log); at += every {
		want = append(want, snapshotOf(t, p, at))
		outputs = append(outputs, apply(t, p, log, at, at+every))
	}
	for first := range want {
		p := mustRestore(t, set, want[first], first*every)
		for i := first; i < len(want); i++ {
			if got := snapshotOf(t, p, i*every); !bytes.Equal(got, want[i]) {
				t.Fatalf("from the snapshot at %d: that at %d differs", first*every, i*every)
			}
			if first%2 == 1 { // go on from what was written this time
				p = mustRestore(t, set, snapshotOf(t, p, i*every), i*every)
			}
			if got := apply(t, p, log, i*every, (i+1)*every); !reflect.DeepEqual(got, outputs[i]) {
				t.Fatalf("from the snapshot at %d: the outputs from %d on differ", first*every, i*every)
			}
		}
	}
}

func TestAFrozenPartitionIsEncodedAsItWas(t *testing.T) {
	set := defaultRules(t)
	log := history(set, 2, 300)
	p := testPartition(t, set)
	apply(t, p, log, 0, 200)
	want := snapshotOf(t, p, 200)
	f := p.freeze(200)
	defer f.release()
	apply(t, p, log, 200, 300)
	got, err := f.encode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what was applied later is in the snapshot")
	}
}

func TestADamagedSnapshotIsRefused(t *testing.T) {
	set := defaultRules(t)
	p := testPartition(t, set)
	apply(t, p, history(set, 1, 40), 0, 40)
	b := snapshotOf(t, p, 40)
	step := 1
	if testkit.Raced { // it shares nothing between goroutines
		step = 7
	}
	for n := 0; n < len(b); n += step {
		if _, _, err := restoreTest(set, b[:n]); !errors.Is(err, ErrSnapshotDamaged) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
		}
	}
	for i := 0; i < len(b)*8; i += step {
		bad := bytes.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		if _, _, err := restoreTest(set, bad); !errors.Is(err, ErrSnapshotDamaged) {
			t.Fatalf("bit %d of byte %d flipped: %v", i%8, i/8, err)
		}
	}
	if _, _, err := restoreTest(set, append(bytes.Clone(b), 0)); !errors.Is(err, ErrSnapshotDamaged) {
		t.Errorf("a byte is appended: %v", err)
	}
}

func TestSnapshotsOfOtherFormatsAreRefused(t *testing.T) {
	set := defaultRules(t)
	b := snapshotOf(t, testPartition(t, set), 0)
	le.PutUint32(b[8:], snapshotFormat+1)
	le.PutUint32(b[12:], snapshotChecksum(b))
	if _, _, err := restoreTest(set, b); !errors.Is(err, ErrSnapshotNewer) || !strings.Contains(err.Error(), "2") {
		t.Errorf("newer format: %v", err)
	}
}

func TestSnapshotsOfOthersAreRefused(t *testing.T) {
	set := defaultRules(t)
	b := snapshotOf(t, testPartition(t, set), 0)
	more := testConfig()
	more.Sources++
	for _, c := range []struct {
		name        string
		cfg         Config
		hasher      facet.Hasher
		id          int32
		incarnation uint64
	}{
		{"another secret", testConfig(), facet.NewHasher([16]byte{9}), 5, 9},
		{"another partition", testConfig(), testHasher(), 6, 9},
		{"another incarnation", testConfig(), testHasher(), 5, 10},
		{"more raw partitions", more, testHasher(), 5, 9},
	} {
		if _, _, err := RestorePartition(c.cfg, set, c.hasher, c.id, c.incarnation, b); !errors.Is(err, ErrSnapshotForeign) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	other := envelope(t, 0, bytes.Replace(bodyOf(t, b), []byte{semantics, 9}, []byte{semantics + 1, 9}, 1))
	if _, _, err := restoreTest(set, other); !errors.Is(err, ErrSnapshotForeign) {
		t.Errorf("other semantics: %v", err)
	}
}

// bodyOf unpacks the body of a snapshot.
func bodyOf(t testing.TB, snapshot []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := z.DecodeAll(snapshot[snapshotHeader:], nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// envelope makes a snapshot of any body, compressed otherwise than real ones.
func envelope(t testing.TB, next int64, body []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return sealed(z, next, body)
}

func sealed(z *zstd.Encoder, next int64, body []byte) []byte {
	b := append([]byte(nil), snapshotMagic...)
	b = le.AppendUint32(b, snapshotFormat)
	b = le.AppendUint32(b, 0)
	b = z.EncodeAll(body, le.AppendUint64(b, uint64(next)))
	le.PutUint32(b[12:], snapshotChecksum(b))
	return b
}

func countRule(id string, at int) string {
	return `
  - id: ` + id + `
    title: ` + id + `
    description: failures
    entity: account
    when: auth == "failure"
    counting: {window: 10m, tiers: [{at: ` + string(rune('0'+at)) + `, weight: 30}], cooldown: 1m}
    signal: {category: account_takeover, reason: failures, half_life: 10m}
    phase: soft
    references: [https://example.org/]
    false_positives: [none]
    tests: []`
}

func loadRules(t testing.TB, list ...string) *rules.Set {
	t.Helper()
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte("rules:" + strings.Join(list, "") + "\n")}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestRulesMayChangeBetweenSnapshotAndRestore(t *testing.T) {
	before := loadRules(t, countRule("kept", 9), countRule("gone", 9))
	after := loadRules(t, countRule("kept", 5), countRule("new", 5))
	log := history(before, 3, 60)
	p := testPartition(t, before)
	apply(t, p, log, 0, len(log))
	slots := func(p *Partition, r *rules.Rule) (bytes int) {
		for i := range 120 {
			name := facet.Entity{Kind: facet.Account, Tenant: "shop", Key: "user-" + string(rune('0'+i%10))}
			if rec, ok := p.table.Find(p.hasher.Sum(name), p.watermark); ok {
				bytes += len(rec.Slot(r.Slot))
			}
		}
		return bytes
	}
	byID := func(set *rules.Set, id string) *rules.Rule {
		for _, r := range set.Rules {
			if r.ID == id {
				return r
			}
		}
		t.Fatalf("no rule %s", id)
		return nil
	}
	kept, gone, added := byID(before, "kept"), byID(before, "gone"), byID(after, "new")
	want := slots(p, kept)
	if want == 0 || slots(p, gone) == 0 {
		t.Fatal("the history leaves nothing to keep")
	}
	first := mustRestore(t, after, snapshotOf(t, p, 60), 60)
	if got := slots(first, kept); got != want {
		t.Errorf("%d bytes of the rule that was kept, want %d", got, want)
	}
	if slots(first, gone) != 0 || slots(first, added) != 0 {
		t.Error("there are slots of a rule that is gone or new")
	}
	second := mustRestore(t, after, snapshotOf(t, p, 60), 60)
	if first.Digest() != second.Digest() {
		t.Error("the same snapshot under the same rules gives two states")
	}
	if first.Digest() == p.Digest() {
		t.Error("the rules are not in the digest")
	}
}

func TestComparingSnapshots(t *testing.T) {
	set := defaultRules(t)
	log := history(set, 4, 60)
	p := testPartition(t, set)
	apply(t, p, log, 0, 50)
	own := snapshotOf(t, p, 50)
	compare := func(name string, there []byte, want comparison, wantErr error) {
		t.Helper()
		got, err := compareSnapshots(there, own)
		if got != want || !errors.Is(err, wantErr) {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	compare("the same", own, sameState, nil)
	compare("compressed otherwise", envelope(t, 50, bodyOf(t, own)), sameState, nil)
	compare("of another offset", snapshotOf(t, p, 51), 0, ErrSnapshotDamaged)
	compare("cut short", own[:len(own)-1], 0, ErrSnapshotDamaged)
	apply(t, p, log, 50, 51)
	compare("another state", snapshotOf(t, p, 50), otherState, nil)
	p.cfg.MaxEntities++
	compare("under other terms", snapshotOf(t, p, 50), otherTerms, nil)
	p.incarnation++
	compare("of another stream", snapshotOf(t, p, 50), 0, ErrSnapshotForeign)
}

// TestTheSnapshotFormatDoesNotDrift restores a snapshot that is kept here, and
// compares it with one made now.
func TestTheSnapshotFormatDoesNotDrift(t *testing.T) {
	golden := "testdata/snapshot-" + SnapshotForm() + ".hex"
	set := loadRules(t, testrules.AsShipped(countRule("failures", 3)))
	p := testPartition(t, set)
	apply(t, p, history(set, 8, 12), 0, 12)
	now := snapshotOf(t, p, 12)
	if *update {
		if err := os.WriteFile(golden, []byte(hex.EncodeToString(now)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	const advice = "stores hold snapshots of that form, so another form needs another format or semantics"
	if got, err := compareSnapshots(kept, now); err != nil || got != sameState {
		t.Errorf("the state differs from that in %s (%d, %v); %s", golden, got, err, advice)
	}
	if restored := mustRestore(t, set, kept, 12); restored.Digest() != p.Digest() {
		t.Errorf("%s restores to another state; %s", golden, advice)
	}
}

// A sound checksum says that the bytes are as they were written, not that their
// writer was sound. An owner moves such a snapshot aside, and does not stop for it.
func TestASnapshotWithoutABundleOfRulesIsDamaged(t *testing.T) {
	set := loadRules(t, testrules.AsShipped(countRule("failures", 3)))
	for name, spoil := range map[string]func(*Partition){
		"live":   func(p *Partition) { p.number, p.bundle = 97, []byte("no zip file") },
		"shadow": func(p *Partition) { p.shadow = &lane{table: state.New(p.caps()), bundle: []byte("no zip file")} },
	} {
		p := testPartition(t, set)
		spoil(p)
		if _, _, err := restoreTest(set, snapshotOf(t, p, 6)); !errors.Is(err, ErrSnapshotDamaged) {
			t.Errorf("%s lane: %v", name, err)
		}
	}
}

// FuzzRestore feeds arbitrary bodies in a sound envelope, and arbitrary bytes:
// what is restored can go on, and is written as it was read.
func FuzzRestore(f *testing.F) {
	set := defaultRules(f)
	log := history(set, 1, 40)
	p := testPartition(f, set)
	f.Add(bodyOf(f, snapshotOf(f, p, 0)), true)
	apply(f, p, log, 0, 6)
	f.Add(bodyOf(f, snapshotOf(f, p, 6)), true)
	f.Add(snapshotOf(f, p, 6), false)
	p.number, p.bundle = 97, []byte("no zip file")
	f.Add(bodyOf(f, snapshotOf(f, p, 6)), true)
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, wrap bool) {
		if wrap {
			b = sealed(z, 6, b)
		}
		p, next, err := restoreTest(set, b)
		if err != nil {
			if !errors.Is(err, ErrSnapshotDamaged) && !errors.Is(err, ErrSnapshotForeign) && !errors.Is(err, ErrSnapshotNewer) && !errors.Is(err, ErrRules) {
				t.Fatal(err)
			}
			return
		}
		again, _, err := restoreTest(set, snapshotOf(t, p, int(next)))
		if err != nil || again.Digest() != p.Digest() {
			t.Fatalf("restored twice: %v", err)
		}
		var out Output
		for i, frame := range log[6:] {
			if p.Apply(next+int64(i), frame, &out) != nil {
				break
			}
		}
		for range p.Live {
		}
	})
}

// populate gives n accounts and as many addresses state, as facets do.
func populate(t testing.TB, p *Partition, set *rules.Set, n int) {
	t.Helper()
	projection := set.Projection()
	w := facet.NewWriter(1, p.incarnation, &projection)
	rng := rand.New(rand.NewPCG(1, 1))
	e := randomEvent(rng, rules.TestStart)
	e.SetText(event.Auth, "failure")
	var out Output
	var scratch [32]byte
	for first := 0; first < n; first += 500 {
		for i := first; i < first+500; i++ {
			e.SetNum(event.Time, rules.TestStart+rng.Int64N(60_000))
			e.SetText(event.Object, fmt.Sprint(rng.IntN(1_000_000)))
			e.SetText(event.Account, fmt.Sprint("user-", i))
			e.SetText(event.ClientIP, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
			for _, k := range []facet.Kind{facet.Account, facet.IP} {
				ent, _ := facet.EntityOf(k, e, scratch[:])
				w.Add(ent, 0, int64(i), e)
			}
		}
		frame := w.Finish(facet.Section{Owner: 1, From: int64(first), To: int64(first + 500), Watermark: rules.TestStart})
		if err := p.Apply(int64(first/500), frame, &out); err != nil {
			t.Fatal(err)
		}
		out.Reset()
	}
}

// million is a partition with a million entities.
func million(b *testing.B) (*Partition, *rules.Set) {
	b.Helper()
	set := defaultRules(b)
	cfg := testConfig()
	cfg.MaxEntities = 1 << 20
	p, err := NewPartition(cfg, set, testHasher(), 5, 9)
	if err != nil {
		b.Fatal(err)
	}
	populate(b, p, set, 500_000)
	return p, set
}

func BenchmarkSnapshot(b *testing.B) {
	p, _ := million(b)
	n, size := float64(p.Entities()), 0
	b.ResetTimer()
	for range b.N {
		size = len(snapshotOf(b, p, 1000))
	}
	b.ReportMetric(float64(size)/n, "B/entity")
	b.ReportMetric(float64(p.Bytes())/n, "memory-B/entity")
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "entities/s")
}

// BenchmarkFreeze is how long the owner stands still.
func BenchmarkFreeze(b *testing.B) {
	p, _ := million(b)
	b.ResetTimer()
	for range b.N {
		p.freeze(1000).release()
	}
}

func BenchmarkRestore(b *testing.B) {
	p, set := million(b)
	n, snapshot := float64(p.Entities()), snapshotOf(b, p, 1000)
	b.ResetTimer()
	for range b.N {
		if _, _, err := RestorePartition(p.cfg, set, testHasher(), 5, 9, snapshot); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "entities/s")
}
