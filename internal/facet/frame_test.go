package facet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
)

var update = flag.Bool("update", false, "rewrite golden files")

func testProjection() *Projection {
	var p Projection
	p[Account] = []event.Field{event.Status, event.Object, event.Rooted}
	p[IP] = []event.Field{event.Account, event.Auth}
	p[Tenant] = []event.Field{}
	return &p
}

func testEvent(time int64, account, ip string) *event.Event {
	e := new(event.Event)
	e.SetNum(event.Time, time)
	e.SetText(event.Tenant, "shop")
	e.SetText(event.Account, account)
	e.SetText(event.ClientIP, ip)
	e.SetText(event.Auth, "failure")
	e.SetNum(event.Status, 401)
	return e
}

// testFrame holds four facets of two events.
func testFrame(t testing.TB) []byte {
	w := NewWriter(0x1122334455667788, 3, testProjection())
	for i, e := range []*event.Event{testEvent(1_700_000_000_000, "ann", "192.0.2.1"), testEvent(1_699_999_999_000, "bob", "192.0.2.2")} {
		for _, k := range []Kind{Account, IP, Tenant} {
			ent, ok := EntityOf(k, e, nil)
			if !ok {
				t.Fatalf("event has no %v", k)
			}
			w.Add(ent, 0, int64(40+i), e)
		}
	}
	return bytes.Clone(w.Finish(Section{Source: 7, Owner: 2, From: 38, To: 50, Watermark: 1_700_000_000_000}))
}

func TestAFrameReadsBackAsItWasWritten(t *testing.T) {
	var r Reader
	if err := r.Reset(testFrame(t)); err != nil {
		t.Fatal(err)
	}
	if r.Epoch != 0x1122334455667788 || r.Incarnation != 3 {
		t.Errorf("epoch %x incarnation %d", r.Epoch, r.Incarnation)
	}
	s, ok, err := r.Section()
	want := Section{Source: 7, Owner: 2, From: 38, To: 50, Sent: 6, Watermark: 1_700_000_000_000, Facets: 6}
	if err != nil || !ok || s != want {
		t.Fatalf("section %+v %v %v, want %+v", s, ok, err, want)
	}
	var f Facet
	var got []string
	for {
		ok, err := r.Facet(&f)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		got = append(got, f.Entity.Kind.String()+"="+f.Entity.Key)
		if f.Entity.Tenant != "shop" || f.Source != 7 || f.Fields.Num(event.Time) != f.Time {
			t.Errorf("facet %+v", f.Entity)
		}
		if f.Entity.Kind == Account && (f.Fields.Num(event.Status) != 401 || f.Fields.Has(event.Rooted) || f.Fields.Has(event.Auth)) {
			t.Errorf("account facet carries other fields than its projection")
		}
		if f.Entity.Kind == IP && (f.Fields.Text(event.Auth) != "failure" || f.Fields.Text(event.Account) == "") {
			t.Errorf("ip facet lacks projected fields")
		}
	}
	if want := "account=ann ip=192.0.2.1 tenant=shop account=bob ip=192.0.2.2 tenant=shop"; strings.Join(got, " ") != want {
		t.Errorf("facets %v, want %s", got, want)
	}
	if _, ok, err := r.Section(); ok || err != nil {
		t.Errorf("a second section: %v %v", ok, err)
	}
}

func TestTheFrameFormatDoesNotDrift(t *testing.T) {
	sameForm(t, "frame-v2.hex", testFrame(t))
}

