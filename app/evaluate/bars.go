package evaluate

import "fmt"

// Bars are the minimum results that rules must reach.
type Bars struct {
	Recall    float64 // minimum for each kind, 0 … 1
	Precision float64 // minimum for each kind with at least one find, 0 … 1
	False     float64 // maximum of false signals per million clean events; negative: no limit
	Wrong     int     // maximum of innocent entities on which rules in phase enforce act; negative: no limit
}

// Short lists the results of each set of rules that fall short of the bars.
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
