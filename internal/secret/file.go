package secret

import (
	"fmt"
	"os"
	"strings"
)

// Read is what a setting says, such as kafka.sasl.password, or the file that the
// setting NAME_file names. The end of the file's last line is no part of it. Where
// neither says anything it is empty; where both do, that is an error.
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
