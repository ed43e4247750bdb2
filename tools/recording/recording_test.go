package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPausesCanBeRead: they are neither too long nor too short.
func TestPausesCanBeRead(t *testing.T) {
	lines := []line{{"a", 0}, {"b", 2 * time.Second}, {"c", 10 * time.Second}, {"d", 10 * time.Second}, {"e", 12 * time.Second}}
	pace(lines, 3*time.Second, time.Second)
	for i, want := range []time.Duration{0, 2, 5, 6, 8} {
		if lines[i].at != want*time.Second {
			t.Errorf("%s comes after %s, not %ds", lines[i].text, lines[i].at, want)
		}
	}
}

// TestThePictureIsXML, whatever was printed: it is shown by browsers.
func TestThePictureIsXML(t *testing.T) {
	long := strings.Repeat("long", columns)
	picture := draw("$ weir demo", []line{{"</text><script>alert(1)</script> & \"\x1b[31m\x00\xff", 0}, {long, time.Second}, {"    >> CAUGHT somebody", 2 * time.Second}})
	var texts []string
	dec := xml.NewDecoder(strings.NewReader(string(picture)))
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in %s", err, picture)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "text" {
			var s string
			if err := dec.DecodeElement(&s, &start); err != nil {
				t.Fatal(err)
			}
			texts = append(texts, s)
		}
	}
	want := []string{"$ weir demo", `</text><script>alert(1)</script> & "[31m`, long[:columns-1] + "…", "    >> CAUGHT somebody"}
	if len(texts) != len(want) {
		t.Fatalf("%q", texts)
	}
	for i := range want {
		if texts[i] != want[i] {
			t.Errorf("%q, want %q", texts[i], want[i])
		}
	}
	if !strings.Contains(string(picture), `class="caught"`) {
		t.Error("what matters looks like all else")
	}
}

// TestACommandThatFailsLeavesNoPicture: the picture of an earlier run stays.
func TestACommandThatFailsLeavesNoPicture(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.svg")
	for _, command := range [][]string{nil, {filepath.Join(t.TempDir(), "missing")}, {"false"}} {
		if err := run(t.Context(), out, time.Second, 0, command); err == nil {
			t.Errorf("%q is recorded", command)
		}
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Error("there is a picture")
	}
	if err := run(t.Context(), out, time.Second, 0, []string{"echo", "hello"}); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(out); err != nil || !strings.Contains(string(text), ">hello</text>") {
		t.Errorf("%v %s", err, text)
	}
}
