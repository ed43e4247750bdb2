package kafka

import (
	"encoding/binary"
	"testing"
)

// TestTheTimeOfARecord is the broker's where the topic keeps that, whatever the
// producer says: a client must not choose when its record was appended.
func TestTheTimeOfARecord(t *testing.T) {
	const claimed, appended = 1_500_000_000_000, 1_763_892_000_000
	for _, c := range []struct {
		name       string
		attributes int
		want       Record
	}{
		{"as the producer says", 0, Record{Offset: 5, Time: claimed}},
		{"when it was appended", attrLogAppend, Record{Offset: 5, Time: appended, Appended: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := encode(t, 5, c.attributes, values("a", "b")...)
			binary.BigEndian.PutUint64(set[27:], claimed)
			binary.BigEndian.PutUint64(set[35:], appended)
			b, err := decoded(5, resum(set))
			if err != nil || len(b.Records) != 2 {
				t.Fatal(b.Records, err)
			}
			r := b.Records[0]
			if got := (Record{Offset: r.Offset, Time: r.Time, Appended: r.Appended}); got.Time != c.want.Time || got.Appended != c.want.Appended || got.Offset != c.want.Offset {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if c.want.Appended && b.Records[1].Time != appended {
				t.Errorf("the second is of %d", b.Records[1].Time)
			}
		})
	}
}
