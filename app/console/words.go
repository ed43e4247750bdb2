package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// fact is one thing that the evidence of a signal says, in words.
type fact struct {
	Text  string
	Event *place // that it speaks of; nil: none
}

// item is a member of the evidence, as [facet.AppendEvidence] writes it.
type item struct {
	name string
	raw  json.RawMessage
}

// items reads evidence in its order; nil if it is not valid.
func items(evidence string) (all []item) {
	d := json.NewDecoder(strings.NewReader(evidence))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil
		}
		text, ok := name.(string)
		var raw json.RawMessage
		if !ok || d.Decode(&raw) != nil {
			return nil
		}
		all = append(all, item{text, raw})
	}
	return all
}

func (i item) number() (n int64, ok bool) {
	err := json.Unmarshal(i.raw, &n)
	return n, err == nil
}

// measured are the names of numbers that a threshold is compared with.
func isMeasure(name string) bool {
	switch name {
	case "count", "distinct", "failures", "sum", "quantile", "value", "rare", "repeated":
		return true
	}
	return false
}

// words says evidence in words. Positions of events are those of the signal's stream.
// counted is the field whose values the rule counts; "" if it is not known.
func words(evidence string, of place, counted string) (all []fact) {
	list := items(evidence)
	for i := 0; i < len(list); i++ {
		x := list[i]
		name := spoken(x.name)
		if x.name == "distinct" && counted != "" {
			name = "different values of " + counted
		}
		// A number and its threshold, and two ends of a time, read best together.
		if i+1 < len(list) {
			next := list[i+1]
			a, ok1 := x.number()
			b, ok2 := next.number()
			if ok1 && ok2 {
				switch {
				case next.name == "threshold":
					all = append(all, fact{Text: fmt.Sprintf("%s: %d, and the rule asks for %d", name, a, b)})
					i++
					continue
				case x.name == "speed_kmh" && next.name == "threshold_kmh":
					all = append(all, fact{Text: fmt.Sprintf("%d km/h, and nobody travels faster than %d km/h", a, b)})
					i++
					continue
				case x.name == "first_ms" && next.name == "last_ms":
					all = append(all, fact{Text: "from " + moment(a) + " to " + moment(b)})
					i++
					continue
				}
			}
		}
		all = append(all, x.words(of))
	}
	return all
}

func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05 UTC") }

// spoken turns a name into words.
func spoken(name string) string {
	switch name {
	case "count":
		return "events counted"
	case "distinct":
		return "different values"
	case "matching":
		return "events that match"
	case "share_percent":
		return "share of those that match"
	case "window_ms":
		return "within"
	case "elapsed_ms":
		return "time between"
	}
	name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_ms"), "_percent"), "_kmh"), "_km")
	return strings.ReplaceAll(name, "_", " ")
}

// firstMoment is the least number of milliseconds that is taken for a moment, not a
// duration: 2001.
const firstMoment = 1_000_000_000_000

func (i item) words(of place) fact {
	name := spoken(i.name)
	if n, ok := i.number(); ok {
		switch {
		case strings.HasSuffix(i.name, "_ms") && n >= firstMoment:
			return fact{Text: name + ": " + moment(n)}
		case strings.HasSuffix(i.name, "_ms"):
			return fact{Text: name + ": " + lasts(time.Duration(n)*time.Millisecond)}
		case strings.HasSuffix(i.name, "_percent"):
			return fact{Text: fmt.Sprintf("%s: %d %%", name, n)}
		case strings.HasSuffix(i.name, "_kmh"):
			return fact{Text: fmt.Sprintf("%s: %d km/h", name, n)}
		case strings.HasSuffix(i.name, "_km"):
			return fact{Text: fmt.Sprintf("%s: %d km", name, n)}
		}
		return fact{Text: fmt.Sprintf("%s: %d", name, n)}
	}
	var text string
	if json.Unmarshal(i.raw, &text) == nil {
		return fact{Text: name + ": " + text}
	}
	var object struct {
		Latitude  *int64 `json:"latitude_udeg"`
		Longitude int64  `json:"longitude_udeg"`
		Radius    int64  `json:"radius_km"`
		Partition *int64 `json:"partition"`
		Offset    int64  `json:"offset"`
		Time      int64  `json:"time"`
	}
	if json.Unmarshal(i.raw, &object) == nil {
		switch {
		case object.Latitude != nil:
			return fact{Text: fmt.Sprintf("%s: %s, within %d km", name, coordinates(*object.Latitude, object.Longitude), object.Radius)}
		case object.Partition != nil && *object.Partition >= 0 && object.Offset >= 0:
			p := of
			p.Partition, p.Offset = uint32(*object.Partition&(1<<31-1)), uint64(object.Offset)
			return fact{Text: name + ": " + moment(object.Time), Event: &p}
		}
	}
	return fact{Text: name + ": " + string(bytes.TrimSpace(i.raw))}
}

func coordinates(latitude, longitude int64) string {
	ns, ew := "N", "E"
	if latitude < 0 {
		ns, latitude = "S", -latitude
	}
	if longitude < 0 {
		ew, longitude = "W", -longitude
	}
	return fmt.Sprintf("%.2f° %s %.2f° %s", float64(latitude)/1e6, ns, float64(longitude)/1e6, ew)
}

// otherwise says, from the numbers of a signal alone, what would have kept the rule
// from firing; "" if they do not say.
func otherwise(evidence string) string {
	list := items(evidence)
	for i := 1; i < len(list); i++ {
		have, ok1 := list[i-1].number()
		need, ok2 := list[i].number()
		if ok1 && ok2 && list[i].name == "threshold" && isMeasure(list[i-1].name) && have >= need {
			return fmt.Sprintf("If the rule asked for %d instead of %d, it would not have fired here.", have+1, need)
		}
	}
	return ""
}