// sameForm compares a frame with one that is kept.
func sameForm(t *testing.T, golden string, frame []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile("testdata/"+golden, []byte(hex.EncodeToString(frame)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(frame, kept(t, golden)) {
		t.Errorf("the frame differs from testdata/%s; logs hold frames of that form, so a new form needs a new version", golden)
	}
}

// kept reads a frame from testdata.
func kept(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// TestFramesFromBeforeTheMarksOfTimeAreRead: logs hold them. Their table of kinds
// has the fields of rules only.
func TestFramesFromBeforeTheMarksOfTimeAreRead(t *testing.T) {
	frame := kept(t, "frame-v2-without-marks.hex")
	var old, now Reader
	if err := errors.Join(old.Reset(frame), now.Reset(testFrame(t))); err != nil {
		t.Fatal(err)
	}
	a, _, _ := old.Section()
	b, _, _ := now.Section()
	if a != b || a.Facets != 6 {
		t.Fatalf("section %+v, want %+v", a, b)
	}
	for range a.Facets {
		var f, g Facet
		_, oldErr := old.Facet(&f)
		_, err := now.Facet(&g)
		if oldErr != nil || err != nil || !reflect.DeepEqual(f, g) || f.Delayed() {
			t.Errorf("facet %+v (%v), want %+v (%v)", f, oldErr, g, err)
		}
	}
}

func TestMarksOfTimeTravelWithEveryFacet(t *testing.T) {
	for _, c := range []struct {
		name            string
		skewed, delayed bool
		late            bool
	}{
		{"an event on time", false, false, false},
		{"from the future, and moved", true, false, false},
		{"delayed, and late", false, true, true},
		{"delayed, and moved to its arrival", true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := testEvent(1_700_000_000_000, "ann", "192.0.2.1")
			for f, on := range map[event.Field]bool{event.Skewed: c.skewed, event.Delayed: c.delayed} {
				if on {
					e.SetNum(f, 1)
				}
			}
			w := NewWriter(1, 1, testProjection())
			for _, k := range []Kind{Account, IP, Tenant} { // the last has no other field
				ent, _ := EntityOf(k, e, nil)
				w.Add(ent, 0, 5, e)
			}
			var r Reader
			var f Facet
			if err := r.Reset(w.Finish(Section{To: 6})); err != nil {
				t.Fatal(err)
			}
			if _, _, err := r.Section(); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if ok, err := r.Facet(&f); !ok || err != nil || f.Delayed() != c.late || Delayed(e) != c.late {
					t.Errorf("%v %v: delayed %v, want %v", f.Entity, err, f.Delayed(), c.late)
				}
			}
		})
	}
}

// TestAFacetLiesInTheRangeOfItsSection: one at To would be dropped as known when
// the next section, which begins there, brings it again.
func TestAFacetLiesInTheRangeOfItsSection(t *testing.T) {
	e := testEvent(1_700_000_000_000, "ann", "192.0.2.1")
	ent, _ := EntityOf(Account, e, nil)
	for offset, want := range map[int64]error{9: ErrFrame, 10: nil, 19: nil, 20: ErrFrame, 21: ErrFrame} {
		w := NewWriter(1, 1, testProjection())
		w.Add(ent, 0, offset, e)
		var r Reader
		if err := r.Reset(w.Finish(Section{From: 10, To: 20})); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Section(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Facet(new(Facet)); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("a facet at %d of [10, 20): %v, want %v", offset, err, want)
		}
	}
}

func TestAFrameWithAnyBitFlippedIsRefused(t *testing.T) {
	frame := testFrame(t)
	var r Reader
	for i := range len(frame) * 8 {
		b := bytes.Clone(frame)
		b[i/8] ^= 1 << (i % 8)
		if err := r.Reset(b); !errors.Is(err, ErrFrame) && !errors.Is(err, ErrFrameVersion) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for n := range frame {
		if err := r.Reset(frame[:n]); !errors.Is(err, ErrFrame) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

// FuzzReader feeds arbitrary bodies under a valid checksum: whatever they hold,
// reading ends, within the bounds of the section.
func FuzzReader(f *testing.F) {
	f.Add(testFrame(f)[headerBytes:])
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, body []byte) {
		frame := seal(body)
		var r Reader
		if r.Reset(frame) != nil {
			return
		}
		for {
			s, ok, err := r.Section()
			if err != nil || !ok {
				return
			}
			var facet Facet
			for range s.Facets {
				ok, err := r.Facet(&facet)
				if err != nil {
					return
				}
				if !ok || facet.Offset < s.From || facet.Offset >= s.To || facet.Entity.Kind >= MaxKind {
					t.Fatalf("facet %+v outside of section %+v", facet.Entity, s)
				}
			}
		}
	})
}

func seal(body []byte) []byte {
	b := append([]byte{'W', 'F', frameVersion, 0, 0, 0, 0, 0}, body...)
	putChecksum(b)
	return b
}

func TestPartitionsAreEvenlyUsedAndStable(t *testing.T) {
	h := NewHasher([16]byte{1, 2, 3})
	var used [8]int
	for i := range 8000 {
		used[Partition(h.Sum(Entity{Kind: IP, Key: strings.Repeat("x", i%7) + string(rune('a'+i%26)) + hex.EncodeToString([]byte{byte(i), byte(i >> 8)})}), 8)]++
	}
	for p, n := range used {
		if n < 800 || n > 1200 {
			t.Errorf("partition %d has %d of 8000 entities", p, n)
		}
	}
	a := h.Sum(Entity{Kind: Account, Tenant: "a", Key: "bc"})
	if a == h.Sum(Entity{Kind: Account, Tenant: "ab", Key: "c"}) || a == h.Sum(Entity{Kind: Device, Tenant: "a", Key: "bc"}) {
		t.Error("entities of other tenants or kinds have the same number")
	}
	if a != h.Sum(Entity{Kind: Account, Tenant: "a", Key: "bc"}) {
		t.Error("the number of an entity is not stable")
	}
}

func TestNothingIsAllocatedPerFacet(t *testing.T) {
	frame := testFrame(t)
	w := NewWriter(1, 1, testProjection())
	e := testEvent(1, "ann", "192.0.2.1")
	ent, _ := EntityOf(Account, e, nil)
	h := NewHasher([16]byte{9})
	var r Reader
	var f Facet
	if n := testing.AllocsPerRun(100, func() {
		_ = h.Sum(ent)
		w.Add(ent, 0, 5, e)
		w.Finish(Section{To: 6})
		if r.Reset(frame) != nil {
			t.Fatal("frame")
		}
		if _, ok, _ := r.Section(); !ok {
			t.Fatal("section")
		}
		for ok := true; ok; {
			ok, _ = r.Facet(&f)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFrame(b *testing.B) {
	w := NewWriter(1, 1, testProjection())
	e := testEvent(1_700_000_000_000, "account-12345", "192.0.2.1")
	ent, _ := EntityOf(IP, e, nil)
	var r Reader
	var f Facet
	b.ReportAllocs()
	for i := 0; b.Loop(); {
		for range 100 {
			w.Add(ent, 0, int64(i), e)
			i++
		}
		if err := r.Reset(w.Finish(Section{To: int64(i)})); err != nil {
			b.Fatal(err)
		}
		if _, _, err := r.Section(); err != nil {
			b.Fatal(err)
		}
		for ok := true; ok; {
			ok, _ = r.Facet(&f)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/facet")
}
