package console

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheFileOfUsersMayChange: who was added may sign in, and the session of somebody
// who was removed, or has another role, ends. A file with a mistake changes nothing.
func TestTheFileOfUsersMayChange(t *testing.T) {
	s := newSite(t, nil)
	line := func(name, role, token string) string {
		sum := sha256.Sum256([]byte(token))
		return name + " " + role + " " + hashPrefix + hex.EncodeToString(sum[:]) + "\n"
	}
	ann, ben, eve := line("ann", "analyst", analystToken), line("ben", "reader", "a-new-token-for-ben"), line("eve", "admin", adminToken)
	file := filepath.Join(t.TempDir(), "users")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(ann + eve)
	roster, err := WatchUsers(file, slog.New(slog.NewTextHandler(&synced{b: s.log}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.console.deps.Users = roster
	becomes := func(text string) {
		t.Helper()
		write(text)
		for range 3 { // a change counts when two looks agree
			roster.look()
		}
	}
	analyst, admin, visitor := s.signedIn(t, analystToken), s.signedIn(t, adminToken), s.browser(t)
	may := func(b *browser, want bool) {
		t.Helper()
		if res, _ := b.get("/rules"); (res.StatusCode == http.StatusOK) != want {
			t.Errorf("got %s", res.Status)
		}
	}
	signsIn := func(token string, want int) {
		t.Helper()
		if res, _ := visitor.post("/sign-in", url.Values{"token": {token}}); res.StatusCode != want {
			t.Errorf("got %s, want %d", res.Status, want)
		}
	}
	signsIn("a-new-token-for-ben", http.StatusUnauthorized)

	becomes(ann + ben + eve)
	signsIn("a-new-token-for-ben", http.StatusSeeOther)
	may(analyst, true)

	for _, wrong := range []string{ann + "ben boss a-new-token-for-ben\n", "", strings.Repeat("#", mostUsersBytes+1)} {
		s.log.Reset()
		becomes(wrong)
		may(analyst, true)
		if n := strings.Count(s.log.String(), "the file of users is not used"); n != 1 {
			t.Errorf("said %d times: %s", n, s.log)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	roster.look()
	may(analyst, true)

	becomes(strings.Replace(ann, "analyst", "reader", 1) + ben)
	may(admin, false)
	may(analyst, false) // signs in again, as a reader
	may(visitor, true)
	signsIn(adminToken, http.StatusUnauthorized)
}
