//go:build !unix

package sandbox

import "os"

// lockFile only makes the file: there is no lock that ends with the process.
func lockFile(path string) (*os.File, error) { return os.Create(path) }
