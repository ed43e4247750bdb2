//go:build !unix

package sandbox

import "os"

// lockFile only creates the file: this system has no lock that ends with the
// process.
func lockFile(path string) (*os.File, error) { return os.Create(path) }
