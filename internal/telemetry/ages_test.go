package telemetry

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestAnAgeGrowsUntilItHappensAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewPedanticRegistry()
		a := NewAges(r, "x_age_seconds", "Age of x.")
		shows := func(name, want string) {
			t.Helper()
			if want != "" {
				want = "# HELP x_age_seconds Age of x.\n# TYPE x_age_seconds gauge\n" + want
			}
			if err := testutil.GatherAndCompare(r, strings.NewReader(want)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		shows("at first", "")
		a.Happened(1, time.Now())
		a.Happened(2, time.Now().Add(-time.Minute))
		time.Sleep(30 * time.Second)
		shows("while nothing happens", "x_age_seconds{partition=\"1\"} 30\nx_age_seconds{partition=\"2\"} 90\n")
		a.Happened(2, time.Now())
		a.Gone(1)
		shows("when it has happened, and a partition is gone", "x_age_seconds{partition=\"2\"} 0\n")
	})
}

func TestCredentialsAreHidden(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"redis://user:swordfish@r:6379/0", "redis://REDACTED@r:6379/0"},
		{"redis://:sword@fish@r:6379", "redis://REDACTED@r:6379"},
		{"address user:swordfish@r:6379: too many colons", "address REDACTED@r:6379: too many colons"},
		{"redis://u:p@a:1,redis://u:p@b:2", "redis://REDACTED@a:1,redis://REDACTED@b:2"},
		{"s3://bucket?region=x&secret_access_key=abc&prefix=y/", "s3://bucket?region=x&secret_access_key=REDACTED&prefix=y/"},
		{"https://h/?X-Amz-Signature=abc", "https://h/?X-Amz-Signature=REDACTED"},
		{"s3://bucket?region=eu-central-1&prefix=weir/", "s3://bucket?region=eu-central-1&prefix=weir/"},
		{"kafka-1:9092,kafka-2:9092", "kafka-1:9092,kafka-2:9092"},
		{"at 10:05:03, ann@example.com signed in", "at 10:05:03, ann@example.com signed in"},
	} {
		if got := HideSecrets(c.text); got != c.want {
			t.Errorf("%s becomes %s, want %s", c.text, got, c.want)
		}
	}
}
