package geofetch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weirdev/weir/internal/mmdb"
)

// The format of iporigin's ranges, little-endian except for IPv6 addresses:
//
//	8 "IPORIGIN", 2 version, 8 built (Unix s), 2 labels, 4 ranges of IPv4, 4 of IPv6
//	each label: 2 its length, and provider TAB kind
//	each range of IPv4: 4 first, 4 last, 2 label; of IPv6: 16, 16, 2
const (
	originsMagic   = "IPORIGIN"
	originsVersion = 1
	originsHeader  = 28
)

var errShort = errors.New("it ends early")

// readOrigins reads iporigin's ranges of hosting, CDNs, VPNs, Tor and bots.
func readOrigins(data []byte, db *mmdb.Writer, m *made) error {
	if len(data) < originsHeader || string(data[:8]) != originsMagic {
		return errors.New("no ranges of iporigin")
	}
	if v := binary.LittleEndian.Uint16(data[8:]); v != originsVersion {
		return fmt.Errorf("its form is %d, and this version of weir reads %d", v, originsVersion)
	}
	if built := binary.LittleEndian.Uint64(data[10:]); built < 1<<40 {
		m.data = time.Unix(int64(built), 0)
	}
	labels := int(binary.LittleEndian.Uint16(data[18:]))
	v4, v6 := int64(binary.LittleEndian.Uint32(data[20:])), int64(binary.LittleEndian.Uint32(data[24:]))
	data = data[originsHeader:]
	var records []mmdb.Record
	known := make([]bool, labels)
	for i := range labels {
		if len(data) < 2 || len(data)-2 < int(binary.LittleEndian.Uint16(data)) {
			return errShort
		}
		end := 2 + int(binary.LittleEndian.Uint16(data))
		provider, kind, _ := strings.Cut(string(data[2:end]), "\t")
		data = data[end:]
		var r mmdb.Record
		if fields := originFields(name(provider), kind); fields != nil {
			known[i] = true
			var err error
			if r, err = db.Record(fields); err != nil {
				return err
			}
		}
		records = append(records, r)
	}
	if int64(len(data)) != v4*10+v6*34 {
		return errShort
	}
	for i := range v4 + v6 {
		var first, last netip.Addr
		if i < v4 {
			first, last = little(data), little(data[4:])
			data = data[8:]
		} else {
			first, last = netip.AddrFrom16([16]byte(data)), netip.AddrFrom16([16]byte(data[16:]))
			data = data[32:]
		}
		label := int(binary.LittleEndian.Uint16(data))
		data = data[2:]
		if label >= len(records) {
			return fmt.Errorf("range %d has label %d of %d", i+1, label, len(records))
		}
		networks, err := prefixes(first, last)
		if err != nil {
			return fmt.Errorf("range %d: %w", i+1, err)
		}
		if !known[label] {
			m.skipped++
			continue
		}
		if err := insert(db, networks, records[label], m); err != nil {
			return fmt.Errorf("range %d: %w", i+1, err)
		}
	}
	return nil
}

// little reads an IPv4 address that is stored as a little-endian number.
func little(b []byte) netip.Addr { return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}) }

// originFields returns a record of a database of anonymisers; nil for an unknown kind.
// CDNs and known bots count as hosting. Relays differ from VPNs: they hide the address,
// but vouch for the user.
func originFields(provider, kind string) []mmdb.Field {
	var flags []string
	switch {
	case kind == "vpn" && strings.HasSuffix(provider, "Private Relay"):
		flags = []string{"relay"}
	case kind == "vpn", kind == "tor", kind == "hosting":
		flags = []string{kind}
	case kind == "cdn", kind == "bot":
		flags = []string{kind, "hosting"}
	default:
		return nil
	}
	fields := []mmdb.Field{{Key: "provider", Value: provider}}
	for _, k := range flags {
		fields = append(fields, mmdb.Field{Key: k, Value: true})
	}
	return fields
}
