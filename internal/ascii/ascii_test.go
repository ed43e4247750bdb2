package ascii

import (
	"strconv"
	"testing"
)

func TestHexadecimalDigitsAreThoseOfTheStandardLibrary(t *testing.T) {
	for c := range 256 {
		want := -1
		if n, err := strconv.ParseUint(string([]byte{byte(c)}), 16, 8); err == nil {
			want = int(n)
		}
		if got := Hex(byte(c)); got != want {
			t.Errorf("%#x: %d, want %d", c, got, want)
		}
	}
}

func TestPorts(t *testing.T) {
	for s, want := range map[string]bool{
		"0": true, "80": true, "00080": true, "65535": true,
		"": false, "65536": false, "99999": false, "000080": false, "-1": false, "+1": false, " 80": false, "8a": false, "８０": false,
	} {
		if got := IsPort(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}
