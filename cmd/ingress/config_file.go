package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
)

// origin says where a setting's value comes from. Earlier ones win.
type origin string

// The sources, in order of precedence.
const (
	fromSystemd     origin = "systemd" // of listeners alone
	fromFlag        origin = "flag"
	fromEnvironment origin = "environment"
	fromFile        origin = "file"
	fromStore       origin = "stored"
	fromDefault     origin = "default"
)

// configFile is the YAML file named by --config. It is a kong.Resolver: kong
// asks it for every flag that is not on the command line.
type configFile struct {
	env    func(string) (string, bool)
	values map[string]any
	loaded bool
	// err is why the file cannot be used. It is kept rather than returned to
	// kong, which would blame the flag it happened to ask for first.
	err error
}

// Validate implements kong.Resolver; the file is checked when it is read.
func (f *configFile) Validate(*kong.Application) error { return nil }

// Resolve returns the file's value for a setting, or nil when there is none or
// the environment overrides it. Flags of other commands that have a setting's
// name, such as app run --region, are not settings.
func (f *configFile) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !f.loaded {
		f.loaded = true
		f.values, f.err = f.load(ctx)
	}
	value, ok := f.values[flag.Name]
	if !ok || f.inEnvironment(flag) || !takesSettings(ctx, flag) {
		return nil, nil
	}
	return value, nil
}

// takesSettings reports whether the flag is a setting of the command selected. Who asks
// the running process finds it by its settings.
func takesSettings(ctx *kong.Context, flag *kong.Flag) bool {
	if flag.Name == "data-dir" {
		return true
	}
	switch command, _, _ := strings.Cut(commandName(ctx), " "); command {
	case "serve", "config", "db", "explain", "certificate", "upgrade", "doctor":
		return true
	}
	return false
}

func (f *configFile) inEnvironment(flag *kong.Flag) bool {
	return slices.ContainsFunc(flag.Envs, func(name string) bool {
		value, _ := f.env(name)
		return value != ""
	})
}

// ignoreEmptyVariables has kong take an empty variable for one that is not set,
// which is what NAME= in a unit file or a container's definition means.
func ignoreEmptyVariables(env func(string) (string, bool)) kong.Option {
	var visit func(node *kong.Node)
	visit = func(node *kong.Node) {
		for _, flag := range node.Flags {
			flag.Tag.Envs = slices.DeleteFunc(slices.Clone(flag.Tag.Envs), func(name string) bool {
				value, _ := env(name)
				return value == ""
			})
		}
		for _, child := range node.Children {
			visit(child)
		}
	}
	return kong.PostBuild(func(k *kong.Kong) error {
		visit(k.Model.Node)
		return nil
	})
}

// decodePath replaces kong's parser of paths, for which an empty one is the
// current directory: here it is none.
func decodePath(ctx *kong.DecodeContext, target reflect.Value) error {
	var path string
	if err := ctx.Scan.PopValueInto("file", &path); err != nil {
		return err
	}
	if path != "" {
		path = kong.ExpandPath(path)
	}
	target.SetString(path)
	return nil
}

// load reads and checks the file, once the command line is known.
func (f *configFile) load(ctx *kong.Context) (map[string]any, error) {
	path := f.path(ctx)
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	raw, err := parseYAML(content)
	if err != nil {
		return nil, fmt.Errorf("--config: %s: %w", path, err)
	}
	flags := settingFlags(ctx)
	values := make(map[string]any, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		at := slices.IndexFunc(flags, func(flag *kong.Flag) bool { return flag.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("--config: %s has the key %q, which is not a setting; ingress serve --help lists them", path, name)
		}
		if values[name], err = flagValue(raw[name], flags[at].IsSlice()); err != nil {
			return nil, fmt.Errorf("--config: %s: %s: %w", path, name, err)
		}
	}
	return values, nil
}

// path is the value of --config or INGRESS_CONFIG.
func (f *configFile) path(ctx *kong.Context) string {
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			return fmt.Sprint(ctx.FlagValue(p.Flag))
		}
	}
	if path, _ := f.env("INGRESS_CONFIG"); path != "" {
		return kong.ExpandPath(path)
	}
	return ""
}

