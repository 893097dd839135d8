package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
)

// origin says where a setting's value comes from. Earlier ones win.
type origin string

// The sources, in order of precedence.
const (
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
}

// Validate implements kong.Resolver; the file is checked when it is read.
func (f *configFile) Validate(*kong.Application) error { return nil }

// Resolve returns the file's value for a flag, or nil when there is none or the
// environment overrides it.
func (f *configFile) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	value, ok := f.values[flag.Name]
	if !ok || f.inEnvironment(flag) {
		return nil, nil
	}
	return value, nil
}

func (f *configFile) inEnvironment(flag *kong.Flag) bool {
	return slices.ContainsFunc(flag.Envs, func(name string) bool {
		_, ok := f.env(name)
		return ok
	})
}

// load reads the file once, after the command line is known.
func (f *configFile) load(ctx *kong.Context) error {
	if f.loaded {
		return nil
	}
	f.loaded = true
	path := f.path(ctx)
	if path == "" {
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	raw := map[string]any{}
	if err := yaml.Unmarshal(content, &raw); err != nil {
		return fmt.Errorf("--config: %s is not YAML: %w", path, err)
	}
	f.values = make(map[string]any, len(raw))
	for name, value := range raw {
		if !slices.ContainsFunc(settingFlags(ctx), func(flag *kong.Flag) bool { return flag.Name == name }) {
			return fmt.Errorf("--config: %s has the key %q, which is not a setting; ingress serve --help lists them", path, name)
		}
		if f.values[name], err = flagValue(value); err != nil {
			return fmt.Errorf("--config: %s: %s: %w", path, name, err)
		}
	}
	return nil
}

// path is the value of --config or INGRESS_CONFIG.
func (f *configFile) path(ctx *kong.Context) string {
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			return fmt.Sprint(ctx.FlagValue(p.Flag))
		}
	}
	path, _ := f.env("INGRESS_CONFIG")
	return path
}

// flagValue turns a YAML value into what a flag's parser takes: a text or a list
// of texts.
func flagValue(value any) (any, error) {
	switch v := value.(type) {
	case nil:
		return nil, errors.New("it has no value; remove the key to use the default")
	case map[string]any:
		return nil, errors.New("it must be a value or a list of values")
	case []any:
		texts := make([]any, len(v))
		for i, item := range v {
			texts[i] = fmt.Sprint(item)
		}
		return texts, nil
	}
	return fmt.Sprint(value), nil
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
