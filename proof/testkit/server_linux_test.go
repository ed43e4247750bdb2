package testkit

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// parentOf makes a second instance of this program start redis-server and get killed
// before it can clean up.
const parentOf = "WEIR_TESTKIT_CHILD"

func TestServersDoNotOutliveAKilledTest(t *testing.T) {
	if os.Getenv(parentOf) == "1" {
		s := StartRedis(t)
		fmt.Println("child", s.Addr, s.server.PID())
		select {}
	}
	Long(t, "it needs a real server")
	if _, err := exec.LookPath("redis-server"); err != nil {
		lacking(t, "WEIR_REQUIRE_REDIS", "redis-server is missing (Debian: apt-get install redis-server)")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestServersDoNotOutliveAKilledTest$")
	cmd.Env = append(os.Environ(), parentOf+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addr string
	var pid int
	if _, err := fmt.Fscanf(bufio.NewReader(out), "child %s %d\n", &addr, &pid); err != nil {
		t.Fatalf("the child does not say its address: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(pid, 0) == nil {
		select {
		case <-tick.C:
		case <-deadline:
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the server outlived the test that started it")
		}
	}
}
