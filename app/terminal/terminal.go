// Package terminal tells whether somebody looks at what a program prints.
package terminal

import "os"

// Is reports whether a stream is connected to a terminal.
func Is(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
