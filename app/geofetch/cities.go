package geofetch

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/weirdev/weir/internal/mmdb"
)

// dbip is a record of the npm package with DB-IP's cities.
type dbip struct {
	Country   string  `maxminddb:"country_code"`
	City      string  `maxminddb:"city"`
	Latitude  float32 `maxminddb:"latitude"`
	Longitude float32 `maxminddb:"longitude"`
}

// readCities reads one of DB-IP's two databases, and keeps the fields that Weir reads.
func readCities(data []byte, db *mmdb.Writer, m *made) error {
	from, err := maxminddb.OpenBytes(data)
	if err != nil {
		return err
	}
	if built := time.Unix(int64(from.Metadata.BuildEpoch), 0); m.data.IsZero() || built.Before(m.data) {
		m.data = built
	}
	known := map[dbip]mmdb.Record{}
	leaves := uint(0)
	for found := range from.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if leaves++; leaves > from.Metadata.NodeCount+1 { // the walk would not end
			return errors.New("its tree leads to the same node twice")
		}
		if err := found.Err(); err != nil {
			return err
		}
		if !found.Found() {
			continue
		}
		var r dbip
		if err := found.Decode(&r); err != nil {
			return fmt.Errorf("the record of %v: %w", found.Prefix(), err)
		}
		if !r.clean() {
			m.skipped++
			continue
		}
		record, ok := known[r]
		if !ok {
			if record, err = db.Record(r.fields()); err != nil {
				return fmt.Errorf("the record of %v: %w", found.Prefix(), err)
			}
			known[r] = record
		}
		if err := db.Insert(found.Prefix(), record); err != nil {
			return err
		}
		m.networks++
	}
	return nil
}

// longestName is the maximum length of a name, in bytes.
const longestName = 200

// clean repairs the record, and reports whether it has a location.
func (r *dbip) clean() bool {
	if len(r.Country) != 2 || strings.Trim(r.Country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		r.Country = ""
	}
	r.City = name(r.City)
	lat, lng := float64(r.Latitude), float64(r.Longitude)
	if !(math.Abs(lat) <= 90 && math.Abs(lng) <= 180) || lat == 0 && lng == 0 { // unknown locations are at 0, 0
		r.Latitude, r.Longitude = 0, 0
		return r.Country != ""
	}
	return true
}

func (r *dbip) fields() []mmdb.Field {
	fields := []mmdb.Field{{Key: "country_code", Value: r.Country}, {Key: "city", Value: r.City}}
	if r.Latitude != 0 || r.Longitude != 0 {
		fields = append(fields, mmdb.Field{Key: "latitude", Value: r.Latitude}, mmdb.Field{Key: "longitude", Value: r.Longitude})
	}
	return fields
}

// name returns a valid text of limited length.
func name(text string) string {
	text = strings.TrimSpace(strings.ToValidUTF8(text, ""))
	if len(text) > longestName {
		text = strings.ToValidUTF8(text[:longestName], "")
	}
	return text
}
