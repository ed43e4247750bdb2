package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// numbered returns a test's text for the n-th event of a series: {n} stands for n,
// and {n%7} for n modulo 7. Any other brace is literal, because attackers, routes
// and templates use braces; {{} is a brace too, for a text with a literal {n}.
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
