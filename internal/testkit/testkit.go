// Package testkit starts real servers for integration tests: Apache Kafka from
// its jars, and redis-server. They belong to the loopback interface and end
// with the test.
package testkit

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// KafkaVersion is the version that tools/kafka/pom.xml pins.
const KafkaVersion = "4.1.0"

// lacking ends a test that needs what is not there: it fails where the variable
// is set (as in CI), and is skipped elsewhere.
func lacking(t testing.TB, variable, sentence string) {
	t.Helper()
	if os.Getenv(variable) != "" {
		t.Fatalf("%s, and %s is set", sentence, variable)
	}
	t.Skip(sentence)
}

// FreePort is a loopback port that nobody uses at the moment.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Kafka starts Apache Kafka and returns its address. WEIR_TEST_KAFKA names one
// that runs already.
func Kafka(t testing.TB) string {
	t.Helper()
	if addr := os.Getenv("WEIR_TEST_KAFKA"); addr != "" {
		return addr
	}
	jars := filepath.Join(cacheDir(), "kafka", KafkaVersion)
	if _, err := os.Stat(jars); err != nil {
		lacking(t, "WEIR_REQUIRE_KAFKA", "Apache Kafka is not in the cache; `make kafka` fetches it")
	}
	java, err := exec.LookPath("java")
	if err != nil {
		lacking(t, "WEIR_REQUIRE_KAFKA", "Apache Kafka needs java, which is missing")
	}
	addr := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	config := kafkaConfig(t, addr)
	classes := filepath.Join(jars, "*")
	format := exec.Command(java, "-cp", classes, "kafka.tools.StorageTool", "format", "-t", "d2VpcndlaXJ3ZWlyd2Vpcg", "-c", config)
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format kafka's storage: %v\n%s", err, out)
	}
	run(t, addr, java, "-Xmx512m", "-XX:+UseSerialGC", "-cp", classes, "kafka.Kafka", config)
	return addr
}

func cacheDir() string {
	if c := os.Getenv("WEIR_CACHE"); c != "" {
		return c
	}
	if c, err := os.UserCacheDir(); err == nil {
		return filepath.Join(c, "weir")
	}
	return os.TempDir()
}

func kafkaConfig(t testing.TB, addr string) string {
	t.Helper()
	dir := t.TempDir()
	controller := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	lines := []string{
		"process.roles=broker,controller", "node.id=1",
		"controller.quorum.voters=1@" + controller,
		"listeners=PLAINTEXT://" + addr + ",CONTROLLER://" + controller,
		"advertised.listeners=PLAINTEXT://" + addr,
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + filepath.Join(dir, "log"),
		"offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
		"offsets.topic.num.partitions=4", "group.initial.rebalance.delay.ms=0", "auto.create.topics.enable=false",
	}
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Redis starts redis-server and returns its address.
func Redis(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		lacking(t, "WEIR_REQUIRE_REDIS", "redis-server is missing (Debian: apt-get install redis-server)")
	}
	port := strconv.Itoa(FreePort(t))
	addr := "127.0.0.1:" + port
	run(t, addr, path, append([]string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir()}, args...)...)
	return addr
}

// startTime is how long a server may take until it accepts connections.
const startTime = 90 * time.Second

// run starts a server, waits until it accepts connections, and ends it with the
// test.
func run(t testing.TB, addr, path string, args ...string) {
	t.Helper()
	var out lockedBuffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", filepath.Base(path), err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("%s ended at its start:\n%s", filepath.Base(path), out.String())
		case <-ctx.Done():
			t.Fatalf("%s does not answer at %s:\n%s", filepath.Base(path), addr, out.String())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
