package terminal

import (
	"os"
	"testing"
)

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Is(f) || Is("no file") {
		t.Error("somebody looks at a file")
	}
}
