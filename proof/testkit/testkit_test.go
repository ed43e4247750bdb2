package testkit

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func say(t *testing.T, addr, line string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "%s\r\n", line); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(answer)
}

func TestRedisAnswersAndStartsAgainOnItsAddress(t *testing.T) {
	s := StartRedis(t)
	if got := say(t, s.Addr, "PING"); got != "+PONG" {
		t.Fatalf("PING is answered by %q", got)
	}
	s.Kill(t)
	s.Kill(t)
	if c, err := net.Dial("tcp", s.Addr); err == nil {
		_ = c.Close()
		t.Error("a killed server still accepts connections")
	}
	s.Start(t)
	if got := say(t, s.Addr, "PING"); got != "+PONG" {
		t.Errorf("PING is answered by %q after a restart", got)
	}
}

func TestARunningServerIsUsedWhereOneIsNamed(t *testing.T) {
	t.Setenv("WEIR_TEST_REDIS", "127.0.0.1:1")
	t.Setenv("WEIR_TEST_KAFKA", "127.0.0.1:2")
	if Redis(t) != "127.0.0.1:1" || Kafka(t) != "127.0.0.1:2" {
		t.Error("the named servers are not used")
	}
}
