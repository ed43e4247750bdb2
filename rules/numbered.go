package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// numbered is a test's text in the n-th event of a series: {n} stands for n, and
// {n%7} for its rest by 7. Any other bracket stands for itself, as attackers,
// routes and templates write them; {{} is a bracket too, for a text that has {n}
// in it.
func numbered(s string, n int) (string, error) {
	if !strings.Contains(s, "{") {
		return s, nil
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		inner, next, closed := strings.Cut(rest, "}")
		by, isRest := strings.CutPrefix(inner, "n%")
		switch {
		case closed && inner == "{":
			b.WriteByte('{')
			s = next
		case closed && inner == "n":
			b.WriteString(strconv.Itoa(n))
			s = next
		case closed && isRest:
			d, err := strconv.Atoi(by)
			if err != nil || d < 1 || by[0] == '+' {
				return "", fmt.Errorf("%q is not like {n%%7}", "{"+inner+"}")
			}
			b.WriteString(strconv.Itoa(n % d))
			s = next
		default:
			b.WriteByte('{')
			s = rest
		}
	}
}