// parseYAML reads the one document of a file that may begin with a byte order
// mark. Errors say where the fault is without quoting the file, which may hold
// what nobody should see.
func parseYAML(content []byte) (map[string]any, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(content, []byte("\ufeff"))))
	values := map[string]any{}
	err := decoder.Decode(&values)
	if errors.Is(err, io.EOF) {
		return nil, nil // empty, or nothing but comments
	}
	if err != nil {
		return nil, fmt.Errorf("it is not YAML with a key for each setting: %s", yaml.FormatError(err, false, false))
	}
	var more any
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more than one document; put all settings into one, without ---")
	}
	return values, nil
}

// flagValue turns a YAML value into what a flag's parser takes: a text, or a list
// of texts for a flag that may be repeated.
func flagValue(value any, repeatable bool) (any, error) {
	items, isList := value.([]any)
	switch {
	case value == nil:
		return nil, errors.New("it has no value; remove the key to use the default")
	case !isList:
		return flagText(value)
	case !repeatable:
		return nil, errors.New("it takes one value, not a list")
	}
	texts := make([]any, len(items))
	for i, item := range items {
		var err error
		if texts[i], err = flagText(item); err != nil {
			return nil, fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	return texts, nil
}

func flagText(value any) (string, error) {
	switch value.(type) {
	case string, bool, int64, uint64, float64:
		return fmt.Sprint(value), nil
	}
	return "", errors.New("it must be a text, a number or true or false")
}

// settingFlags returns the flags that are settings: those of ingress serve, and
// --data-dir, which every command has.
func settingFlags(ctx *kong.Context) []*kong.Flag {
	var flags []*kong.Flag
	for _, flag := range ctx.Model.Flags {
		if flag.Name == "data-dir" {
			flags = append(flags, flag)
		}
	}
	for _, node := range ctx.Model.Children {
		if node.Name == "serve" {
			flags = append(flags, node.Flags...)
		}
	}
	return flags
}

// setting is one value with its origin.
type setting struct {
	// Name is the flag's name.
	Name string `json:"name"`
	// Platform is the platform's own name for it, or empty.
	Platform string `json:"platform_name,omitempty"`
	// Value is the value in force; *** for a secret.
	Value string `json:"value"`
	// Source says where the value comes from.
	Source origin `json:"source"`
	// Stored is the stored value when something overrides it, or empty.
	Stored string `json:"stored,omitempty"`
}

// readSettings lists the parsed value and the source of every setting of the
// command that was selected.
func readSettings(ctx *kong.Context, file *configFile) []setting {
	names := map[string]bool{}
	for _, flag := range settingFlags(ctx) {
		names[flag.Name] = true
	}
	onCommandLine := map[string]bool{}
	for _, p := range ctx.Path {
		if p.Flag != nil && !p.Resolved {
			onCommandLine[p.Flag.Name] = true
		}
	}
	var list []setting
	for _, flag := range append(ctx.Model.Flags, ctx.Selected().Flags...) {
		if !names[flag.Name] {
			continue
		}
		s := setting{Name: flag.Name, Value: formatFlag(flag), Source: fromDefault}
		switch _, inFile := file.values[flag.Name]; {
		case onCommandLine[flag.Name]:
			s.Source = fromFlag
		case file.inEnvironment(flag):
			s.Source = fromEnvironment
		case inFile:
			s.Source = fromFile
		}
		list = append(list, s)
	}
	return list
}

func formatFlag(flag *kong.Flag) string {
	switch v := flag.Target.Interface().(type) {
	case []string:
		return strings.Join(v, ",")
	case *bool:
		if v == nil {
			return "auto"
		}
		return fmt.Sprint(*v)
	default:
		return fmt.Sprint(v)
	}
}
