package geofetch

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"github.com/weirdev/weir/internal/mmdb"
)

// readSystems reads a table of autonomous systems: first and last address of a range,
// number of the system, name of its operator.
func readSystems(data []byte, db *mmdb.Writer, m *made) error {
	lines := csv.NewReader(bytes.NewReader(data))
	lines.FieldsPerRecord, lines.ReuseRecord = 4, true
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err // it names line and column
		}
		at := func(field int) string {
			line, column := lines.FieldPos(field)
			return fmt.Sprintf("line %d, column %d: %q", line, column, excerpt([]byte(fields[field])))
		}
		number, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			return fmt.Errorf("%s is no number of an autonomous system", at(2))
		}
		networks, err := between(fields[0], fields[1])
		if err != nil {
			return fmt.Errorf("%s: %w", at(0), err)
		}
		if number == 0 { // not routed
			m.skipped++
			continue
		}
		record, err := db.Record([]mmdb.Field{
			{Key: "autonomous_system_number", Value: uint32(number)}, {Key: "autonomous_system_organization", Value: name(fields[3])},
		})
		if err != nil {
			return err
		}
		if err := insert(db, networks, record, m); err != nil {
			return fmt.Errorf("%s: %w", at(0), err)
		}
	}
}

// insert inserts networks, except for IPv6 networks that overlap the place of IPv4.
func insert(db *mmdb.Writer, networks []netip.Prefix, record mmdb.Record, m *made) error {
	for _, p := range networks {
		if p.Addr().Is6() && p.Overlaps(mapped) {
			m.skipped++
			continue
		}
		if err := db.Insert(p, record); err != nil {
			return err
		}
		m.networks++
	}
	return nil
}

// mapped is the place of IPv4 in databases.
var mapped = netip.PrefixFrom(netip.IPv6Unspecified(), 96)

// between parses a range and returns its networks.
func between(from, to string) ([]netip.Prefix, error) {
	first, err1 := netip.ParseAddr(from)
	last, err2 := netip.ParseAddr(to)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return prefixes(first, last)
}

// prefixes returns the fewest networks that cover a range of addresses, both ends
// included, in order.
func prefixes(first, last netip.Addr) (all []netip.Prefix, err error) {
	if first.BitLen() != last.BitLen() || first.Is4In6() || last.Is4In6() || first.Zone() != "" || last.Zone() != "" || last.Less(first) {
		return nil, fmt.Errorf("%v to %v is no range of addresses", first, last)
	}
	for {
		bits := first.BitLen()
		for bits > 0 {
			wider := netip.PrefixFrom(first, bits-1)
			if wider.Masked().Addr() != first || last.Less(end(wider)) {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(first, bits)
		all = append(all, p)
		if first = end(p).Next(); !first.IsValid() || last.Less(first) {
			return all, nil
		}
	}
}

// end returns the last address of a network.
func end(p netip.Prefix) netip.Addr {
	b := p.Addr().As16()
	before := 128 - p.Addr().BitLen()
	for i := before + p.Bits(); i < 128; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a := netip.AddrFrom16(b)
	if p.Addr().Is4() {
		return a.Unmap()
	}
	return a
}
