package adapter

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// maxManifest is the longest package.json in bytes that is read.
const maxManifest = 1 << 20

// framework is the package that source for Cloud Functions may require.
const framework = "node_modules/@google-cloud/functions-framework"

func prepareNode(s source, entrypoint string) (Plan, error) {
	file, err := s.nodeFile()
	if err != nil {
		return Plan{}, err
	}
	folder, err := s.newFolder()
	if err != nil {
		return Plan{}, err
	}
	if err := s.copyAdapter("nodejs", folder); err != nil {
		return Plan{}, err
	}
	if err := s.standIn(); err != nil {
		return Plan{}, err
	}
	env := variables(entrypoint)
	env["NODE_ENV"] = "production"
	return Plan{Args: []string{"node", "./" + folder + "/serve.cjs", "./" + file, entrypoint}, Env: env}, nil
}

// nodeFile finds the function's file: what package.json names, or else one of
// the names that the Functions Framework looks for, or the same as a module.
func (s source) nodeFile() (string, error) {
	main, err := s.packageMain()
	if err != nil {
		return "", err
	}
	if main == "" {
		return firstFile(s, "index.js", []string{"index.js", "index.mjs", "index.cjs", "function.js"})
	}
	file := path.Clean(main)
	if path.IsAbs(file) || file == ".." || strings.HasPrefix(file, "../") {
		return "", fmt.Errorf("package.json: main is %q, which is not in the function's folder", main)
	}
	found, err := firstFile(s, file, []string{file, file + ".js", file + ".cjs", path.Join(file, "index.js")})
	if err != nil {
		return "", fmt.Errorf("package.json names %q as main: %w", main, err)
	}
	return found, nil
}

func firstFile(s source, name string, names []string) (string, error) {
	for _, candidate := range names {
		if s.isFile(candidate) {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("there is no file %s in the function's source", name)
}

// packageMain returns main of package.json, or "" when it says none.
func (s source) packageMain() (string, error) {
	if !s.isFile("package.json") {
		return "", nil
	}
	raw, err := s.read("package.json", maxManifest)
	if err != nil {
		return "", err
	}
	return parseMain(raw)
}

// parseMain reads main from a package.json. Any other field may be anything.
func parseMain(raw []byte) (string, error) {
	var manifest map[string]json.RawMessage
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return "", fmt.Errorf("package.json is not a JSON object: %w", err)
	}
	var main string
	if value, ok := manifest["main"]; ok && json.Unmarshal(value, &main) != nil {
		return "", fmt.Errorf("package.json: main is not a text")
	}
	if strings.ContainsRune(main, 0) {
		return "", fmt.Errorf("package.json: main has a zero byte")
	}
	return main, nil
}

// standIn makes functions.http work for source that does not bring the package:
// it is put where require and import look for it, unless something is there.
func (s source) standIn() error {
	made := ""
	for part := range strings.SplitSeq(framework, "/") {
		made = path.Join(made, part)
		if _, err := s.root.Lstat(made); err == nil {
			if made == framework || !s.isDir(made) {
				return nil // theirs
			}
			continue
		}
		if err := s.mkdir(made); err != nil {
			return err
		}
	}
	code, err := adapters.ReadFile("nodejs/framework.cjs")
	if err != nil {
		return fmt.Errorf("write the function's adapter: %w", err)
	}
	manifest := []byte(`{"name":"@google-cloud/functions-framework","version":"0.0.0","main":"index.js","type":"commonjs"}` + "\n")
	if err := s.write(path.Join(framework, "package.json"), manifest); err != nil {
		return err
	}
	return s.write(path.Join(framework, "index.js"), code)
}
