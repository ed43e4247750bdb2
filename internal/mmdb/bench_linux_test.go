package mmdb

import (
	"flag"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oschwald/maxminddb-golang/v2"
)

var database = flag.String("database", "", "city.mmdb of `weir geo fetch`, for BenchmarkWriters")

// BenchmarkWriters copies a fetched database with this writer and with MaxMind's. Each
// needs a process of its own, because peak memory is the process's:
//
//	for w in weir mmdbwriter; do
//	  go test ./internal/mmdb -run '^$' -bench "Writers/$w" -benchtime 1x -database ~/.cache/weir/geo/city.mmdb
//	done
func BenchmarkWriters(b *testing.B) {
	if *database == "" {
		b.Skip("-database names no city.mmdb of `weir geo fetch`")
	}
	from, err := maxminddb.Open(*database)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("weir", func(b *testing.B) {
		for b.Loop() {
			w := New()
			n := eachPlace(b, from, func(p netip.Prefix, r place) error {
				record, err := w.Record([]Field{{"country_code", r.Country}, {"city", r.City}, {"latitude", r.Latitude}, {"longitude", r.Longitude}})
				if err != nil {
					return err
				}
				return w.Insert(p, record)
			})
			if err := w.Write(io.Discard, about); err != nil {
				b.Fatal(err)
			}
			report(b, n)
		}
	})
	b.Run("mmdbwriter", func(b *testing.B) {
		for b.Loop() {
			w, err := mmdbwriter.New(mmdbwriter.Options{IncludeReservedNetworks: true, DisableIPv4Aliasing: true, RecordSize: 28})
			if err != nil {
				b.Fatal(err)
			}
			n := eachPlace(b, from, func(p netip.Prefix, r place) error {
				network := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
				return w.Insert(network, mmdbtype.Map{
					"country_code": mmdbtype.String(r.Country), "city": mmdbtype.String(r.City),
					"latitude": mmdbtype.Float32(r.Latitude), "longitude": mmdbtype.Float32(r.Longitude),
				})
			})
			if _, err := w.WriteTo(io.Discard); err != nil {
				b.Fatal(err)
			}
			report(b, n)
		}
	})
}

type place struct {
	Country   string  `maxminddb:"country_code"`
	City      string  `maxminddb:"city"`
	Latitude  float32 `maxminddb:"latitude"`
	Longitude float32 `maxminddb:"longitude"`
}

// eachPlace returns the number of networks.
func eachPlace(b *testing.B, from *maxminddb.Reader, insert func(netip.Prefix, place) error) (n int) {
	b.Helper()
	for found := range from.Networks() {
		var r place
		if err := found.Decode(&r); err != nil {
			b.Fatal(err)
		}
		if err := insert(found.Prefix(), r); err != nil {
			b.Fatal(err)
		}
		n++
	}
	return n
}

// report reports the CPU time and the peak memory of the process.
func report(b *testing.B, networks int) {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(networks), "networks")
	b.ReportMetric(float64(u.Utime.Nano()+u.Stime.Nano())/1e9, "CPU-s")
	b.ReportMetric(float64(u.Maxrss)/1e6, "GB-peak")
	b.ReportMetric(0, "ns/op")
}
