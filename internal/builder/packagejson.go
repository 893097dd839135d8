package builder

import (
	"encoding/json"
)

// packageJSON is what a package.json says that matters here. Fields of another
// type than they should have are as if they were not there, as for npm.
type packageJSON struct {
	name, version, main           string
	packageManager                string
	scripts                       map[string]string
	dependencies, devDependencies map[string]string
	optionalDependencies, engines map[string]string
	hasWorkspaces                 bool
}

// parsePackageJSON reads a package.json. The errors are fit for the owner.
func parsePackageJSON(content []byte) (packageJSON, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(content, &fields); err != nil {
		return packageJSON{}, refuse("package.json is not a JSON object: %v", err)
	}
	p := packageJSON{
		name: jsonText(fields["name"]), version: jsonText(fields["version"]), main: jsonText(fields["main"]), packageManager: jsonText(fields["packageManager"]),
		scripts:              jsonTexts(fields["scripts"]),
		dependencies:         jsonTexts(fields["dependencies"]),
		devDependencies:      jsonTexts(fields["devDependencies"]),
		optionalDependencies: jsonTexts(fields["optionalDependencies"]),
		engines:              jsonTexts(fields["engines"]),
	}
	_, p.hasWorkspaces = fields["workspaces"]
	return p, nil
}

// jsonText returns a JSON string, or "" for anything else.
func jsonText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}

// jsonTexts returns the members of a JSON object that are strings.
func jsonTexts(raw json.RawMessage) map[string]string {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return nil
	}
	texts := make(map[string]string)
	for name, value := range members {
		if text := jsonText(value); text != "" {
			texts[name] = text
		}
	}
	return texts
}

// needsInstall reports whether an install would do anything: fetch a package, or
// run a script of the app's own. With dev, packages for development count.
func (p packageJSON) needsInstall(dev bool) bool {
	if len(p.dependencies)+len(p.optionalDependencies) > 0 || p.hasWorkspaces || dev && len(p.devDependencies) > 0 {
		return true
	}
	for _, script := range []string{"preinstall", "install", "postinstall", "prepare"} {
		if p.scripts[script] != "" {
			return true
		}
	}
	return false
}
