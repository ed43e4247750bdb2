package facet

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/weirdev/weir/event"
)

// evidenceJSON is an item in the signal log: a name, and one of the other members.
type evidenceJSON struct {
	Name  string     `json:"name"`
	Value *int64     `json:"value,omitempty"`
	Text  *string    `json:"text,omitempty"`
	Place *placeJSON `json:"place,omitempty"`
	Event *eventJSON `json:"event,omitempty"`
}

type placeJSON struct {
	Latitude  int64 `json:"latitude_udeg"`
	Longitude int64 `json:"longitude_udeg"`
	Radius    int64 `json:"radius_km"`
}

type eventJSON struct {
	Partition int64 `json:"partition"`
	Offset    int64 `json:"offset"`
	Time      int64 `json:"time"` // Unix milliseconds
}

// MarshalJSON implements [json.Marshaler].
func (e Evidence) MarshalJSON() ([]byte, error) {
	j, v := evidenceJSON{Name: e.Name}, e.Values
	switch e.Kind {
	case NumberEvidence:
		j.Value = &v[0]
	case TextEvidence:
		j.Text = &e.Text
	case PlaceEvidence:
		j.Place = &placeJSON{v[0], v[1], v[2]}
	case EventEvidence:
		j.Event = &eventJSON{v[0], v[1], v[2]}
	default:
		return nil, fmt.Errorf("evidence of kind %d", e.Kind)
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the output of MarshalJSON.
func (e *Evidence) UnmarshalJSON(b []byte) error {
	var j evidenceJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	switch {
	case j.Value != nil:
		*e = Number(j.Name, *j.Value)
	case j.Text != nil:
		*e = Text(j.Name, *j.Text)
	case j.Place != nil:
		*e = Place(j.Name, j.Place.Latitude, j.Place.Longitude, j.Place.Radius)
	case j.Event != nil:
		*e = Evidence{Name: j.Name, Kind: EventEvidence, Values: [3]int64{j.Event.Partition, j.Event.Offset, j.Event.Time}}
	default:
		return errors.New("evidence that says nothing")
	}
	return nil
}

// AppendEvidence appends list as one JSON object, in its order, for tables and
// people.
func AppendEvidence(b []byte, list []Evidence) []byte {
	b = append(b, '{')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		e := &list[i]
		b = append(event.AppendText(b, e.Name), ':')
		switch e.Kind {
		case NumberEvidence:
			b = strconv.AppendInt(b, e.Values[0], 10)
		case TextEvidence:
			b = event.AppendText(b, e.Text)
		case PlaceEvidence:
			b = appendMembers(b, e.Values, "latitude_udeg", "longitude_udeg", "radius_km")
		case EventEvidence:
			b = appendMembers(b, e.Values, "partition", "offset", "time")
		}
	}
	return append(b, '}')
}

func appendMembers(b []byte, values [3]int64, names ...string) []byte {
	for i, name := range names {
		b = append(b, "{,,"[i])
		b = append(append(append(b, '"'), name...), '"', ':')
		b = strconv.AppendInt(b, values[i], 10)
	}
	return append(b, '}')
}
