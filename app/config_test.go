package app

import (
	"strings"
	"testing"
	"time"
)

func TestAGroupIsNotLeftBeforeItsPartitionsAreGivenUp(t *testing.T) {
	c := Defaults()
	c.Stream.Secret = strings.Repeat("x", shortestSecret)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	c.Detect.DrainTimeout = c.Kafka.DrainTimeout + time.Second
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "kafka.drain_timeout: 10s is shorter than detect.drain_timeout, 11s") {
		t.Errorf("drain times that do not fit: %v", err)
	}
}
