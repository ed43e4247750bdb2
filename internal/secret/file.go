package secret

import (
	"fmt"
	"os"
	"strings"
)

// Read returns the value of a setting, such as kafka.sasl.password, or the content
// of the file that the setting NAME_file names, without the end of its last line.
// It is empty if neither is set; setting both is an error.
func Read(setting, given, file string) (string, error) {
	switch {
	case file == "":
		return given, nil
	case given != "":
		return "", fmt.Errorf("%s and %s_file are both set; one is enough", setting, setting)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s_file: %w", setting, err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}
