// Package ascii reads hexadecimal digits and ports in untrusted text.
package ascii

// Hex returns the value of a hexadecimal digit, in either case; -1 if c is none.
func Hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c - 'a' + 10)
	case c >= 'A' && c <= 'F':
		return int(c - 'A' + 10)
	}
	return -1
}

// IsPort reports whether s is a port: up to five decimal digits, at most 65535.
func IsPort(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i > 4 {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return s != "" && n <= 65535
}
