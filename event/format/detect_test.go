package format

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// corpus is the lines of testdata/logs/<format>.log.
func corpus(t testing.TB, format string) [][]byte {
	t.Helper()
	input, err := os.ReadFile(filepath.Join("testdata", "logs", format+".log"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(input, []byte("\n")), []byte("\n"))
}

func TestEachFormatIsDetectedByItsOwnLines(t *testing.T) {
	for _, name := range presets {
		if name == "mapping" || name == "pattern" {
			continue
		}
		guesses := Detect(corpus(t, name)[:1])
		if len(guesses) == 0 || guesses[0].Format != name || !guesses[0].Fits() {
			t.Errorf("%s: the guesses are %+v", name, guesses)
		}
	}
	own := []byte(`{"id":"1","time":"2026-11-23T10:05:03Z","ip":"192.0.2.7","method":"GET","path":"/","status":200}`)
	if guesses := Detect([][]byte{own}); len(guesses) == 0 || guesses[0].Format != "weir" {
		t.Errorf("our own format: the guesses are %+v", guesses)
	}
}

// A format that reads every line, and finds neither address nor path in it, is
// worse than one that finds both in some.
func TestAFormatThatFindsNothingIsNoGoodGuess(t *testing.T) {
	guesses := Detect([][]byte{
		[]byte(`{"time":"2026-11-23T10:05:03Z","StartUTC":"2026-11-23T10:05:03Z","ClientAddr":"192.0.2.7:1","RequestPath":"/"}`),
		[]byte(`{"time":"2026-11-23T10:05:03Z"}`),
		[]byte(" \n"),
	})
	if len(guesses) < 2 || guesses[0] != (Guess{Format: "traefik", Lines: 2, Read: 1, Complete: 1, Values: 3}) || guesses[1].Fits() {
		t.Errorf("got %+v", guesses)
	}
}

// Caddy's other messages do not speak against its format.
func TestMessagesAmidAnAccessLogDoNotCount(t *testing.T) {
	access := corpus(t, "caddy")[0]
	message := []byte(`{"level":"info","ts":1789488826.2,"logger":"tls.obtain","msg":"lock acquired"}`)
	guesses := Detect([][]byte{message, message, message, access})
	if len(guesses) == 0 || guesses[0].Format != "caddy" || guesses[0].Lines != 1 || !guesses[0].Fits() {
		t.Errorf("got %+v", guesses)
	}
}

func TestNothingIsGuessedOfGarbage(t *testing.T) {
	if guesses := Detect([][]byte{[]byte("garbage"), nil, []byte("{}")}); len(guesses) != 0 {
		t.Errorf("got %+v", guesses)
	}
}
