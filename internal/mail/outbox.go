package mail

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/m3o/ingress/internal/store"
	gomail "github.com/wneessen/go-mail"
)

// outboxSize is how many messages an outbox keeps. It is a developer's view of
// what was sent, not an archive.
const outboxSize = 1000

// outboxSender stands in where no --mail-from is given: nothing leaves the
// machine, so it needs no real address.
const outboxSender = "ingress@localhost"

// Outbox writes messages to files instead of sending them, for development. It
// is safe for concurrent use.
type Outbox struct {
	dir  string
	from sender
	log  *slog.Logger
	now  func() time.Time
	size int
}

// NewOutbox returns an outbox in dir, which is made, readable by its owner
// alone, when it is not there. from may be empty. Each message is logged with
// its address and subject, never with its text, which holds tokens.
func NewOutbox(dir, from string, log *slog.Logger) (*Outbox, error) {
	if from == "" {
		from = outboxSender
	}
	who, err := parseSender(from)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the outbox: %w", err)
	}
	return &Outbox{dir: dir, from: who, log: log, now: time.Now, size: outboxSize}, nil
}

// Send writes the message to a file of its own, mode 0600, whose name sorts by
// time and ends in .eml, so that a mail program opens it. The text is in it as
// it was given, so that a link can be clicked or found with grep. The oldest
// files go when there are more than a thousand.
func (o *Outbox) Send(ctx context.Context, m Message) error {
	msg, err := o.from.compose(m, gomail.NoEncoding)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write to the outbox: %w", err)
	}
	var content bytes.Buffer
	if _, err := msg.WriteTo(&content); err != nil {
		return fmt.Errorf("write to the outbox: %w", err)
	}
	path := filepath.Join(o.dir, o.fileName())
	if err := store.WriteFile(path, unixLines(content.Bytes())); err != nil {
		return fmt.Errorf("write to the outbox: %w", err)
	}
	o.log.InfoContext(ctx, "mail written to the outbox", "to", m.To, "subject", m.Subject)
	if err := o.prune(); err != nil {
		o.log.WarnContext(ctx, "old mail stays in the outbox", "error", err)
	}
	return nil
}

// unixLines ends every line with a line feed alone, as mail in files does: a
// carriage return would stick to whatever a tool takes from the end of a line.
func unixLines(content []byte) []byte {
	return bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
}

// fileName gives fixed-width times, so that names sort, and a random part, so
// that two messages of one instant do not meet.
func (o *Outbox) fileName() string {
	return o.now().UTC().Format("20060102T150405.000000000Z") + "-" + rand.Text()[:8] + ".eml"
}

func (o *Outbox) prune() error {
	entries, err := os.ReadDir(o.dir) // sorted by name, which is by time
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	var mails []string
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".eml") && !strings.HasPrefix(entry.Name(), ".") {
			mails = append(mails, entry.Name())
		}
	}
	for _, name := range mails[:max(0, len(mails)-o.size)] {
		// Another Send may be pruning as well.
		if err := os.Remove(filepath.Join(o.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("prune the outbox: %w", err)
		}
	}
	return nil
}
