package secret

import (
	"encoding/hex"
	"testing"
)

// TestKeysStayWhatTheyAre: worked out with another implementation of HMAC
// (Python's).
func TestKeysStayWhatTheyAre(t *testing.T) {
	for purpose, want := range map[string]string{
		EntityHash:     "c9fd60001f8c7804be6ac38bde8b8aac984a143125236b35a1ea3065ab37fb07",
		EntityHashName: "e3e936182458c2aead17de06d275b4d99242631807a497b61d6b7959d8d8bc14",
		ScoreCode:      "da51bccfa9efadc08a469ec7b568ea84b40db41a47ff1438d7b7196a82286e6c",
	} {
		if got := hex.EncodeToString(Key([]byte("an example, never a real secret!"), purpose)); got != want {
			t.Errorf("%s: %s, want %s", purpose, got, want)
		}
	}
}
