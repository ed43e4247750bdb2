package mmdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oschwald/maxminddb-golang/v2"
)

// opened returns the database as a reader sees it.
func opened(t testing.TB, w *Writer) *maxminddb.Reader {
	t.Helper()
	var out bytes.Buffer
	if err := w.Write(&out, about); err != nil {
		t.Fatal(err)
	}
	db, err := maxminddb.OpenBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// written also verifies every byte. All records must be in use.
func written(t testing.TB, w *Writer) *maxminddb.Reader {
	t.Helper()
	db := opened(t, w)
	if err := db.Verify(); err != nil {
		t.Fatalf("the database is damaged: %v", err)
	}
	return db
}

func add(t testing.TB, w *Writer, network string, fields ...Field) {
	t.Helper()
	r, err := w.Record(fields)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Insert(netip.MustParsePrefix(network), r); err != nil {
		t.Fatal(err)
	}
}

func text(t testing.TB, db *maxminddb.Reader, addr string) string {
	t.Helper()
	found := db.Lookup(netip.MustParseAddr(addr))
	if !found.Found() {
		return "nothing"
	}
	var record map[string]any
	if err := found.Decode(&record); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(record)
}

var about = Metadata{Type: "Weir-Test", Description: "a test", Built: time.Unix(1_780_000_000, 0)}

func TestWhatIsWrittenIsRead(t *testing.T) {
	long := strings.Repeat("ö", 200)
	w := New()
	add(t, w, "192.0.2.0/24", Field{"city", "Köln"}, Field{"latitude", float32(50.94)})
	add(t, w, "192.0.2.128/25", Field{"city", ""}, Field{"asn", uint32(64500)}, Field{"tor", true}, Field{"vpn", false})
	add(t, w, "2001:db8::/32", Field{"city", long}, Field{"number", uint32(1<<32 - 1)}, Field{"zero", uint32(0)})
	db := written(t, w)
	for addr, want := range map[string]string{
		"192.0.2.1":   "map[city:Köln latitude:50.94]",
		"192.0.2.127": "map[city:Köln latitude:50.94]",
		"192.0.2.128": "map[asn:64500 city: tor:true vpn:false]",
		"192.0.3.0":   "nothing",
		"2001:db8::1": "map[city:" + long + " number:4294967295 zero:0]",
		"2001:db9::1": "nothing",
	} {
		if got := text(t, db, addr); got != want {
			t.Errorf("%s: %s, not %s", addr, got, want)
		}
	}
	if m := db.Metadata; m.DatabaseType != "Weir-Test" || m.Description["en"] != "a test" || m.BuildEpoch != 1_780_000_000 || m.IPVersion != 6 {
		t.Errorf("it says of itself %+v", m)
	}
}

func TestHalvesThatAreTheSameAreJoined(t *testing.T) {
	w := New()
	for i := range 256 {
		add(t, w, fmt.Sprintf("192.0.2.%d/32", i), Field{"city", "Bonn"})
	}
	one := New()
	add(t, one, "192.0.2.0/24", Field{"city", "Bonn"})
	if a, b := written(t, w).Metadata.NodeCount, written(t, one).Metadata.NodeCount; a != b {
		t.Errorf("%d nodes, not %d", a, b)
	}
}

func TestNetworksThatCannotBe(t *testing.T) {
	w := New()
	r, err := w.Record([]Field{{"city", "Bonn"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("::/0"), netip.MustParsePrefix("::/100"), netip.MustParsePrefix("::ffff:192.0.2.0/120")} {
		if w.Insert(p, r) == nil {
			t.Errorf("%v is taken", p)
		}
	}
	for _, f := range []Field{{"x", "\xff"}, {"x", strings.Repeat("x", 1<<16)}, {"x", 1}} {
		if _, err := w.Record([]Field{f}); err == nil {
			t.Errorf("%T is taken", f.Value)
		}
	}
	add(t, w, "0.0.0.0/0", Field{"city", "everywhere"})
	if got := text(t, opened(t, w), "203.0.113.9"); got != "map[city:everywhere]" {
		t.Error(got)
	}
}

// TestManyRecords covers pointers of every length but the last.
func TestManyRecords(t *testing.T) {
	w, want := New(), map[string]string{}
	for i := range 90_000 {
		network := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		name := fmt.Sprintf("a place with a long name, such as number %d", i)
		add(t, w, network.String()+"/32", Field{"city", name}, Field{"n", uint32(i)}, Field{"where", "a long way from here, however one looks at it, " + name})
		if i%997 == 0 {
			want[network.String()] = fmt.Sprintf("map[city:%s n:%d where:a long way from here, however one looks at it, %s]", name, i, name)
		}
	}
	db := written(t, w)
	for addr, record := range want {
		if got := text(t, db, addr); got != record {
			t.Fatalf("%s: %s, not %s", addr, got, record)
		}
	}
	if db.Metadata.RecordSize != 24 && db.Metadata.RecordSize != 28 {
		t.Errorf("records of %d bits", db.Metadata.RecordSize)
	}
}

func TestSizesOfNodes(t *testing.T) {
	for _, c := range []struct {
		highest uint64
		size    int
	}{{1<<24 - 1, 24}, {1 << 24, 28}, {1 << 28, 32}, {1 << 32, 0}} {
		if size, err := recordSize(c.highest); size != c.size || (err == nil) != (size > 0) {
			t.Errorf("%d: %d bits, %v", c.highest, size, err)
		}
	}
	// The highest bits of the left child stand in the upper half of the middle byte.
	if got := appendNode(nil, 28, 0x0a123456, 0x0b654321); !bytes.Equal(got, []byte{0x12, 0x34, 0x56, 0xab, 0x65, 0x43, 0x21}) {
		t.Errorf("% x", got)
	}
	if got := appendNode(nil, 32, 1, 1<<31); binary.BigEndian.Uint32(got[4:]) != 1<<31 {
		t.Errorf("% x", got)
	}
}

// TestAgainstMaxMindsWriter compares look-ups with those in a database of MaxMind's own
// writer, for overlapping networks in random order.
func TestAgainstMaxMindsWriter(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for round := range 20 {
		ours := New()
		theirs, err := mmdbwriter.New(mmdbwriter.Options{IncludeReservedNetworks: true, DisableIPv4Aliasing: true, RecordSize: 24})
		if err != nil {
			t.Fatal(err)
		}
		var addrs []netip.Addr
		for i := range 1 + r.IntN(300) {
			p := anywhere(r)
			name := fmt.Sprint(i % 17)
			add(t, ours, p.String(), Field{"n", name})
			_, network, err := net.ParseCIDR(p.String())
			if err != nil {
				t.Fatal(err)
			}
			if err := theirs.Insert(network, mmdbtype.Map{"n": mmdbtype.String(name)}); err != nil {
				t.Fatal(err)
			}
			addrs = append(addrs, p.Addr(), last(p), last(p).Next(), p.Addr().Prev())
		}
		var out bytes.Buffer
		if _, err := theirs.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		reference, err := maxminddb.OpenBytes(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		db := opened(t, ours)
		for _, a := range addrs {
			if !a.IsValid() {
				continue
			}
			if got, want := text(t, db, a.String()), text(t, reference, a.String()); got != want {
				t.Fatalf("round %d, %v: %s, theirs says %s", round, a, got, want)
			}
		}
	}
}

// anywhere returns a random network in a small range, so that networks overlap.
func anywhere(r *rand.Rand) netip.Prefix {
	if r.IntN(2) == 0 {
		a := netip.AddrFrom4([4]byte{198, 51, byte(r.IntN(3)), byte(r.IntN(256))})
		return netip.PrefixFrom(a, 14+r.IntN(19)).Masked()
	}
	var b [16]byte
	b[0], b[1], b[5] = 0x20, 0x01, byte(r.IntN(4))
	b[15] = byte(r.IntN(256))
	return netip.PrefixFrom(netip.AddrFrom16(b), 20+r.IntN(109)).Masked()
}

// last returns the last address of a network.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// FuzzInsert checks that an independent reader finds the last record of each address.
func FuzzInsert(f *testing.F) {
	f.Add([]byte{4, 24, 198, 51, 100, 0, 4, 32, 198, 51, 100, 7})
	f.Add([]byte{6, 32, 0x20, 1, 0xd, 0xb8, 6, 34, 0x20, 1, 0xd, 0xb8, 4, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		w := New()
		type inserted struct {
			p    netip.Prefix
			name string
		}
		var all []inserted
		for n := 0; len(in) >= 6 && n < 200; in, n = in[6:], n+1 {
			b := [16]byte{in[2], in[3], in[4], in[5]}
			p := netip.PrefixFrom(netip.AddrFrom16(b), int(in[1])%129)
			if in[0]%2 == 0 {
				p = netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), int(in[1])%33)
			}
			name := fmt.Sprint("name ", n%5)
			r, err := w.Record([]Field{{"n", name}})
			if err != nil {
				t.Fatal(err)
			}
			if w.Insert(p, r) == nil {
				all = append(all, inserted{p, name})
			}
		}
		db := opened(t, w)
		for _, i := range all {
			want := ""
			for _, j := range all {
				if j.p.Masked().Contains(i.p.Addr()) {
					want = "map[n:" + j.name + "]"
				}
			}
			if got := text(t, db, i.p.Addr().String()); got != want {
				t.Fatalf("%v: %s, not %s", i.p.Addr(), got, want)
			}
		}
	})
}
