package certs

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZap returns a logger for certmagic that writes to ours. What certmagic tells
// of its every step is for debugging, its errors are warnings: what operators
// should know of an order is said by us, once.
func newZap(log *slog.Logger) *zap.Logger { return zap.New(slogCore{log}) }

// slogCore is a zapcore.Core.
type slogCore struct{ log *slog.Logger }

func slogLevel(level zapcore.Level) slog.Level {
	if level >= zapcore.ErrorLevel {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// Enabled implements zapcore.Core.
func (c slogCore) Enabled(level zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slogLevel(level))
}

// With implements zapcore.Core.
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.log.With(attributes(fields)...)}
}

// Check implements zapcore.Core.
func (c slogCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements zapcore.Core. What a handshake meets is for debugging however
// bad certmagic finds it: anybody can make them.
func (c slogCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	level := slogLevel(entry.Level)
	if entry.LoggerName == "" || entry.LoggerName == "handshake" {
		level = slog.LevelDebug
	}
	c.log.Log(context.Background(), level, "certmagic: "+entry.Message, append(attributes(fields), "part", entry.LoggerName)...)
	return nil
}

// Sync implements zapcore.Core.
func (c slogCore) Sync() error { return nil }

func attributes(fields []zapcore.Field) []any {
	encoder := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(encoder)
	}
	list := make([]any, 0, 2*len(encoder.Fields))
	for key, value := range encoder.Fields {
		list = append(list, slog.Any(key, value))
	}
	return list
}
