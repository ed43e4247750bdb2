package servers

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// Redis describes a redis-server at addr that keeps nothing on disk, so that a
// restart loses everything. args are added to its command line.
func Redis(addr, dir string, args ...string) (*Server, error) {
	path, err := lookPath("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	all := append([]string{"--bind", host, "--port", port, "--save", "", "--dir", dir}, args...)
	return New(addr, path, all...), nil
}

// Sentinel describes a sentinel at addr that watches the master of this name alone,
// and replaces it by one of its replicas when it has not answered for half a second.
func Sentinel(addr, dir, name, master string) (*Server, error) {
	path, err := lookPath("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	host, masterPort, err := net.SplitHostPort(master)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "sentinel.conf")
	config := fmt.Sprintf("port %[1]s\nbind 127.0.0.1\ndir %[2]s\nsentinel monitor %[3]s %[4]s %[5]s 1\nsentinel down-after-milliseconds %[3]s 500\nsentinel failover-timeout %[3]s 3000\n",
		port, dir, name, host, masterPort)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return New(addr, path, file, "--sentinel"), nil
}
