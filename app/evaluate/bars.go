package evaluate

import "fmt"

// Bars are what rules must reach.
type Bars struct {
	Recall    float64 // least of every kind, 0 … 1
	Precision float64 // least of every kind of which something was found, 0 … 1
	False     float64 // most false signals per million clean events; negative: any
	Wrong     int     // most innocent entities that rules in phase enforce act on; negative: any
}

// Short lists what does not reach the bars, of every set of rules.
func (r *Report) Short(b Bars) (all []string) {
	for i := range r.Results {
		x := &r.Results[i]
		say := func(format string, args ...any) { all = append(all, x.Name+": "+fmt.Sprintf(format, args...)) }
		for _, k := range x.Kinds {
			if k.Recall < b.Recall {
				say("recall of %s is %.3f", k.Kind, k.Recall)
			}
			if k.Precision != nil && *k.Precision < b.Precision {
				say("precision of %s is %.3f", k.Kind, *k.Precision)
			}
		}
		if b.False >= 0 && x.FalsePerM > b.False {
			say("%.1f false signals per million clean events", x.FalsePerM)
		}
		if b.Wrong >= 0 && x.WrongEnforced > b.Wrong {
			say("rules in phase enforce act on %d innocent entities", x.WrongEnforced)
		}
	}
	return all
}
