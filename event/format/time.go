package format

import (
	"strings"
	"unsafe"

	"github.com/weirdev/weir/event"
)

// alias reads bytes as text without copying.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// parseTime reads an RFC 3339 time: date, T, time, any fraction (cut to
// milliseconds), zone. A leap second (:60) is refused.
func parseTime(s string) (ms int64, ok bool) {
	const shortest = len("2006-01-02T15:04:05Z")
	if len(s) < shortest || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	year, ok1 := digits(s[0:4])
	month, ok2 := digits(s[5:7])
	day, ok3 := digits(s[8:10])
	hour, ok4 := digits(s[11:13])
	minute, ok5 := digits(s[14:16])
	second, ok6 := digits(s[17:19])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || !calendar(year, month, day) || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	fraction, rest, ok := millis(s[19:])
	if !ok {
		return 0, false
	}
	zone, ok := offset(rest)
	if !ok {
		return 0, false
	}
	return (daysOf(year, month, day)*86_400+hour*3600+minute*60+second-zone)*1000 + fraction, true
}

// holdsTime reports whether [event.Time] can hold ms, Unix milliseconds.
func holdsTime(ms int64) bool {
	spec := event.Time.Spec()
	return ms >= spec.Min && ms <= spec.Max
}

func digits(s string) (n int64, ok bool) {
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	return n, true
}

// millis reads an optional fraction of 1 to 9 digits.
func millis(s string) (ms int64, rest string, ok bool) {
	if s == "" || s[0] != '.' {
		return 0, s, true
	}
	n := 1
	for n < len(s) && s[n]-'0' <= 9 {
		if n <= 3 {
			ms = ms*10 + int64(s[n]-'0')
		}
		n++
	}
	if n == 1 || n > 10 {
		return 0, s, false
	}
	for i := n; i <= 3; i++ {
		ms *= 10
	}
	return ms, s[n:], true
}

// offset reads Z or ±hh:mm, as seconds east.
func offset(s string) (seconds int64, ok bool) {
	if s == "Z" || s == "z" {
		return 0, true
	}
	if len(s) != len("+00:00") || s[3] != ':' || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	h, ok1 := digits(s[1:3])
	m, ok2 := digits(s[4:6])
	if !ok1 || !ok2 || h > 23 || m > 59 {
		return 0, false
	}
	seconds = h*3600 + m*60
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

func calendar(year, month, day int64) bool {
	if month < 1 || month > 12 || day < 1 {
		return false
	}
	days := [...]int64{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month-1]
	if month == 2 && (year%4 == 0 && year%100 != 0 || year%400 == 0) {
		days = 29
	}
	return day <= days
}

// daysOf counts days since 1970-01-01 in the Gregorian calendar, with years
// that begin in March so that the leap day comes last.
func daysOf(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719_468
}

// parseLogTime reads the time of a log as Unix milliseconds: in common log format,
// or RFC 3339.
func parseLogTime(s string) (ms int64, ok bool) {
	if len(s) > 2 && s[2] == '/' {
		return parseCLFTime(s)
	}
	ms, ok = parseTime(s)
	return ms, ok && holdsTime(ms)
}

// parseCLFTime reads 17/May/2015:10:05:03 +0000, with or without a fraction of the
// second, as Unix milliseconds. A leap second becomes the next second.
func parseCLFTime(s string) (ms int64, ok bool) {
	const seconds = len("17/May/2015:10:05:03")
	if len(s) < seconds {
		return 0, false
	}
	ms, ok1 := parseCLFClock(s[:seconds])
	fraction, zone, ok2 := millis(s[seconds:])
	east, ok3 := parseCLFZone(zone)
	ms += fraction - east
	return ms, ok1 && ok2 && ok3 && holdsTime(ms)
}

func parseCLFClock(s string) (ms int64, ok bool) {
	if s[2] != '/' || s[6] != '/' || s[11] != ':' || s[14] != ':' || s[17] != ':' {
		return 0, false
	}
	month := int64(strings.Index("JanFebMarAprMayJunJulAugSepOctNovDec", s[3:6]))
	day, ok1 := digits(s[0:2])
	year, ok2 := digits(s[7:11])
	hour, ok3 := digits(s[12:14])
	minute, ok4 := digits(s[15:17])
	second, ok5 := digits(s[18:20])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || month%3 != 0 ||
		!calendar(year, month/3+1, day) || hour > 23 || minute > 59 || second > 60 {
		return 0, false
	}
	return (daysOf(year, month/3+1, day)*86_400 + hour*3600 + minute*60 + second) * 1000, true
}

// parseCLFZone reads " +0130", as milliseconds east.
func parseCLFZone(s string) (ms int64, ok bool) {
	if len(s) != len(" +0000") || s[0] != ' ' || s[1] != '+' && s[1] != '-' {
		return 0, false
	}
	hours, ok1 := digits(s[2:4])
	minutes, ok2 := digits(s[4:6])
	ms = (hours*3600 + minutes*60) * 1000
	if s[1] == '-' {
		ms = -ms
	}
	return ms, ok1 && ok2 && hours <= 23 && minutes <= 59
}
