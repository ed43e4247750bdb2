package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// units are the units of durations in rules, longest first.
func units() []unit {
	return []unit{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}
}

type unit struct {
	name string
	span time.Duration
}

const (
	durationPattern = `^([0-9]+(ms|s|m|h|d))+$`
	maxDuration     = 400 * 24 * time.Hour
)

var errDuration = errors.New("a duration is written as whole numbers with units, such as 90s, 10m, 1h30m or 7d")

// parseDuration reads a duration: numbers with units (d, h, m, s, ms), such as
// 1h30m.
func parseDuration(s string) (time.Duration, error) {
	var sum time.Duration
	if s == "" {
		return 0, errDuration
	}
	for s != "" {
		digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
		n, err := strconv.ParseInt(s[:digits], 10, 64)
		if err != nil {
			return 0, errDuration
		}
		name := s[digits:]
		if next := strings.IndexAny(name, "0123456789"); next >= 0 {
			name = name[:next]
		}
		span := unitSpan(name)
		if span == 0 {
			return 0, errDuration
		}
		if n > int64(maxDuration/span) || sum+time.Duration(n)*span > maxDuration {
			return 0, fmt.Errorf("a duration is at most %s", formatDuration(maxDuration))
		}
		sum += time.Duration(n) * span
		s = s[digits+len(name):]
	}
	return sum, nil
}

func unitSpan(name string) time.Duration {
	for _, u := range units() {
		if u.name == name {
			return u.span
		}
	}
	return 0
}

// formatDuration writes a duration of whole milliseconds as rules do.
func formatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	for _, u := range units() {
		if n := d / u.span; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.span
		}
	}
	return b.String()
}
