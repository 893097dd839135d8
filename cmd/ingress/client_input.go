package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// maxInput bounds what is read from a file or from stdin, in bytes: more than the
// API accepts (4 MiB by default), so that the API decides.
const maxInput = 16 << 20

// maxSecret bounds a password or token, in bytes.
const maxSecret = 4 << 10

// checkArguments refuses a command line that is not UTF-8, before kong parses it:
// kong would silently put U+FFFD where it does not understand a byte.
func checkArguments(arguments []string) error {
	for i, argument := range arguments {
		if !utf8.ValidString(argument) {
			return usagef("argument %d is not valid UTF-8", i+1)
		}
	}
	return nil
}

// read returns the content of a file, or of stdin when the path is "-".
func (c *client) read(ctx context.Context, path string) ([]byte, error) {
	return await(ctx, func() ([]byte, error) {
		if path == "-" {
			return readBounded(c.lines, "stdin")
		}
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return readBounded(file, path)
	})
}

func readBounded(from io.Reader, name string) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(content) > maxInput {
		return nil, &problem{text: fmt.Sprintf("%s is larger than %d MiB", name, maxInput>>20)}
	}
	return content, nil
}

// secret returns a password, or something else that process lists must not show:
// the only line of the file when one is given, otherwise what is typed at the
// prompt, without echo, or the next line of stdin when that is not a terminal.
func (c *client) secret(ctx context.Context, file, name string) (string, error) {
	var text string
	var err error
	switch {
	case file != "" && file != "-":
		var content []byte
		content, err = c.read(ctx, file)
		text = string(content)
	case c.asks():
		text, err = c.ask(ctx, name)
	default:
		text, err = await(ctx, c.line)
	}
	if err != nil {
		return "", err
	}
	return checkedSecret(text, name)
}

// newSecret is secret for one that is being chosen: at a prompt, where it cannot
// be seen, it has to be typed twice.
func (c *client) newSecret(ctx context.Context, file, name string) (string, error) {
	first, err := c.secret(ctx, file, name)
	if err != nil || !c.asks() || (file != "" && file != "-") {
		return first, err
	}
	again, err := c.secret(ctx, file, name+" again")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", &problem{text: "the two passwords differ", hint: "Nothing was changed."}
	}
	return first, nil
}

func checkedSecret(text, name string) (string, error) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case text == "":
		return "", &problem{text: "no " + name + " given", hint: "Type it at the prompt, or give it on a line of stdin or in a file."}
	case strings.ContainsAny(text, "\r\n"):
		return "", &problem{text: "the " + name + " must be the only line"}
	case len(text) > maxSecret:
		return "", &problem{text: "the " + name + " is too long"}
	}
	return text, nil
}

// argument returns a secret given as an argument, where "-" stands for the next
// line of stdin or a prompt, so that it need not show in a process list.
func (c *client) argument(ctx context.Context, value, name string) (string, error) {
	if value != "-" {
		return value, nil
	}
	return c.secret(ctx, "-", name)
}

// line reads one line of stdin, its end included.
func (c *client) line() (string, error) {
	var line bytes.Buffer
	for line.Len() <= maxSecret {
		b, err := c.lines.ReadByte()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read stdin: %w", err)
		}
		line.WriteByte(b)
		if b == '\n' {
			break
		}
	}
	return line.String(), nil
}

// asks reports whether there is a person at stdin.
func (c *client) asks() bool {
	file, ok := c.Stdin.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// ask reads a line from the terminal without echo, which is on again afterwards
// even when Ctrl-C ends the wait.
func (c *client) ask(ctx context.Context, name string) (string, error) {
	fd := int(c.Stdin.(*os.File).Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("ask for the %s: %w", name, err)
	}
	defer func() {
		// The terminal may be gone; then there is no echo to restore.
		_ = term.Restore(fd, before)
		_, _ = fmt.Fprintln(c.Stderr)
	}()
	if _, err := fmt.Fprintf(c.Stderr, "%s: ", name); err != nil {
		return "", fmt.Errorf("ask for the %s: %w", name, err)
	}
	return await(ctx, func() (string, error) {
		typed, err := term.ReadPassword(fd)
		return string(typed), err
	})
}

// await runs what may block for ever and cannot be cancelled, such as reading a
// terminal, and gives up on it when ctx ends. It then leaves a goroutine behind,
// which is well because the process ends too.
func await[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case <-ctx.Done():
		var none T
		return none, &problem{text: "interrupted", cause: ctx.Err()}
	case r := <-done:
		return r.value, r.err
	}
}
