package geofetch

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/weirdev/weir/internal/mmdb"
)

// Untrusted files: whatever their content, they are read or refused. The data that
// was read can be written as a valid database.

func whole(t *testing.T, db *mmdb.Writer) {
	t.Helper()
	if err := db.Write(&bytes.Buffer{}, mmdb.Metadata{Type: "Weir-Test"}); err != nil {
		t.Fatal(err)
	}
}

func FuzzSystems(f *testing.F) {
	f.Add([]byte("1.0.0.0,1.0.0.255,13335,\"Cloudflare, Inc.\"\n"))
	f.Add([]byte("2001:200::,2001:200:1b9:ffff:ffff:ffff:ffff:ffff,2500,WIDE Project\n"))
	f.Add([]byte("::,ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff,4294967295,\xff\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		db, m := mmdb.New(), made{}
		if readSystems(data, db, &m) == nil {
			whole(t, db)
		}
	})
}

func FuzzOrigins(f *testing.F) {
	f.Add(rangesOf(1, []string{"Tor\ttor", "x"}, [][3]uint32{{1, 2, 0}, {9, 1 << 31, 1}}, [][2]netip.Addr{{netip.MustParseAddr("2001:db8::"), netip.MustParseAddr("2001:db8::ff")}}))
	f.Add([]byte("IPORIGIN"))
	f.Fuzz(func(t *testing.T, data []byte) {
		db, m := mmdb.New(), made{}
		if readOrigins(data, db, &m) == nil {
			whole(t, db)
		}
	})
}

func FuzzCities(f *testing.F) {
	f.Add(cityRecords(f, map[string][]mmdb.Field{"198.51.100.0/24": place("DE", "Cologne", 50.94, 6.96), "2001:db8::/32": place("AU", "Sydney", -33.87, 151.21)}))
	f.Fuzz(func(t *testing.T, data []byte) {
		db, m := mmdb.New(), made{}
		if readCities(data, db, &m) == nil {
			whole(t, db)
		}
	})
}

func FuzzArchives(f *testing.F) {
	f.Add(tarball(f, map[string][]byte{"package.json": []byte(`{"version":"1.2.3"}`), "LICENSE": []byte("x")}))
	f.Add(wheel(f, map[string][]byte{"x-1.2.dist-info/METADATA": nil, "x/data": []byte("x")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, read := range []func() (unpacked, error){
			func() (unpacked, error) { return unpackTarball(bytes.NewReader(data)) },
			func() (unpacked, error) { return unpackWheel(bytes.NewReader(data), int64(len(data))) },
		} {
			if u, err := read(); err == nil && u.version == "" {
				t.Error("it has no version")
			}
		}
	})
}

// FuzzRanges checks that the networks of a range hold exactly its addresses, in
// order.
func FuzzRanges(f *testing.F) {
	f.Add([]byte{192, 0, 2, 1}, []byte{192, 0, 2, 6})
	f.Add([]byte{0, 0, 0, 0}, []byte{255, 255, 255, 255})
	f.Add(netip.MustParseAddr("2001:db8::").AsSlice(), netip.MustParseAddr("2001:db8::ff").AsSlice())
	f.Fuzz(func(t *testing.T, from, to []byte) {
		first, ok1 := netip.AddrFromSlice(from)
		last, ok2 := netip.AddrFromSlice(to)
		if !ok1 || !ok2 {
			return
		}
		all, err := prefixes(first, last)
		if err != nil {
			return
		}
		next := first
		for _, p := range all {
			if p.Addr() != next || p != p.Masked() {
				t.Fatalf("%v of %v", p, all)
			}
			next = end(p).Next()
		}
		if end(all[len(all)-1]) != last {
			t.Fatalf("%v to %v: %v", first, last, all)
		}
	})
}
