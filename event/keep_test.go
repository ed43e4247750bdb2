package event

import (
	"strings"
	"testing"
)

func TestKeepIsRepeatable(t *testing.T) {
	for _, v := range hostileTexts() {
		for _, spec := range Fields() {
			if spec.Kind != KindText || !spec.Client {
				continue
			}
			got, whole, refused := Keep(spec.Field, v)
			if refused != 0 || len(got) > spec.MaxBytes || Repaired(got) != got || whole != (got == v) {
				t.Fatalf("%s: %.60q is %.60q (%d bytes), whole %v, %v", spec.Name, v, got, len(got), whole, refused)
			}
			if again, whole, _ := Keep(spec.Field, got); again != got || !whole {
				t.Fatalf("%s: %.60q is %.60q, and that %.60q", spec.Name, v, got, again)
			}
		}
	}
}

// hostileTexts are texts at the bounds, and all that differ in a single place.
func hostileTexts() []string {
	list := []string{"", "a", "\x00", "\xff", "\xed\xa0\x80", "\xed\xa0", "\x7f", "\ufffd", "a~b", ","}
	for _, unit := range []string{"a", "é", "日", "😀", "\xff", "\x00", "\xed\xa0\x80", ",", ",1", "\xe6\x97"} {
		for _, n := range []int{63, 64, 65, 127, 128, 129, 255, 256, 257, 2047, 2048, 2049, 9000} {
			all := strings.Repeat(unit, n/len(unit)+1)
			list = append(list, all, all[:n], "b"+all[:n-1], all[:n-1]+"b", all[:n/2]+"b"+all[n/2:])
		}
	}
	return list
}

func TestDifferentIdentifiersStayDifferent(t *testing.T) {
	for _, spec := range Fields() {
		if !spec.Identifier {
			continue
		}
		from := map[string]string{}
		for _, v := range hostileTexts() {
			got, _, _ := Keep(spec.Field, v)
			if before, there := from[got]; there && before != v {
				t.Fatalf("%s: %.80q and %.80q are both %q", spec.Name, before, v, got)
			}
			from[got] = v
		}
	}
}

func TestWhatIsKeptOfAnIdentifierIsAPrefixAndAHash(t *testing.T) {
	got, whole, _ := Keep(Device, strings.Repeat("d", 300))
	// The digits are the first 32 of sha256sum.
	if want := strings.Repeat("d", 223) + "~63c29b7d223e3d582a479bc591f260d4"; whole || got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
