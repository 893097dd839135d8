package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"gopkg.in/natefinch/lumberjack.v2"
)

// Where an access log can go besides a file.
const (
	accessLogStderr = "stderr"
	accessLogStdout = "stdout"
	accessLogNone   = "none"
)

// accessLogFile reports whether the access log has a file of its own, and which.
func (c *config) accessLogFile() (string, bool) {
	switch c.AccessLog {
	case "", accessLogStderr, accessLogStdout, accessLogNone:
		return "", false
	}
	return c.AccessLog, true
}

func (c *config) validateAccessLog() error {
	switch {
	case c.AccessLogEvery == 0:
		return errors.New("--access-log-every: 0 would log nothing; that is --access-log=none")
	case c.AccessLogMaxBytes < 1<<20:
		return fmt.Errorf("--access-log-max-bytes: %v is less than the 1MiB that files are rotated by at least", c.AccessLogMaxBytes)
	case c.AccessLogKeep < 1:
		return fmt.Errorf("--access-log-keep: %d must be at least 1", c.AccessLogKeep)
	}
	return nil
}

// checkAccessLog refuses a file that cannot be made, before there is any state. One in
// the data directory can be, although that may not be there yet.
func (c *config) checkAccessLog() error {
	file, ok := c.accessLogFile()
	if folder := filepath.Dir(file); ok && folder != filepath.Clean(c.DataDir) {
		if _, err := os.Stat(folder); err != nil {
			return fmt.Errorf("--access-log: %w", err)
		}
	}
	return nil
}

// openAccessLog returns where a line for each request goes. Lines in a file, or on
// standard output, are always JSON, and are written whatever --log-level is.
func (s *server) openAccessLog() (*slog.Logger, error) {
	file, ok := s.config.accessLogFile()
	switch {
	case ok:
		return s.openAccessLogFile(file)
	case s.config.AccessLog == accessLogNone:
		return slog.New(slog.DiscardHandler), nil
	case s.config.AccessLog == accessLogStdout:
		return slog.New(slog.NewJSONHandler(s.program.stdout, nil)), nil
	}
	return s.log, nil
}

// openAccessLogFile tries the file at the start: to find out at the first request
// that it cannot be written would be too late.
func (s *server) openAccessLogFile(path string) (*slog.Logger, error) {
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--access-log: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("--access-log: %w", err)
	}
	rotated := &lumberjack.Logger{
		Filename: filepath.Clean(path), MaxSize: int(s.config.AccessLogMaxBytes >> 20), MaxBackups: s.config.AccessLogKeep,
	}
	s.onClose(rotated.Close)
	return slog.New(slog.NewJSONHandler(rotated, nil)), nil
}
