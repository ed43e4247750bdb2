package dashboards

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Range is the range of time of a dashboard.
type Range struct{ From, To time.Time }

// interval is the step of a panel in which maxPoints steps fill the range.
func (r Range) interval() time.Duration {
	const maxPoints = 240
	return max(r.To.Sub(r.From)/maxPoints, time.Second).Truncate(time.Second)
}

// Value is the selection of a variable.
type Value struct {
	Text    string
	All     bool     // "All" is selected
	Options []string // what All stands for
}

// Values are the selections by name.
type Values map[string]Value

// interpolate replaces variables as Grafana does.
func (v Values) interpolate(query string, all func(Value) string) string {
	return reference.ReplaceAllStringFunc(query, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		value, ok := v[m[1]+m[3]]
		switch {
		case !ok:
			return ref // Grafana leaves it, and so does the plugin
		case m[2] == "percentencode":
			return percentEncode(value.Text)
		case value.All:
			return all(value)
		}
		return value.Text
	})
}

// percentEncode encodes a text as Grafana's format of that name: all but letters,
// digits and four signs.
func percentEncode(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// SQL returns a query as the ClickHouse plugin sends it. The plugin resolves
// $__conditionalAll before variables, and all other macros after them.
func SQL(query string, v Values, r Range) (string, error) {
	query, err := conditionalAll(query, v)
	if err != nil {
		return "", err
	}
	query = v.interpolate(query, func(Value) string { return "" })
	from, to := fmt.Sprintf("toDateTime(%d)", r.From.Unix()), fmt.Sprintf("toDateTime(%d)", r.To.Unix())
	query = regexp.MustCompile(`\$__timeFilter\(([^()]*)\)`).ReplaceAllString(query, "$1 >= "+from+" AND $1 <= "+to)
	query = regexp.MustCompile(`\$__timeInterval\(([^()]*)\)`).ReplaceAllString(query, fmt.Sprintf("toStartOfInterval(toDateTime($1), INTERVAL %d second)", int(r.interval().Seconds())))
	query = regexp.MustCompile(`\$__fromTime\b`).ReplaceAllLiteralString(query, from)
	query = regexp.MustCompile(`\$__toTime\b`).ReplaceAllLiteralString(query, to)
	query = regexp.MustCompile(`\$__interval_s\b`).ReplaceAllLiteralString(query, fmt.Sprint(int(r.interval().Seconds())))
	if left := regexp.MustCompile(`\$(__\w+|\{\w+)`).FindString(query); left != "" {
		return "", fmt.Errorf("%s is left in the query", left)
	}
	return query, nil
}

// conditionalAll replaces $__conditionalAll(condition, $variable): by the condition, or
// by one that always holds while the variable is empty or All.
func conditionalAll(query string, v Values) (string, error) {
	const macro = "$__conditionalAll("
	for {
		at := strings.LastIndex(query, macro)
		if at < 0 {
			return query, nil
		}
		depth, comma, end := 1, -1, -1
		for i := at + len(macro); i < len(query) && end < 0; i++ {
			switch query[i] {
			case '(':
				depth++
			case ')':
				if depth--; depth == 0 {
					end = i
				}
			case ',':
				if depth == 1 {
					comma = i
				}
			}
		}
		if end < 0 || comma < 0 {
			return "", fmt.Errorf("$__conditionalAll without its end, or without a variable")
		}
		condition, name := query[at+len(macro):comma], strings.TrimPrefix(strings.TrimSpace(query[comma+1:end]), "$")
		value, ok := v[name]
		if !ok {
			return "", fmt.Errorf("$__conditionalAll: there is no variable %q", name)
		}
		if value.All || value.Text == "" {
			condition = "1=1"
		}
		query = query[:at] + condition + query[end+1:]
	}
}

// PromQL returns an expression as Grafana sends it. every is the interval at which
// Prometheus scrapes.
func PromQL(expr string, v Values, r Range, every time.Duration) string {
	expr = regexp.MustCompile(`\$__rate_interval\b`).ReplaceAllLiteralString(expr, promDuration(max(r.interval()+every, 4*every)))
	expr = regexp.MustCompile(`\$__interval\b`).ReplaceAllLiteralString(expr, promDuration(max(r.interval(), every)))
	expr = regexp.MustCompile(`\$__range\b`).ReplaceAllLiteralString(expr, promDuration(r.To.Sub(r.From)))
	return v.interpolate(expr, func(all Value) string {
		quoted := make([]string, len(all.Options))
		for i, o := range all.Options {
			quoted[i] = strings.ReplaceAll(regexp.QuoteMeta(o), `\`, `\\`)
		}
		return "(" + strings.Join(quoted, "|") + ")"
	})
}

func promDuration(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }
