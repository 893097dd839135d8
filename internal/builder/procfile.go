package builder

import (
	"strings"
	"unicode/utf8"
)

// readProcfile returns the command of a Procfile's web: line, or "" when there is
// no Procfile.
func readProcfile(f *folder) (string, error) {
	if !f.isFile("Procfile") {
		return "", nil
	}
	content, err := f.read("Procfile")
	if err != nil {
		return "", err
	}
	return parseProcfile(string(content))
}

// parseProcfile returns the command of the web: line. Other processes are not
// started; lines that name no process are passed over, as elsewhere.
func parseProcfile(text string) (string, error) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", refuse("the Procfile is not plain text (UTF-8)")
	}
	var web string
	var others []string
	for line := range strings.Lines(text) {
		name, command, ok := strings.Cut(strings.TrimSpace(line), ":")
		command = strings.TrimSpace(command)
		switch name = strings.TrimSpace(name); {
		case !ok || strings.HasPrefix(name, "#"):
		case name != "web":
			others = append(others, name)
		case command == "":
			return "", refuse("the web: line of the Procfile has no command")
		case web != "":
			return "", refuse("the Procfile has more than one web: line")
		default:
			web = command
		}
	}
	if web != "" {
		return web, nil
	}
	has := ""
	if len(others) > 0 {
		has = ", only " + shorten(strings.Join(others, ", "), 100)
	}
	return "", refuse("the Procfile has no web: line%s; add one that starts the app, such as \"web: ./server\"", has)
}
